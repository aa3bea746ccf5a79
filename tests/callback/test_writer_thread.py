"""The thread that packs and writes large records: order, bounds, failures, whose memory it is."""

from __future__ import annotations

import contextlib
import errno
import gc
import itertools
import os
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from event_files import START, make_layout, statistics_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto import event_pb2
from torch import Tensor, nn

from tb_adam_plugin import schema
from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.schedule.overhead import OverheadBudget
from tb_adam_plugin.callback.steps.own_time import OwnTime
from tb_adam_plugin.callback.write import run_folder_writer, writer_thread
from tb_adam_plugin.callback.write.event_file import LocalFile
from tb_adam_plugin.callback.write.event_log import EventLog
from tb_adam_plugin.callback.write.step_event import Histograms, StepEvent
from tb_adam_plugin.callback.write.writer_thread import BackgroundWriter, EarlierWriteError

LAYOUT = make_layout([f"layer{i}.weight" for i in range(40)])
STATISTICS = f"adam_debug/statistics/{LAYOUT.id}"
THREAD = "adam-debug-writer"


def histograms_of(step: int) -> Histograms:
    """Made-up histograms that are large enough for the thread."""
    shape = (len(LAYOUT.parameters), len(LAYOUT.quantities), schema.BINS + len(schema.SPECIAL))
    counts = np.random.default_rng(step).poisson(0.7, shape) * (step % 300)
    return Histograms(LAYOUT, schema.SparseHistograms.of(counts))


def tensors_of(step: int) -> list[schema.TaggedTensor]:
    return [schema.statistics_tensor(LAYOUT, statistics_of(LAYOUT, step))]


def write_large(log: EventLog, steps: Sequence[int]) -> None:
    for step in steps:
        log.write(step, START + step, tensors_of(step), {"lr": step}, histograms_of(step))


def write_small(log: EventLog, step: int) -> None:
    log.write(step, START + step, tensors_of(step), {"lr": step})


def records_in(folder: Path) -> list[bytes]:
    """All records of the one file but the first, which has the time in it."""
    (path,) = folder.glob("**/events.out.tfevents.*")
    return list(RawEventFileLoader(str(path)).Load())[1:]


def events_in(folder: Path) -> list[Any]:
    return [event_pb2.Event.FromString(record) for record in records_in(folder)]


def steps_in(folder: Path) -> list[int]:
    return [event.step for event in events_in(folder)]


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == THREAD]


class Gate:
    """Holds up what passes on the writer's thread, and says who has passed."""

    def __init__(self) -> None:
        self.is_open = threading.Event()
        self.is_reached = threading.Event()
        self.passed: list[str] = []

    def pass_through(self) -> None:
        name = threading.current_thread().name
        if name == THREAD:
            self.is_reached.set()
            assert self.is_open.wait(60)
        self.passed.append(name)


@pytest.fixture
def packing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """A gate before the packing of histograms."""
    gate = Gate()
    pack = schema.histogram_tensors

    def wait_and_pack(*arguments: Any) -> list[schema.TaggedTensor]:
        gate.pass_through()
        return pack(*arguments)

    monkeypatch.setattr(schema, "histogram_tensors", wait_and_pack)
    yield gate
    gate.is_open.set()


@pytest.fixture
def on_this_thread(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Called, everything is packed and written by the thread that trains."""
    return lambda: monkeypatch.setattr(run_folder_writer, "_SMALL_BYTES", 1 << 40)


# --- what is in the file ------------------------------------------------------------------------


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


# --- bounds -------------------------------------------------------------------------------------


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


# --- failures -----------------------------------------------------------------------------------


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
    with pytest.warns(UserWarning, match=r"cannot pack the record of step 3.*goes on") as caught:
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
    with contextlib.suppress(EarlierWriteError):
        write_large(log, [1, 2, 3, 4, 5])
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
    """As a signal handler does: on the thread that writes, between any two of its instructions."""
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


# --- whose memory it is -------------------------------------------------------------------------


class Training:
    """A model whose records are large enough for the thread, and its callback."""

    def __init__(self, folder: Path, **options: Any) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(*(nn.Linear(12, 12) for _ in range(24)))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)
        self.debug = AdamDebugCallback(
            self.model, self.optimizer, log_dir=folder, every_n_steps=1, max_overhead=1, **options
        )

    def steps(self, number: int, between: Callable[[AdamDebugCallback], None]) -> None:
        for _ in range(number):
            self.step()
            between(self.debug)

    def step(self) -> None:
        self.optimizer.zero_grad()
        self.model(torch.randn(4, 12)).square().mean().backward()
        self.optimizer.step()


def wait_until_idle(debug: AdamDebugCallback) -> None:
    background = debug._output.recorder.log._writer._background  # type: ignore[union-attr]
    while background is not None and not background.is_idle:
        time.sleep(0.001)


def arrays_of(event: StepEvent) -> list[np.ndarray[Any, Any]]:
    assert event.histograms is not None
    counts = event.histograms.counts
    return [*(one.tensor for one in event.tensors), counts.bitmaps, counts.values, counts.lengths]


@pytest.fixture
def offered(packing: Gate, monkeypatch: pytest.MonkeyPatch) -> list[StepEvent]:
    """All events that were handed over; none is packed before the gate is opened."""
    events: list[StepEvent] = []
    offer = BackgroundWriter.offer

    def note(self: BackgroundWriter, event: StepEvent, share: float) -> bool:
        events.append(event)
        return offer(self, event, share)

    monkeypatch.setattr(BackgroundWriter, "offer", note)
    return events


@pytest.mark.parametrize("exact", [False, True])
def test_what_waits_does_not_change_with_the_next_records(
    tmp_path: Path, packing: Gate, offered: list[StepEvent], exact: bool
) -> None:
    training = Training(tmp_path, exact=exact)
    kept: list[list[np.ndarray[Any, Any]]] = []
    for _ in range(6):
        training.step()
        kept.append([array.copy() for array in arrays_of(offered[-1])])
    for event, copies in zip(offered, kept, strict=True):
        for array, copy in zip(arrays_of(event), copies, strict=True):
            np.testing.assert_array_equal(array, copy)
    for one, other in itertools.combinations(offered, 2):
        for array, another in itertools.product(arrays_of(one), arrays_of(other)):
            assert not np.shares_memory(array, another)
    packing.is_open.set()
    training.debug.close()
    assert steps_in(tmp_path) == [1, 2, 3, 4, 5, 6]


def test_arrays_that_are_handed_over_may_be_written_to_afterwards(
    tmp_path: Path, packing: Gate, on_this_thread: Callable[[], None]
) -> None:
    """Tensors are copied, and so is what of the histograms is a view of other memory."""

    def write(folder: Path, overwrites: bool) -> list[bytes]:
        log = EventLog(folder)
        memory = [np.empty(1 << 20, np.uint8) for _ in range(3)]
        for step in range(1, 6):
            counts = histograms_of(step).counts
            arrays: list[np.ndarray[Any, Any]] = [counts.bitmaps, counts.values, counts.lengths]
            views = []
            for buffer, array in zip(memory, arrays, strict=True):
                view = buffer[: array.nbytes].view(array.dtype).reshape(array.shape)
                view[...] = array
                views.append(view)
            tensors = tensors_of(step)
            histograms = Histograms(LAYOUT, schema.SparseHistograms(*views))
            log.write(step, START + step, tensors, {}, histograms)
            if overwrites:
                for array in (*memory, *(one.tensor for one in tensors)):
                    array.fill(7)
        packing.is_open.set()
        log.close()
        return records_in(folder)

    by_thread = write(tmp_path / "thread", overwrites=True)
    on_this_thread()
    assert write(tmp_path / "here", overwrites=False) == by_thread


@pytest.mark.usefixtures("packing")
def test_the_queue_keeps_no_tensor(tmp_path: Path, offered: list[StepEvent]) -> None:
    training = Training(tmp_path)
    gradients: list[weakref.ref[Any]] = []
    for _ in range(3):
        training.step()
        gradients += [weakref.ref(p.grad) for p in training.model.parameters()]
        assert all(reference() is not None for reference in gradients[-48:])
    training.optimizer.zero_grad(set_to_none=True)
    gc.collect()
    assert not any(reference() is not None for reference in gradients)
    reached: dict[int, object] = {}
    waiting: list[object] = list(offered)
    while waiting:
        found = waiting.pop()
        if id(found) in reached or isinstance(found, type | type(sys)):
            continue
        reached[id(found)] = found
        waiting += gc.get_referents(found)
    assert not any(isinstance(found, Tensor) for found in reached.values())
    assert any(isinstance(found, np.ndarray) for found in reached.values())


def test_training_is_the_same_and_so_are_its_records(
    tmp_path: Path, on_this_thread: Callable[[], None]
) -> None:
    def train(folder: Path) -> tuple[list[Tensor], list[Any]]:
        training = Training(folder)
        for _ in range(8):
            training.step()
        training.debug.close()
        values = [
            (event.step, value.tag, value.tensor.tensor_content, value.metadata)
            for event in events_in(folder)
            for value in event.summary.value
            if "/steps/" not in value.tag  # it has times
        ]
        return [p.detach() for p in training.model.parameters()], values

    weights, values = train(tmp_path / "thread")
    on_this_thread()
    others, expected = train(tmp_path / "here")
    assert values == expected
    assert all(torch.equal(one, other) for one, other in zip(weights, others, strict=True))


# --- what it takes ------------------------------------------------------------------------------


def test_the_threads_time_is_known(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    write_small(log, 1)
    assert log.seconds_on_thread == 0
    write_large(log, range(2, 30))
    log.flush()
    before = log.seconds_on_thread
    assert before > 0
    write_large(log, range(30, 60))
    log.flush()
    assert log.seconds_on_thread > before
    log.close()


class Told(OverheadBudget):
    """A budget that keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(0.01, ())
        self.told: list[tuple[float, bool]] = []

    def add_own(self, step: int, seconds: float, *, recorded: bool, asked_for: bool = True) -> None:
        self.told.append((seconds, recorded))


def test_what_a_thread_takes_counts_for_the_next_record_and_the_next_row() -> None:
    class OnHost:
        is_on_device = False

    seconds = 0.0
    budget = Told()
    own = OwnTime(OnHost(), budget, is_shared=False, on_thread=lambda: seconds)  # type: ignore[arg-type]
    rows = []
    for step, recorded in enumerate([True, False, True, False, True], 1):
        own.enter_hook()
        rows.append(own.milliseconds_of_row())
        own.end_row()
        own.end_step(step, recorded=recorded, asked_for=True)
        seconds += 10.0 * recorded
    assert [round(told, 1) for told, _ in budget.told] == [0, 0, 10, 0, 10]
    assert [round(row / 1e3, 1) for row in rows] == [0, 10, 0, 10, 0]


def run_python(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    prelude = (
        "import gc, os, signal, sys\nfrom test_writer_thread import *\nfolder = Path(sys.argv[1])\n"
    )
    return subprocess.run(
        [sys.executable, "-c", prelude + textwrap.dedent(script), str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
