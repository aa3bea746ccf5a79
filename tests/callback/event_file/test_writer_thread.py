"""The thread that packs and writes large records: what it writes, in which order, within bounds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from event_files import START
from writer_thread_steps import (
    LAYOUT,
    THREAD,
    Gate,
    events_in,
    histograms_of,
    records_in,
    run_python,
    steps_in,
    threads,
    write_large,
    write_small,
)

from tb_adam_plugin.callback.write import run_folder_writer, writer_thread
from tb_adam_plugin.callback.write.event_log import EventLog
from tb_adam_plugin.callback.write.step_event import StepEvent
from tb_adam_plugin.callback.write.writer_thread import BackgroundWriter

pytest_plugins = ["writer_thread_fixtures"]


def test_the_thread_writes_the_same_bytes(
    tmp_path: Path, on_this_thread: Callable[[], None]
) -> None:
    def written(folder: Path) -> list[bytes]:
        log = EventLog(folder)
        for step in range(1, 12):
            write_large(log, [step])
            write_small(log, step)
        assert len(threads()) == (folder.name == "thread")
        log.close()
        return records_in(folder)

    by_thread = written(tmp_path / "thread")
    on_this_thread()
    assert written(tmp_path / "here") == by_thread
    assert len(by_thread) == 22


def test_small_events_are_in_the_file_when_write_returns(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    for step in range(1, 5):
        write_small(log, step)
        assert steps_in(tmp_path)[-1] == step
    assert not threads()
    write_large(log, [5])
    log.flush()
    write_small(log, 6)  # nothing waits before it
    assert steps_in(tmp_path) == [1, 2, 3, 4, 5, 6]
    log.close()


def test_events_stay_in_order_and_the_first_of_a_tag_says_what_it_is(
    tmp_path: Path, packing: Gate
) -> None:
    log = EventLog(tmp_path)
    write_large(log, [1])
    assert packing.is_reached.wait(60)
    for step in range(2, 30):  # all of them while the first one is being packed
        write_large(log, [step]) if step % 3 == 0 else write_small(log, step)
    assert steps_in(tmp_path) == []
    packing.is_open.set()
    log.close()
    first, *others = events_in(tmp_path)
    assert [event.step for event in (first, *others)] == list(range(1, 30))
    contents = [v.metadata.plugin_data.content for v in first.summary.value if v.tag != "lr"]
    assert all(contents)
    assert len(contents) == 1 + len(LAYOUT.histogram_tags)
    for event in others:
        assert not any(value.metadata.plugin_data.content for value in event.summary.value)


@pytest.mark.parametrize("end", ["log.flush(); os._exit(0)", "raise SystemExit(0)", "1 / 0", ""])
def test_what_was_written_is_there_however_the_process_ends(tmp_path: Path, end: str) -> None:
    result = run_python(f"log = EventLog(folder); write_large(log, range(1, 40)); {end}", tmp_path)
    assert ("ZeroDivisionError" in result.stderr) == (end == "1 / 0"), result.stderr
    assert steps_in(tmp_path) == list(range(1, 40))


def test_flush_and_close_wait_for_what_is_being_packed(tmp_path: Path, packing: Gate) -> None:
    log = EventLog(tmp_path)
    for end, expected in ((log.flush, [1, 2, 3]), (log.close, [1, 2, 3, 4, 5])):
        packing.is_open.clear()
        packing.is_reached.clear()
        write_large(log, [4, 5] if end == log.close else [1, 2, 3])
        assert packing.is_reached.wait(60)
        ending = threading.Thread(target=end)
        ending.start()
        ending.join(0.05)
        assert ending.is_alive()
        packing.is_open.set()
        ending.join(60)
        assert steps_in(tmp_path) == expected
    assert not threads()


def test_a_thread_that_is_behind_is_helped_and_never_waited_for(
    tmp_path: Path, packing: Gate, monkeypatch: pytest.MonkeyPatch, on_this_thread: Any
) -> None:
    size = StepEvent(1, START, (), {}, histograms_of(1)).unpacked_bytes
    monkeypatch.setattr(writer_thread, "_UNPACKED_BYTES", 3 * size + size // 2)
    queued: list[StepEvent] = []
    offer = BackgroundWriter.offer

    def note(self: BackgroundWriter, event: StepEvent, share: float) -> bool:
        taken = offer(self, event, share)
        waiting = self._offered.unpacked - self._done.unpacked
        assert waiting <= 3 * size + size // 2
        queued.append(event)
        return taken

    monkeypatch.setattr(BackgroundWriter, "offer", note)
    log = EventLog(tmp_path / "thread")
    write_large(log, range(1, 21))
    # Three wait, and the rest was packed here.
    assert packing.passed.count("MainThread") in (17, 18)
    packing.is_open.set()
    log.close()
    assert log.dropped_records == 0
    by_thread = records_in(tmp_path / "thread")
    on_this_thread()
    log = EventLog(tmp_path / "here")
    write_large(log, range(1, 21))
    log.close()
    assert records_in(tmp_path / "here") == by_thread
    assert len(queued) == 20


def test_what_takes_much_memory_is_packed_here_and_written_in_its_turn(
    tmp_path: Path, packing: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = EventLog(tmp_path)
    write_large(log, [1])
    assert packing.is_reached.wait(60)
    monkeypatch.setattr(run_folder_writer, "_MOST_BYTES_OF_THREAD", 100)
    write_large(log, [2, 3])  # not before the first one
    assert packing.passed == ["MainThread"] * 2
    packing.is_open.set()
    log.flush()
    write_large(log, [4])
    assert packing.passed == ["MainThread", "MainThread", THREAD, "MainThread"]
    assert steps_in(tmp_path) == [1, 2, 3, 4]  # at once, where nothing waits
    log.close()


def test_a_full_queue_loses_histograms_first_and_counts(
    tmp_path: Path, packing: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_folder_writer, "_QUEUE_BYTES", 400_000)
    log = EventLog(tmp_path)
    write_large(log, range(1, 1000))
    most = log._writer._background._offered.bytes  # type: ignore[attr-defined]
    assert most <= 400_000
    assert log.dropped_records > 500
    packing.is_open.set()
    log.close()
    events = events_in(tmp_path)
    with_histograms = [e.step for e in events if "/histograms/" in str(e.summary)]
    assert with_histograms == list(range(1, 1000 - log.dropped_records))
    steps = [e.step for e in events]
    assert steps == list(range(1, len(steps) + 1))
    assert len(with_histograms) < len(steps) < 999
