"""How the callback behaves around a training loop: ends, copies, failures, memory."""

from __future__ import annotations

import copy
import gc
import subprocess
import sys
import textwrap
import warnings
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from recorded_run import read_run
from small_training import make, train
from torch import Tensor, nn

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.schedule.gradient_history import KEPT_STEPS


def test_a_subclass_whose_hooks_fire_twice_counts_one_step(tmp_path: Path) -> None:
    class Doubled(torch.optim.Adam):
        def step(self, closure: Any = None) -> Any:
            return super().step(closure)

    torch.optim.Adam([nn.Parameter(torch.ones(1))])  # makes the parent fire hooks of its own
    weight = nn.Parameter(torch.ones(4))
    optimizer = Doubled([weight])
    with AdamDebugCallback(
        [("w", weight)], optimizer, log_dir=tmp_path, every_n_steps=1, on_error="raise"
    ):
        for _ in range(3):
            weight.grad = torch.ones(4)
            optimizer.step()
    run = read_run(tmp_path)
    assert sorted(run.steps) == [1, 2, 3]
    assert run.of(3, "w")["update_rms"] == pytest.approx(1e-3, rel=1e-3)


def test_a_wrapper_of_an_optimizer_is_looked_into(tmp_path: Path) -> None:
    class Wrapper:
        def __init__(self, optimizer: torch.optim.Optimizer) -> None:
            self.optimizer = optimizer

    model, optimizer = make()
    wrapper: torch.optim.Optimizer = Wrapper(optimizer)  # type: ignore[assignment]
    with AdamDebugCallback(model, wrapper, log_dir=tmp_path, on_error="raise"):
        train(model, optimizer, 1)
    assert sorted(read_run(tmp_path).statistics) == [1]


def test_closing_detaches_and_may_be_repeated(tmp_path: Path) -> None:
    model, optimizer = make()
    debug = AdamDebugCallback(model, optimizer, log_dir=tmp_path, on_error="raise")
    train(model, optimizer, 3)
    debug.close()
    debug.close()
    debug.record(loss=1.0)
    train(model, optimizer, 3)
    assert sorted(read_run(tmp_path).steps) == [1, 2, 3]
    # Another callback can be attached to the optimizer.
    with AdamDebugCallback(model, optimizer, log_dir=tmp_path / "next", on_error="raise") as other:
        train(model, optimizer, 1)
        assert other.step == 7


def test_flush_writes_the_rows_that_wait(tmp_path: Path) -> None:
    model, optimizer = make()
    with AdamDebugCallback(model, optimizer, log_dir=tmp_path, on_error="raise") as debug:
        train(model, optimizer, 7)
        debug.flush()
        assert sorted(read_run(tmp_path).steps) == [1, 2, 3, 4, 5, 6, 7]
        debug.flush()
        train(model, optimizer, 2)
    assert sorted(read_run(tmp_path).steps) == list(range(1, 10))


def test_a_copy_of_a_watched_optimizer_is_not_watched(tmp_path: Path) -> None:
    model, optimizer = make()
    with AdamDebugCallback(model, optimizer, log_dir=tmp_path, on_error="raise"):
        train(model, optimizer, 1)
        twin = copy.deepcopy(optimizer)
        twin.step()
    assert sorted(read_run(tmp_path).steps) == [1]


def test_the_callback_does_not_keep_a_finished_model_alive(tmp_path: Path) -> None:
    model, optimizer = make()
    debug = AdamDebugCallback(model, optimizer, log_dir=tmp_path, on_error="raise")
    train(model, optimizer, 3)
    watched = weakref.ref(model)
    del model, optimizer, debug
    gc.collect()
    assert watched() is None
    # Waiting rows were written when the callback was garbage-collected.
    assert sorted(read_run(tmp_path).steps) == [1, 2, 3]


def test_everything_is_written_when_a_script_just_ends(tmp_path: Path) -> None:
    script = f"""
        import torch
        from tb_adam_plugin.callback import AdamDebugCallback

        weight = torch.nn.Parameter(torch.ones(3))
        optimizer = torch.optim.Adam([weight])
        AdamDebugCallback([("w", weight)], optimizer, log_dir={str(tmp_path)!r})
        for _ in range(7):
            weight.grad = torch.ones(3)
            optimizer.step()
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(read_run(tmp_path).steps) == [1, 2, 3, 4, 5, 6, 7]


def test_a_failure_warns_once_and_training_goes_on(tmp_path: Path) -> None:
    weight, other = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight, other], lr=0.1)
    debug = AdamDebugCallback(
        [("good", weight), ("bad", other)], optimizer, log_dir=tmp_path, every_n_steps=1
    )

    def step() -> None:
        weight.grad, other.grad = torch.ones(3), torch.ones(3)
        optimizer.step()

    step()
    step()

    def fail(*_: object) -> None:
        raise RuntimeError("no more memory")

    debug._parameters.records._measurements[0].sums = fail  # type: ignore[method-assign, assignment]
    with pytest.warns(
        UserWarning, match=r"step 3.*RuntimeError: no more memory.*training continues"
    ):
        step()
    before = weight.detach().clone()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step()
        debug.record(loss=1.0)
        debug.flush()
        debug.close()
    assert not torch.equal(weight.detach(), before)
    run = read_run(tmp_path)
    assert sorted(run.statistics) == [1, 2]
    assert sorted(run.steps) == [1, 2, 3, 4]  # which do not depend on what failed


def test_a_failure_with_one_parameter_names_it_and_leaves_out_that_one(tmp_path: Path) -> None:
    class Harmless(torch.optim.AdamW):
        def step(self, closure: Any = None) -> Any:
            return None  # so that only the callback meets the broken state

    good, bad = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    optimizer = Harmless([good, bad])
    debug = AdamDebugCallback(
        [("good", good), ("bad", bad)],
        optimizer,
        log_dir=tmp_path,
        every_n_steps=1,
        initial_step=0,
    )

    def step(elements: int) -> None:
        for parameter, n in ((good, 3), (bad, elements)):
            moments = {"exp_avg": torch.zeros(n), "exp_avg_sq": torch.zeros(n)}
            optimizer.state[parameter] = {"step": torch.tensor(1.0), **moments}
        optimizer.step()

    step(3)
    with pytest.warns(
        UserWarning, match=r"step 2.*parameter bad: .*no longer recorded; the others are"
    ):
        step(7)
    step(7)
    debug.close()
    run = read_run(tmp_path)
    assert sorted(run.steps) == [1, 2, 3]
    assert sorted(run.statistics) == [1, 3]
    assert [p.name for p in run.layouts[run.layout_at[3]].parameters] == ["good"]


def test_a_failure_is_raised_where_that_is_asked_for(tmp_path: Path) -> None:
    model, optimizer = make()
    debug = AdamDebugCallback(model, optimizer, log_dir=tmp_path, on_error="raise")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    debug._output.recorder.write = fail  # type: ignore
    with pytest.raises(OSError, match="disk full"):
        train(model, optimizer, 1)
    debug._output.recorder.write = lambda *_: None  # type: ignore
    debug.close()


def test_a_step_that_raises_leaves_the_next_one_whole(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.ones(4))
    optimizer = torch.optim.Adam([weight])

    def closure() -> float:
        raise KeyError("bad batch")

    with AdamDebugCallback(
        [("w", weight)], optimizer, log_dir=tmp_path, every_n_steps=1, on_error="raise"
    ):
        weight.grad = torch.ones(4)
        optimizer.step()
        with pytest.raises(KeyError):
            optimizer.step(closure)
        weight.data.mul_(2)
        optimizer.step()
    run = read_run(tmp_path)
    assert sorted(run.steps) == [1, 2]
    assert run.of(2, "w")["update_rms"] == pytest.approx(1e-3, rel=1e-3)


def test_steps_that_are_not_recorded_allocate_nothing_that_stays(tmp_path: Path) -> None:
    model, optimizer = make()
    with AdamDebugCallback(
        model, optimizer, log_dir=tmp_path, every_n_steps=1000, on_error="raise"
    ) as debug:
        train(model, optimizer, 40 + KEPT_STEPS)
        gc.collect()
        before = sum(type(o) is Tensor for o in gc.get_objects())
        train(model, optimizer, 20)
        gc.collect()
        after = sum(type(o) is Tensor for o in gc.get_objects())
        assert after - before <= 2
        assert debug.step == 60 + KEPT_STEPS
