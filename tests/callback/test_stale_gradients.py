"""What is left in .grad when the next step's gradient arrives."""

from __future__ import annotations

import copy
import io
import math
import pickle
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from recorded_run import read_run
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.probes import stale_gradients

STEPS = 7
SMALL = "small"


class Two(nn.Module):
    """A large parameter and a small one. The gradient of both is the factor, everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.large = nn.Parameter(torch.ones(400))
        self.small = nn.Parameter(torch.ones(100))
        self.tiny = nn.Parameter(torch.ones(4))  # too small to be watched

    def forward(self, factor: float, small: bool = True) -> Tensor:
        found: Tensor = (self.large * factor).sum() + self.tiny.sum()
        return found + (self.small * factor).sum() if small else found


Loop = Callable[[Two, torch.optim.Optimizer, int], None]


def recorded(
    folder: Path, loop: Loop, model: Two | None = None, steps: int = STEPS
) -> list[float | None]:
    """The ratio of each step; None if there is none."""
    model = model or Two()
    optimizer = torch.optim.Adam(model.parameters())
    with AdamDebugCallback(model, optimizer, log_dir=folder, every_n_steps=2, on_error="raise"):
        for t in range(1, steps + 1):
            loop(model, optimizer, t)
    rows = read_run(folder).steps.values()
    return [None if (ratio := row["stale_gradient_ratio"]) != ratio else ratio for row in rows]


def missing(model: Two, optimizer: torch.optim.Optimizer, t: int) -> None:
    model(t).backward()
    optimizer.step()


def missing_and_accumulating(model: Two, optimizer: torch.optim.Optimizer, t: int) -> None:
    model(t).backward()
    model(t).backward()
    optimizer.step()


def usual(model: Two, optimizer: torch.optim.Optimizer, t: int) -> None:
    optimizer.zero_grad()
    model(t).backward()
    optimizer.step()


def zeroed(model: Two, optimizer: torch.optim.Optimizer, t: int) -> None:
    model(t).backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=False)


def accumulating(model: Two, optimizer: torch.optim.Optimizer, t: int) -> None:
    for _ in range(3):
        model(t).backward()
    optimizer.step()
    optimizer.zero_grad()


def adversarial(model: Two, optimizer: torch.optim.Optimizer, t: int) -> None:
    """A discriminator through which its opponent learns between its steps."""
    for clear in (True, False):
        optimizer.zero_grad(set_to_none=clear)
        model(t).backward()
        optimizer.step()
        model(5 * t).backward()  # of the opponent's loss


def test_what_is_left_is_compared_with_what_comes(tmp_path: Path) -> None:
    # Before step t it is 1 + 2 + ... + (t - 1).
    expected = [None, *((t - 1) / 2 for t in range(2, STEPS + 1))]
    assert recorded(tmp_path / "1", missing) == pytest.approx(expected)
    doubled = [None, *(t - 1 for t in range(2, STEPS + 1))]
    assert recorded(tmp_path / "2", missing_and_accumulating) == pytest.approx(doubled)


@pytest.mark.parametrize("loop", [usual, zeroed, accumulating, adversarial])
def test_a_gradient_that_was_cleared_is_not_stale(tmp_path: Path, loop: Loop) -> None:
    ratios = recorded(tmp_path, loop)
    assert ratios[0] is None
    assert set(ratios[1:]) == {0.0}


def assigned(model: Two, optimizer: torch.optim.Optimizer, t: int) -> None:
    """As in gradient surgery: what lay in .grad is replaced."""
    parameters = [*model.parameters()]
    for parameter, gradient in zip(
        parameters, torch.autograd.grad(model(t), parameters), strict=True
    ):
        parameter.grad = gradient
    optimizer.step()


def looked_at(model: Two, optimizer: torch.optim.Optimizer, t: int) -> None:
    """As for a penalty, or a log of each task's gradient: before and after zero_grad()."""
    torch.autograd.grad(model(t), [model.small, model.large])
    optimizer.zero_grad()
    model(t).backward(retain_graph=True)
    torch.autograd.grad(model(t), [model.small, model.large])
    optimizer.step()


@pytest.mark.parametrize(("loop", "expected"), [(assigned, None), (looked_at, 0.0)])
def test_gradients_that_are_only_returned_are_not_added_up(
    loop: Loop, expected: float | None, tmp_path: Path
) -> None:
    assert set(recorded(tmp_path, loop)[1:]) == {expected}


def test_an_optimizer_that_steps_in_backward(tmp_path: Path) -> None:
    model = Two()
    optimizer = torch.optim.Adam([model.small])
    clears = True

    def step(parameter: Tensor) -> None:
        optimizer.step()
        if clears:
            optimizer.zero_grad()

    model.small.register_post_accumulate_grad_hook(step)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the parameter that nothing optimizes
        debug = AdamDebugCallback(model, optimizer, log_dir=tmp_path, on_error="raise")
    for t in (1, 2, 3, 4):
        clears = t < 3
        model(t).backward()
    debug.close()
    rows = read_run(tmp_path).steps
    assert [rows[t]["stale_gradient_ratio"] for t in (2, 3, 4)] == pytest.approx([0, 0, 3 / 4])


def test_another_parameter_is_watched_when_no_gradient_comes(tmp_path: Path) -> None:
    def loop(model: Two, optimizer: torch.optim.Optimizer, t: int) -> None:
        model(1, small=t <= 3).backward()
        optimizer.step()

    ratios = recorded(tmp_path, loop, steps=11)
    # It takes four steps without a gradient, and a record.
    assert ratios == pytest.approx([None, 1, 2, *[None] * 5, 8, 9, 10])


def test_where_no_backward_pass_makes_the_gradients_nothing_is_said(tmp_path: Path) -> None:
    def by_hand(model: Two, optimizer: torch.optim.Optimizer, t: int) -> None:
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()

    optimizer_steps = 40
    model = Two()
    optimizer = torch.optim.Adam(model.parameters())
    with AdamDebugCallback(model, optimizer, log_dir=tmp_path, every_n_steps=1):
        for t in range(optimizer_steps):
            by_hand(model, optimizer, t)
    rows = read_run(tmp_path).steps
    assert all(row["stale_gradient_ratio"] != row["stale_gradient_ratio"] for row in rows.values())
    assert not model.small._backward_hooks
    assert not model.large._backward_hooks


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[tuple[Two, AdamDebugCallback]]:
    model = Two()
    optimizer = torch.optim.Adam(model.parameters())
    with AdamDebugCallback(model, optimizer, log_dir=tmp_path) as debug:
        usual(model, optimizer, 1)
        assert model.small._backward_hooks
        yield model, debug


def test_the_hook_is_in_nobody_s_way(watched: tuple[Two, AdamDebugCallback]) -> None:
    model, debug = watched
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert not copied.small._backward_hooks
    torch.save(model, io.BytesIO())
    debug.close()
    assert not model.small._backward_hooks


def test_a_plain_tensor_is_stored_without_a_warning(tmp_path: Path) -> None:
    weight = torch.ones(3, requires_grad=True)
    optimizer = torch.optim.Adam([weight])
    with AdamDebugCallback([("w", weight)], optimizer, log_dir=tmp_path):
        weight.sum().backward()
        optimizer.step()
        assert weight._backward_hooks
        assert pickle.loads(pickle.dumps(weight)).tolist() == weight.tolist()


def test_it_is_compiled_neither_itself_nor_anew(tmp_path: Path) -> None:
    torch._dynamo.reset()
    compiler = CompileCounterWithBackend("eager")
    model = Two()
    compiled: Any = torch.compile(model, backend=compiler)
    ratios = recorded(
        tmp_path, lambda m, o, t: usual(compiled, o, torch.tensor(float(t))), model  # type: ignore
    )  # fmt: skip
    assert set(ratios[1:]) == {0.0}
    assert compiler.frame_count == 1


def test_a_failure_in_the_hook_ends_the_check_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(tensor: Tensor) -> Tensor:
        raise RuntimeError("no norm")

    monkeypatch.setattr(stale_gradients, "norm_of", fail)
    model = Two()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        optimizer = torch.optim.Adam(model.parameters())
        with AdamDebugCallback(model, optimizer, log_dir=tmp_path, every_n_steps=2):
            for t in range(1, STEPS + 1):
                missing(model, optimizer, t)
            assert not model.small._backward_hooks
    (warning,) = caught
    assert "no norm" in str(warning.message)
    assert "checks for stale gradients are left out" in str(warning.message)
    run = read_run(tmp_path)
    assert sorted(run.statistics) == [1, 2, 4, 6]
    assert sorted(run.steps) == list(range(1, STEPS + 1))


def rescalings(folder: Path) -> dict[int, float]:
    return {t: row.get("gradient_rescaling", math.nan) for t, row in read_run(folder).steps.items()}


@pytest.mark.parametrize("micro_batches", [1, 3])
@pytest.mark.parametrize("loss_scale", [1.0, 1024.0])
def test_what_the_gradient_is_multiplied_by_before_it_is_used(
    micro_batches: int, loss_scale: float, tmp_path: Path
) -> None:
    expected = {}

    def loop(model: Two, optimizer: torch.optim.Optimizer, t: int) -> None:
        optimizer.zero_grad(set_to_none=t % 2 == 0)
        for _ in range(micro_batches):
            (loss_scale * model(t)).backward()
        for parameter in model.parameters():
            assert parameter.grad is not None
            parameter.grad /= loss_scale
        norm = float(nn.utils.clip_grad_norm_(model.parameters(), 50.0))
        expected[t] = min(1.0, 50.0 / norm) / loss_scale
        optimizer.step()

    recorded(tmp_path, loop, steps=8)
    # From the step on after which a parameter is watched, and at recorded steps.
    found = rescalings(tmp_path)
    assert {t: found[t] for t in (2, 4, 6, 8)} == pytest.approx(
        {t: expected[t] for t in (2, 4, 6, 8)}, rel=1e-5
    )
    assert all(math.isnan(found[t]) for t in (1, 3, 5, 7))


@pytest.mark.parametrize("foreach", [False, True])
def test_a_step_that_writes_to_the_gradient_is_looked_at_before_it(
    foreach: bool, tmp_path: Path
) -> None:
    model = Two()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.1, momentum=0.9, nesterov=True, foreach=foreach
    )
    with AdamDebugCallback(model, optimizer, log_dir=tmp_path, every_n_steps=1):
        for t in range(1, 6):
            usual(model, optimizer, t)
    found = list(rescalings(tmp_path).values())[1:]
    assert found == pytest.approx([1.0] * 4)
