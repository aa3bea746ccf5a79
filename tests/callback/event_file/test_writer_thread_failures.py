"""What happens to records when the writer's thread fails, is forked or does not start."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from writer_thread_steps import (
    LAYOUT,
    STATISTICS,
    Training,
    events_in,
    records_in,
    run_python,
    steps_in,
    threads,
    wait_until_idle,
    write_large,
    write_small,
)

from tb_adam_plugin import schema
from tb_adam_plugin.callback.write.event_file import LocalFile
from tb_adam_plugin.callback.write.event_log import EventLog
from tb_adam_plugin.callback.write.writer_thread import BackgroundWriter, EarlierWriteError

pytest_plugins = ["writer_thread_fixtures"]


def fail_to_pack(monkeypatch: pytest.MonkeyPatch, fails: Callable[[], bool]) -> None:
    pack = schema.histogram_tensors

    def maybe_fail(*arguments: Any) -> list[schema.TaggedTensor]:
        if fails():
            raise MemoryError("no memory to pack in")
        return pack(*arguments)

    monkeypatch.setattr(schema, "histogram_tensors", maybe_fail)


def test_what_cannot_be_packed_is_told_counted_and_described_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = itertools.count(1)
    fail_to_pack(monkeypatch, lambda: next(numbers) == 1)
    log = EventLog(tmp_path)
    write_large(log, [1])
    while not log.dropped_records:
        time.sleep(0.001)
    message = r"cannot pack the record of step 1: MemoryError: no memory"
    with pytest.raises(EarlierWriteError, match=message):
        write_large(log, [2])
    write_large(log, [3])  # it was told once
    log.close()
    assert steps_in(tmp_path) == [2, 3]
    assert log.dropped_records == 1
    (path,) = tmp_path.glob("**/events.out.tfevents.*")
    read = EventAccumulator(str(path)).Reload()
    assert read.SummaryMetadata(STATISTICS).plugin_data.content == LAYOUT.content()


@pytest.mark.parametrize("end", ["flush", "close"])
def test_flush_and_close_tell_what_could_not_be_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    fail_to_pack(monkeypatch, lambda: True)
    log = EventLog(tmp_path)
    write_large(log, [1])
    with pytest.raises(OSError, match="cannot pack the record of step 1"):
        getattr(log, end)()
    log.close()
    assert not threads()


def test_training_goes_on_where_a_record_cannot_be_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = itertools.count(1)
    fail_to_pack(monkeypatch, lambda: next(numbers) in (3, 4))
    training = Training(tmp_path)
    with pytest.warns(UserWarning, match=r"cannot pack the record of step 3.*continue") as caught:
        training.steps(12, wait_until_idle)
    assert len(caught) == 1
    training.debug.close()
    events = events_in(tmp_path)
    assert [event.step for event in events] == [1, 2, *range(5, 13)]
    (rows,) = (v for v in events[-1].summary.value if "/steps/" in v.tag)
    row = np.frombuffer(rows.tensor.tensor_content, "<f8")
    assert row[schema.STEP_COLUMNS.index("dropped_records")] == 2


def test_as_much_is_written_as_there_is_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = 0
    append = LocalFile._append

    def append_within(file: LocalFile, records: bytes) -> None:
        nonlocal room
        if len(records) > room:
            raise OSError(errno.ENOSPC, "No space left on device")
        room -= len(records)
        append(file, records)

    write_large(log := EventLog(tmp_path / "whole"), [1, 2, 3, 4, 5])
    log.close()
    sizes = [len(record) + 16 for record in records_in(tmp_path / "whole")]
    log = EventLog(tmp_path / "full")
    write_small(log, 0)
    monkeypatch.setattr(LocalFile, "_append", append_within)
    for step in range(1, 6):  # the thread may have failed before the next one comes
        with contextlib.suppress(EarlierWriteError):
            write_large(log, [step])
    for enough, there in ((sum(sizes[:3]), 3), (sum(sizes), 5)):
        room = enough
        with contextlib.suppress(OSError) if there < 5 else contextlib.nullcontext():
            log.flush()
        assert steps_in(tmp_path / "full") == list(range(there + 1))
    log.close()


def test_a_deleted_file_is_told_and_not_kept_for(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    write_large(log, [1])
    log.flush()
    os.unlink(log.location)
    write_large(log, [2])
    with pytest.raises(FileNotFoundError, match="deleted"):
        log.flush()
    assert log.dropped_records == 1
    background = log._writer._background  # type: ignore[attr-defined]
    assert background.is_idle
    log._writer._file.check = lambda: None  # type: ignore[attr-defined]
    log.close()


def test_a_log_that_is_closed_in_mid_write_does_not_wait_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Like a signal handler: on the writing thread, between any two of its instructions."""
    log = EventLog(tmp_path)
    write_large(log, [1])
    background = log._writer._background  # type: ignore[attr-defined]

    def close(*_: object) -> bool:
        log.close()
        return True

    monkeypatch.setattr(background, "_has_room", close)
    with pytest.raises(ValueError, match="event log is closed"):
        write_large(log, [2])
    assert steps_in(tmp_path) == [1]
    assert not threads()


def test_a_log_that_its_own_thread_collects_ends_without_waiting_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = EventLog(tmp_path)
    background: list[BackgroundWriter] = []
    pack = schema.histogram_tensors

    def collect(*arguments: Any) -> list[schema.TaggedTensor]:
        background[0].close()
        return pack(*arguments)

    write_large(log, [1])
    log.flush()
    background.append(log._writer._background)  # type: ignore[attr-defined]
    (thread,) = threads()
    monkeypatch.setattr(schema, "histogram_tensors", collect)
    with contextlib.suppress(ValueError):  # "closed": the thread was quicker
        write_large(log, [2])
    thread.join(60)
    assert not thread.is_alive()
    assert steps_in(tmp_path) == [1, 2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_leaves_the_thread_to_its_parent(tmp_path: Path) -> None:
    script = """
    log = EventLog(folder)
    write_large(log, range(1, 30))
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # the thread is not here: to wait for it would never end
        try:
            write_large(log, [100])
        except RuntimeError:
            pass
        log.flush()
        log.close()
        del log
        gc.collect()
        sys.exit(7)
    write_large(log, range(30, 40))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
    log.close()
    """
    result = run_python(script, tmp_path)
    assert result.returncode == 0, result.stderr
    assert steps_in(tmp_path) == list(range(1, 40))


@pytest.mark.parametrize("starts", [True, False])
def test_where_no_thread_starts_this_one_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, starts: bool
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    if not starts:
        monkeypatch.setattr(threading.Thread, "start", refuse)
    log = EventLog(tmp_path)
    write_large(log, range(1, 6))
    assert bool(threads()) == starts
    log.close()
    assert steps_in(tmp_path) == list(range(1, 6))
