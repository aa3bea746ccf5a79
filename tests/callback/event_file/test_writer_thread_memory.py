"""Ownership of the memory and time that the writer's thread uses."""

from __future__ import annotations

import gc
import itertools
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from event_files import START
from torch import Tensor
from writer_thread_steps import (
    LAYOUT,
    Gate,
    Training,
    events_in,
    histograms_of,
    records_in,
    steps_in,
    tensors_of,
    write_large,
    write_small,
)

from tb_adam_plugin import schema
from tb_adam_plugin.callback.schedule.overhead import OverheadBudget
from tb_adam_plugin.callback.steps.own_time import OwnTime
from tb_adam_plugin.callback.write.event_log import EventLog
from tb_adam_plugin.callback.write.step_event import Histograms, StepEvent
from tb_adam_plugin.callback.write.writer_thread import BackgroundWriter

pytest_plugins = ["writer_thread_fixtures"]


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
    """Tensors are copied, and so are histograms that are views of other memory."""

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
