"""Whatever fails inside the callback, training goes on, and so does all that did not fail."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import textwrap
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import two_ways
from recorded_run import read_run
from torch import nn

from tb_adam_plugin import schema
from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.measure.measurement import Measurement
from tb_adam_plugin.callback.measure.native_pass import NativePass
from tb_adam_plugin.callback.native.loading import VARIABLE
from tb_adam_plugin.callback.read.norms import GradientNorms
from tb_adam_plugin.callback.read.panel import Panel
from tb_adam_plugin.callback.read.tensor_reader import TensorReader
from tb_adam_plugin.callback.write.event_file import LocalFile
from tb_adam_plugin.callback.write.event_log import EventLog

Failure = Callable[[], Exception]


class Run:
    """One weight in training, and what it would be without a callback."""

    def __init__(self, folder: Path, elements: int = 2000, **options: Any) -> None:
        self.weight = nn.Parameter(torch.ones(elements))
        self.optimizer = torch.optim.Adam([self.weight])
        options = {"every_n_steps": 1, **options}
        self.debug = AdamDebugCallback(
            [("w", self.weight)], self.optimizer, log_dir=folder, **options
        )
        self.steps = 0

    def train(self, steps: int) -> None:
        for _ in range(steps):
            self.steps += 1
            self.debug.record(loss=float(self.steps))
            self.weight.grad = torch.full_like(self.weight, float(self.steps))
            self.optimizer.step()

    def check_training(self) -> None:
        twin = nn.Parameter(torch.ones_like(self.weight))
        optimizer = torch.optim.Adam([twin])
        for step in range(1, self.steps + 1):
            twin.grad = torch.full_like(twin, float(step))
            optimizer.step()
        assert torch.equal(twin, self.weight)


def fail_while(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, condition: Any) -> None:
    """Make a method raise what ``condition(self)`` returns, if anything."""
    original = getattr(owner, name)

    def method(self: Any, *arguments: Any, **named: Any) -> Any:
        error = condition(self)
        if error is not None:
            raise error
        return original(self, *arguments, **named)

    monkeypatch.setattr(owner, name, method)


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
    assert "records are left out from now on, training goes on" in last
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


# --- the event file ---


def test_a_full_disk_is_tried_again_and_what_was_lost_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path)
    full = False
    fail_while(
        monkeypatch, EventLog, "write",
        lambda _: OSError(28, "No space left on device") if full else None,
    )  # fmt: skip
    run.train(2)
    full = True
    message = r"writing a record at step 3 .*No space left.*training goes on, and so do attempts"
    with pytest.warns(UserWarning, match=message) as caught:
        run.train(3)
    assert len(caught) == 1
    full = False
    run.train(2)
    # Not in a row: counted anew.
    full = True
    run.train(9)
    full = False
    run.train(1)
    run.debug.close()
    run.check_training()
    recorded = read_run(tmp_path)
    assert sorted(recorded.steps) == sorted(recorded.statistics) == [1, 2, 6, 7, 17]
    dropped = {step: row["dropped_records"] for step, row in recorded.steps.items()}
    assert dropped == {1: 0, 2: 0, 6: 3, 7: 3, 17: 12}


def test_a_disk_that_stays_full_is_given_up_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path)
    attempts: list[int] = []

    def fail(_: EventLog) -> Exception:
        attempts.append(run.steps)
        return OSError(28, "No space left on device")

    fail_while(monkeypatch, EventLog, "write", fail)
    with pytest.warns(UserWarning, match="failed while writing a record") as caught:
        run.train(30)
    assert ["nothing more is recorded" in str(w.message) for w in caught] == [False, True]
    assert attempts == list(range(1, 11))
    run.check_training()
    run.debug.close()


def test_a_folder_that_is_deleted_does_not_end_training(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.train(2)
    shutil.rmtree(tmp_path / "run")
    with pytest.warns(UserWarning, match="deleted") as caught:
        run.train(3)
    assert len(caught) == 1
    with warnings.catch_warnings(record=True) as more:
        run.debug.flush()
        run.debug.close()
    assert more == []
    run.check_training()


def test_the_steps_that_a_device_skipped_are_subtracted_even_if_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path, every_n_steps=1000)
    run.train(3)
    run.debug._agenda.count.number += 1
    run.debug._output._add_row(float("nan"), torch.tensor(1.0))
    fail_while(monkeypatch, EventLog, "write", lambda _: OSError("full"))
    with pytest.warns(UserWarning, match="full"):
        run.debug.flush()
    assert run.debug.step == 3
    run.debug.close()


# --- warnings as errors ---


@pytest.mark.parametrize(
    ("owner", "method", "failure"),
    [
        (Panel, "rows_before", MemoryError()),
        (Measurement, "sums", ValueError("no")),
        (GradientNorms, "squares", RuntimeError("no")),
        (EventLog, "write", OSError("full")),
        (EventLog, "flush", OSError("full")),
        (EventLog, "close", OSError("full")),
    ],
)
def test_a_hook_never_raises_where_warnings_are_errors(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    owner: type,
    method: str,
    failure: Exception,
) -> None:
    run = Run(tmp_path, every_n_steps=4)
    fail_while(monkeypatch, owner, method, lambda _: failure)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.train(40)
        run.debug.flush()
        run.debug.close()
    run.check_training()
    assert any("Adam Debug: failed while" in record.getMessage() for record in caplog.records)


def test_a_changed_checkpoint_does_not_raise_where_warnings_are_errors(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run(tmp_path)
    run.train(1)
    checkpoint = run.optimizer.state_dict()
    run.weight.data = run.weight.data.bfloat16()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.optimizer.load_state_dict(checkpoint)
    assert "changed the type of exp_avg" in caplog.text
    run.debug.close()


def test_what_a_full_disk_has_cost_is_said_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = nn.Sequential(*[nn.Linear(8, 8) for _ in range(60)])  # records for the writer's thread
    optimizer = torch.optim.Adam(model.parameters())
    debug = AdamDebugCallback(model, optimizer, log_dir=tmp_path, every_n_steps=1)

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in range(1, 9):
            if step == 4:
                monkeypatch.setattr(LocalFile, "_append", refuse)
            optimizer.zero_grad()
            model(torch.randn(4, 8)).sum().backward()
            optimizer.step()
        debug.flush()
        debug.close()
    messages = [str(warning.message) for warning in caught]
    for doing in ("writing a record", "flushing the event file", "closing the event file"):
        assert sum(f"failed while {doing}" in message for message in messages) == 1
    assert "bytes are lost" in messages[-1]


@pytest.mark.parametrize("native", ["0", "1"])
@pytest.mark.parametrize("what", ["weight", "gradient", "exp_avg"])
def test_memory_that_was_let_go_of_is_not_read(
    what: str, native: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As wrappers do that gather it on demand: torch would read it, and the process would end."""
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

    optimizer.register_step_post_hook(let_go)
    with AdamDebugCallback(model, optimizer, log_dir=tmp_path):
        model(torch.randn(2, 8)).sum().backward()
        with pytest.warns(UserWarning, match=r"memory of a tensor of shape \(8, 8\)"):
            optimizer.step()


def test_a_warning_before_training_may_be_an_error(tmp_path: Path) -> None:
    weights = [nn.Parameter(torch.ones(2)) for _ in range(2)]
    optimizer = torch.optim.Adam(weights)
    named = [("a", weights[0])]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="not in the model"):
            AdamDebugCallback(named, optimizer, log_dir=tmp_path)
    assert not (tmp_path / schema.RUN_FOLDER).exists()
    # Nothing was attached.
    with pytest.warns(UserWarning, match="not in the model"):
        AdamDebugCallback(named, optimizer, log_dir=tmp_path).close()


def run_python(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    prelude = """
        import os, shutil, sys, torch
        from tb_adam_plugin.callback import AdamDebugCallback

        weight = torch.nn.Parameter(torch.ones(300))
        optimizer = torch.optim.Adam([weight])

        def train(steps):
            for _ in range(steps):
                weight.grad = torch.ones(300)
                optimizer.step()

        def watch(**options):
            return AdamDebugCallback([("w", weight)], optimizer, log_dir=sys.argv[1], **options)
    """
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(prelude) + textwrap.dedent(script)]
        + [str(argument) for argument in arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def test_a_script_with_warnings_as_errors_ends_well_on_a_deleted_folder(tmp_path: Path) -> None:
    done = run_python(
        """
        debug = watch(every_n_steps=1000)
        train(3)
        shutil.rmtree(sys.argv[1])
        train(30)
        print("trained", weight[0].item() < 1)
        """,  # and no close(): the rows that wait are lost at exit
        tmp_path / "run",
    )
    assert (done.returncode, done.stdout) == (0, "trained True\n"), done.stderr
    assert "Adam Debug: failed while writing a record" in done.stderr
    assert "Adam Debug: the last records were lost" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_callback_itself_warns_of_nothing(tmp_path: Path) -> None:
    done = run_python(
        """
        with watch(every_n_steps=2, exact=True, on_error="raise"):
            train(5)
            weight.data[:5] = torch.tensor([float("nan"), float("inf"), 0.0, 1e-45, 3e38])
            train(2)
            weight.grad = None
            optimizer.step()
            weight.data.zero_()
            train(4)
        """,
        tmp_path,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_forked_child_leaves_its_parents_record_alone(tmp_path: Path) -> None:
    """As a worker of a DataLoader does, or a child that goes on training."""
    done = run_python(
        """
        debug = watch(every_n_steps=1)
        train(3)
        child = os.fork()
        if child == 0:
            sys.stderr = open(os.devnull, "w")
            import logging
            logging.disable()
            try:
                train(5)
            except BaseException:
                os._exit(7)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        train(2)
        debug.close()
        sys.exit(os.waitstatus_to_exitcode(status))
        """,
        tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(read_run(tmp_path).steps) == [1, 2, 3, 4, 5]
