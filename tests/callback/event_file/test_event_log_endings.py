"""The content of the event file when its process ends, is killed or forks."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from event_log_steps import PRELUDE, run_python, steps_in, write_steps

from tb_adam_plugin.callback.write.event_log import EventLog


def test_what_was_written_can_be_read_at_once(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    write_steps(log, range(1, 4))
    log.flush()
    assert steps_in(tmp_path / "adam_debug") == [1, 2, 3]
    log.close()


def test_a_killed_process_leaves_all_that_was_flushed(tmp_path: Path) -> None:
    script = """
    log = EventLog(folder)
    for t in range(1, 10**6):
        write_steps(log, range(t, t + 1))
        log.flush()
        print(t, flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(script), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout as output:
        while int(output.readline()) < 20:
            pass
        process.send_signal(signal.SIGKILL)
        said = [line for line in output if line.endswith("\n")]
    process.wait()
    flushed = int(said[-1]) if said else 20
    steps = steps_in(tmp_path / "adam_debug")
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) >= flushed


@pytest.mark.parametrize("on_a_thread", [False, True])
@pytest.mark.parametrize("end", ["pass", "raise SystemExit(0)", "1 / 0"])
def test_leaving_without_close_loses_nothing(tmp_path: Path, end: str, on_a_thread: bool) -> None:
    script = f"""
    if {on_a_thread}:
        run_folder_writer._SLOW_SECONDS = -1.0
    log = EventLog(folder)
    write_steps(log, range(1, 51))
    {end}
    """
    result = run_python(script, tmp_path)
    assert ("ZeroDivisionError" in result.stderr) == (end == "1 / 0"), result.stderr
    assert steps_in(tmp_path / "adam_debug") == list(range(1, 51))


@pytest.mark.parametrize("package", ["torch.utils.tensorboard", "tensorboardX"])
def test_leaving_without_close_loses_nothing_of_a_shared_writer(
    tmp_path: Path, package: str
) -> None:
    script = f"""
    from {package} import SummaryWriter
    writer = SummaryWriter(str(folder), max_queue=1000)
    log = EventLog(writer=writer)
    write_steps(log, range(1, 51))
    """
    result = run_python(script, tmp_path)
    assert result.returncode == 0, result.stderr
    assert steps_in(tmp_path) == list(range(1, 51))


def test_a_forgotten_log_is_closed_when_it_is_collected(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    write_steps(log, range(1, 3))
    del log
    gc.collect()
    assert steps_in(tmp_path / "adam_debug") == [1, 2]


def test_closing_twice_is_fine_and_writing_afterwards_is_not(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.close()
    log.close()
    log.flush()
    with pytest.raises(ValueError, match="event log is closed"):
        write_steps(log, range(1, 2))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("on_a_thread", [False, True])
def test_a_forked_child_leaves_the_file_to_its_parent(tmp_path: Path, on_a_thread: bool) -> None:
    script = f"""
    if {on_a_thread}:
        run_folder_writer._SLOW_SECONDS = -1.0
    log = EventLog(folder)
    write_steps(log, range(1, 11))
    child = os.fork()
    if child == 0:
        try:
            write_steps(log, range(100, 101))
        except RuntimeError as error:
            assert str(os.getppid()) in str(error) and str(os.getpid()) in str(error), error
        else:
            sys.exit("the child wrote")
        log.flush()
        log.close()
        del log
        sys.exit(7)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
    write_steps(log, range(11, 21))
    log.close()
    """
    result = run_python(script, tmp_path)
    assert result.returncode == 0, result.stderr
    assert steps_in(tmp_path / "adam_debug") == list(range(1, 21))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_does_not_wait_for_its_parents_writer(tmp_path: Path) -> None:
    script = """
    import signal
    fsspec.register_implementation("gated", GatedFileSystem)
    GatedFileSystem.gate.set()
    log = EventLog(writer=SummaryWriter("gated://bucket/exp1"))
    GatedFileSystem.gate.clear()
    write_steps(log, range(1, 3))
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # the writer's thread is not here: flushing would never end
        sys.exit(7)
    _, status = os.waitpid(child, 0)
    GatedFileSystem.gate.set()
    assert os.waitstatus_to_exitcode(status) == 7
    log.close()
    assert remote_steps(folder) == [1, 2]
    """
    result = run_python(script, tmp_path)
    assert result.returncode == 0, result.stderr
