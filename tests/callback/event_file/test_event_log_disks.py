"""The event file on failing disks."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest
from event_log_steps import run_python, steps_in, write_steps, writer_threads

from tb_adam_plugin.callback.write import run_folder_writer
from tb_adam_plugin.callback.write.event_log import EventLog


def test_a_truncated_file_keeps_its_whole_records_and_a_restart_goes_on(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    write_steps(log, range(1, 6))
    log.close()
    os.truncate(log.location, os.path.getsize(log.location) - 7)
    assert steps_in(tmp_path / "adam_debug") == [1, 2, 3, 4]
    again = EventLog(tmp_path)
    write_steps(again, range(5, 8))
    again.close()
    assert sorted(steps_in(tmp_path / "adam_debug")) == [1, 2, 3, 4, 5, 6, 7]


def test_a_full_disk_is_an_error_that_names_the_file_and_tears_no_record(tmp_path: Path) -> None:
    script = """
    import resource
    log = EventLog(folder)
    write_steps(log, range(1, 4))
    size = os.path.getsize(log.location)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, hard))
    for t in (4, 5):
        try:
            write_steps(log, range(t, t + 1))
        except OSError as error:
            assert log.location in str(error) and "cannot write" in str(error), error
        else:
            sys.exit("wrote more than the limit")
        assert os.path.getsize(log.location) == size
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    write_steps(log, range(6, 8))
    log.close()
    """
    result = run_python(script, tmp_path)
    assert result.returncode == 0, result.stderr
    assert steps_in(tmp_path / "adam_debug") == [1, 2, 3, 6, 7]


def test_a_deleted_folder_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "run")
    write_steps(log, range(1, 3))
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(FileNotFoundError, match="deleted") as failure:
        write_steps(log, range(3, 4))
    assert log.location in str(failure.value)
    with pytest.raises(FileNotFoundError, match="deleted"):
        log.flush()
    log.close()


def test_a_local_disk_that_is_slow_again_and_again_is_written_on_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine, the log of another test may have a thread, too, and still hold it.
    others = writer_threads()
    monkeypatch.setattr(run_folder_writer, "_SLOW_SECONDS", -1.0)
    log = EventLog(tmp_path)
    write_steps(log, range(1, 3))
    assert not writer_threads(others)
    write_steps(log, range(3, 20))
    assert len(writer_threads(others)) == 1
    log.flush()
    assert steps_in(tmp_path / "adam_debug") == list(range(1, 20))
    write_steps(log, range(20, 30))
    log.close()
    assert not writer_threads(others)
    assert steps_in(tmp_path / "adam_debug") == list(range(1, 30))


def test_several_threads_may_write(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    threads = [
        threading.Thread(target=write_steps, args=(log, range(100 * i, 100 * i + 20)))
        for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    expected = [100 * i + k for i in range(4) for k in range(20)]
    assert sorted(steps_in(tmp_path / "adam_debug")) == expected
