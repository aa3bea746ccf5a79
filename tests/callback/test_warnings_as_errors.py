"""Training continues if warnings are errors, and if processes fork."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import pytest
import torch
from contained_run import Run, fail_while
from recorded_run import read_run
from torch import nn

from tb_adam_plugin import schema
from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.measure.measurement import Measurement
from tb_adam_plugin.callback.read.norms import GradientNorms
from tb_adam_plugin.callback.read.panel import Panel
from tb_adam_plugin.callback.write.event_log import EventLog


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
