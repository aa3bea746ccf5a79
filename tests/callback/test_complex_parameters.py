"""A complex parameter is recorded as the real numbers that the optimizer steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recorded_run import RecordedRun, read_run
from torch import Tensor, nn

from tb_adam_plugin import schema
from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.native.loading import VARIABLE

STEPS = 3
# Read whole, without rows, without an order of indices in memory, and through a sample.
SHAPES: dict[str, tuple[int, ...]] = {
    "matrix": (6, 5),
    "vector": (7,),
    "scalar": (),
    "large": (40, 30),
}
ROWS = [s.name for s in schema.STATISTICS].index("dead_row_fraction")
# Complex arithmetic rounds differently from real arithmetic, except with powers of two.
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "Adam": {"weight_decay": 0.25},
    "Adam amsgrad": {"amsgrad": True},
    "AdamW": {"foreach": False},
    "NAdam": {},
    "RAdam": {"betas": (0.5, 0.6)},
    "Adamax": {},
    "Adagrad": {"lr_decay": 0.1},
    "Adadelta": {},
    "RMSprop": {"centered": True, "momentum": 0.9},
    "SGD": {"lr": 0.25, "momentum": 0.5, "nesterov": True},
    "ASGD": {},
    "Rprop": {},
}


def parameters() -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(1)
    made = {name: torch.randn((*shape, 2), generator=generator) for name, shape in SHAPES.items()}
    return {name: nn.Parameter(torch.view_as_complex(values)) for name, values in made.items()}


def gradients() -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(2)
    steps = []
    for _ in range(STEPS):
        found = {}
        for name, shape in SHAPES.items():
            values = torch.randn((*shape, 2), generator=generator)
            if shape:
                values[::3] = 0
            found[name] = torch.view_as_complex(values)
        steps.append(found)
    return steps


def train(
    trained: dict[str, nn.Parameter],
    steps: list[dict[str, Tensor]],
    kind: str,
    log_dir: Path | None,
) -> RecordedRun | None:
    make = getattr(torch.optim, kind.split()[0])
    optimizer = make(trained.values(), **OPTIMIZERS[kind])
    debug = None
    if log_dir is not None:
        debug = AdamDebugCallback(
            trained.items(),
            optimizer,
            log_dir=log_dir,
            every_n_steps=1,
            max_sampled_elements=256,
            on_error="raise",
        )
    for found in steps:
        for name, parameter in trained.items():
            parameter.grad = found[name].clone()
        optimizer.step()
    if debug is None or log_dir is None:
        return None
    debug.close()
    return read_run(log_dir)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_the_record_is_that_of_the_real_numbers(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "0")  # which would add up the real ones in another order
    plain, watched = parameters(), parameters()
    twins = {
        name: nn.Parameter(torch.view_as_real(p).detach().clone()) for name, p in plain.items()
    }
    of_twins = [{n: torch.view_as_real(g) for n, g in found.items()} for found in gradients()]
    train(plain, gradients(), kind, None)
    run = train(watched, gradients(), kind, tmp_path / "complex")
    twin = train(twins, of_twins, kind, tmp_path / "real")
    assert run is not None
    assert twin is not None
    for name in SHAPES:
        assert torch.equal(watched[name], plain[name]), "training is not the same"
        assert torch.equal(torch.view_as_real(watched[name]), twins[name]), "no twin"

    assert [(p.name, p.shape, p.elements_read) for p in run.layout.parameters] == [
        (p.name, p.shape, p.elements_read) for p in twin.layout.parameters
    ]
    assert {p.dtype for p in run.layout.parameters} == {"complex64"}
    assert run.layout.parameters[3].elements_read < run.layout.parameters[3].elements
    for step in range(1, STEPS + 1):
        np.testing.assert_array_equal(run.statistics[step], twin.statistics[step])
        dead_rows = run.statistics[step][:2, ROWS]
        assert dead_rows == pytest.approx([1 / 3, 3 / 7])
        for name in SHAPES:
            for quantity in run.layout.quantities:
                assert (
                    run.histogram(step, name, quantity.name).tolist()
                    == twin.histogram(step, name, quantity.name).tolist()
                ), (name, quantity.name)
        assert run.steps[step]["gradient_norm"] == twin.steps[step]["gradient_norm"]


def test_a_lazy_conjugate_is_read_as_what_it_is(tmp_path: Path) -> None:
    wave = nn.Parameter(torch.ones(2, dtype=torch.complex64))
    optimizer = torch.optim.SGD([wave], lr=1.0)
    with AdamDebugCallback(
        [("wave", wave)], optimizer, log_dir=tmp_path, every_n_steps=1, on_error="raise"
    ):
        wave.grad = torch.full((2,), 3 + 4j).conj()
        optimizer.step()
    counts = read_run(tmp_path).histogram(1, "wave", "gradient")
    expected = schema.count_values(np.array([3, -4, 3, -4], np.float32), schema.QUANTITIES[4])
    assert counts.tolist() == expected.tolist()


class OneSecondMoment(torch.optim.Adam):
    """Keeps one real number for each complex one, as no optimizer of torch does."""

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter] = {
                    "step": torch.tensor(1.0),
                    "exp_avg": parameter.grad.clone(),
                    "exp_avg_sq": parameter.grad.abs().square(),
                }


def test_a_state_of_real_numbers_is_refused(tmp_path: Path) -> None:
    trained = {
        "wave": nn.Parameter(torch.ones(2, dtype=torch.complex64)),
        "real": nn.Parameter(torch.ones(2)),
    }
    optimizer = OneSecondMoment(trained.values())
    debug = AdamDebugCallback(trained.items(), optimizer, log_dir=tmp_path, every_n_steps=1)
    for parameter in trained.values():
        parameter.grad = torch.ones_like(parameter)
    with pytest.warns(UserWarning, match=r"parameter wave: its optimizer keeps torch.float32"):
        optimizer.step()
    optimizer.step()
    debug.close()
    run = read_run(tmp_path)
    assert [p.name for p in run.layout.parameters] == ["real"]
