"""Whatever fails while a step is measured, training and everything unaffected continue."""

from __future__ import annotations

import warnings
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import two_ways
from contained_run import Failure, Run, fail_while
from recorded_run import read_run
from torch import nn

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.measure.measurement import Measurement
from tb_adam_plugin.callback.measure.native_pass import NativePass
from tb_adam_plugin.callback.native.loading import VARIABLE
from tb_adam_plugin.callback.read.norms import GradientNorms
from tb_adam_plugin.callback.read.panel import Panel
from tb_adam_plugin.callback.read.tensor_reader import TensorReader
from tb_adam_plugin.callback.write.event_log import EventLog

OUT_OF_MEMORY: dict[str, Failure] = {
    "on a device": lambda: torch.cuda.OutOfMemoryError("CUDA out of memory."),
    "in Python": lambda: MemoryError(),
    "in torch's allocator": lambda: RuntimeError(
        "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: "
        "you tried to allocate 40000000000 bytes."
    ),
}


def rows_of(reader: Panel | TensorReader | NativePass) -> int:
    if isinstance(reader, TensorReader):
        return reader.block_rows
    return (reader if isinstance(reader, Panel) else reader._panel).rows


@pytest.mark.parametrize(
    ("owner", "method"),
    [
        (Panel, "rows_before"),
        (Panel, "read"),
        (TensorReader, "flat"),
        (NativePass, "keep"),
        (NativePass, "reduce"),
    ],
)
@pytest.mark.parametrize("kind", OUT_OF_MEMORY)
def test_out_of_memory_makes_the_records_smaller_until_they_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, owner: type, method: str
) -> None:
    if owner is NativePass:
        two_ways.kernel()
    elif method != "rows_before":  # what torch's operations alone call
        monkeypatch.setenv(VARIABLE, "0")
    run = Run(tmp_path, max_sampled_elements=1600)
    run.train(2)
    fail_while(
        monkeypatch, owner, method,
        lambda self: OUT_OF_MEMORY[kind]() if rows_of(self) > 2 else None,
    )  # fmt: skip
    with pytest.warns(UserWarning, match=r"step [23].*from now on fewer elements") as caught:
        run.train(5)
    assert len(caught) == 1
    run.debug.close()
    run.check_training()
    recorded = read_run(tmp_path)
    # 1600 elements are 7 rows, 800 are 4, 400 are 2.
    assert sorted(recorded.statistics) == [1, 2, 5, 6, 7]
    assert recorded.layouts[recorded.layout_at[2]].parameters[0].elements_read == 1600
    assert recorded.layouts[recorded.layout_at[7]].parameters[0].elements_read == 400
    assert sorted(recorded.steps) == list(range(1, 8))
    assert recorded.of(7, "w")["update_rms"] == pytest.approx(1e-3, rel=1e-1)


def test_out_of_memory_ends_the_records_alone_when_nothing_is_small_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path, max_sampled_elements=1000)
    fail_while(monkeypatch, Panel, "rows_before", lambda _: MemoryError())
    with pytest.warns(UserWarning, match="from now on") as caught:
        run.train(6)
    first, last = (str(warning.message) for warning in caught)
    assert "from now on fewer elements" in first
    assert "records are left out from now on; training continues" in last
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.train(40)
    run.debug.close()
    run.check_training()
    recorded = read_run(tmp_path)
    assert recorded.statistics == {}
    assert [recorded.steps[s]["loss"] for s in range(1, 47)] == list(range(1, 47))
    norms = [recorded.steps[s]["gradient_norm"] for s in range(1, 47)]
    assert norms == pytest.approx([s * 2000**0.5 for s in range(1, 47)])


def test_exact_records_become_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path, elements=40_000, exact=True)
    run.train(1)
    fail_while(
        monkeypatch, Panel, "rows_before",
        lambda panel: MemoryError() if panel.elements_read.sum() == 40_000 else None,
    )  # fmt: skip
    with pytest.warns(UserWarning, match="fewer elements"):
        run.train(2)
    run.debug.close()
    recorded = read_run(tmp_path)
    read = {
        s: recorded.layouts[id].parameters[0].elements_read for s, id in recorded.layout_at.items()
    }
    assert read == {1: 40_000, 3: 16_384}


def test_the_memory_that_was_too_much_is_free_before_the_smaller_one_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path, max_sampled_elements=1600)
    run.train(1)
    old = weakref.ref(run.debug._parameters.records._measurements[0].panel)
    alive: list[bool] = []
    original = Measurement.__init__

    def init(self: Measurement, *arguments: Any) -> None:
        alive.append(old() is not None)
        original(self, *arguments)

    monkeypatch.setattr(Measurement, "__init__", init)
    fail_while(
        monkeypatch, Panel, "rows_before",
        lambda panel: MemoryError() if panel.rows > 4 else None,
    )  # fmt: skip
    with pytest.warns(UserWarning, match="fewer elements"):
        run.train(1)
    assert alive == [False]
    run.debug.close()


def test_records_that_fail_at_once_do_not_make_every_step_a_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path, every_n_steps=1000)
    writes: list[int] = []
    fail_while(monkeypatch, Panel, "rows_before", lambda _: ValueError("no"))
    fail_while(monkeypatch, EventLog, "write", lambda _: writes.append(run.steps))
    with pytest.warns(UserWarning, match="records are left out"):
        run.train(40)
    assert writes == [1, 2, 4, 8, 16, 32]
    run.debug.close()


def test_a_failing_gradient_norm_leaves_the_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path, every_n_steps=4)
    fail_while(monkeypatch, GradientNorms, "squares", lambda _: RuntimeError("no kernel"))
    message = r"computing the gradient norm at step 3 .*no kernel.*gradient norms are left out"
    with pytest.warns(UserWarning, match=message) as caught:
        run.train(12)
    assert len(caught) == 1
    run.debug.close()
    run.check_training()
    recorded = read_run(tmp_path)
    assert sorted(recorded.statistics) == [1, 2, 4, 8, 12]
    assert recorded.of(12, "w")["gradient_rms"] == pytest.approx(12)
    assert [s for s in range(1, 13) if np.isfinite(recorded.steps[s]["gradient_norm"])] == [1, 2]


def test_every_parameter_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    class Still(torch.optim.AdamW):
        def step(self, closure: Any = None) -> Any:
            return None

    weights = {name: nn.Parameter(torch.ones(3)) for name in ("good", "bad", "worse")}
    optimizer = Still(weights.values())
    for weight in weights.values():
        moments = {"exp_avg": torch.zeros(3), "exp_avg_sq": torch.zeros(3)}
        optimizer.state[weight] = {"step": torch.tensor(1.0), **moments}
    debug = AdamDebugCallback(
        weights.items(), optimizer, log_dir=tmp_path, every_n_steps=1, initial_step=0
    )
    with debug:
        optimizer.step()
        for name in ("bad", "worse"):
            optimizer.state[weights[name]]["exp_avg"] = torch.zeros(4)
            with pytest.warns(UserWarning, match=rf"parameter {name}: "):
                optimizer.step()
            optimizer.step()
    recorded = read_run(tmp_path)
    assert sorted(recorded.statistics) == [1, 3, 5]
    assert [p.name for p in recorded.layouts[recorded.layout_at[5]].parameters] == ["good"]


@pytest.mark.parametrize("native", ["0", "1"])
@pytest.mark.parametrize("what", ["weight", "gradient", "exp_avg"])
def test_memory_that_was_let_go_of_is_not_read(
    what: str, native: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As wrappers do that gather it on demand: torch would read it, and the process would crash."""
    monkeypatch.setenv(VARIABLE, native)
    model = nn.Linear(8, 8)
    optimizer = torch.optim.Adam(model.parameters())

    def let_go(*_: object) -> None:
        tensors = {
            "weight": model.weight,
            "gradient": model.weight.grad,
            "exp_avg": optimizer.state[model.weight]["exp_avg"],
        }
        tensor = tensors[what]
        assert tensor is not None
        tensor.untyped_storage().resize_(0)

    handle = optimizer.register_step_post_hook(let_go)
    with AdamDebugCallback(model, optimizer, log_dir=tmp_path):
        hooks: Any = optimizer
        hooks._optimizer_step_post_hooks.move_to_end(handle.id, last=False)  # as within the step
        model(torch.randn(2, 8)).sum().backward()
        with pytest.warns(UserWarning, match=r"memory of a tensor of shape \(8, 8\)"):
            optimizer.step()
