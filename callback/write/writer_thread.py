"""A thread that packs and writes the events of steps, with a bounded queue.

It spends most of its time in zlib and on the disk, which do not hold the GIL. Queued events are
written to the file in one call.

Nothing here takes a lock: a signal handler may close the log at any point of the training. The
queue accepts a message in the middle of any call, and each number below is changed by one thread
only.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from dataclasses import dataclass, field

from ...tfrecord import to_record
from .event_file import EventFile
from .step_event import Packer, StepEvent

_RETRY_SECONDS = 1.0
# Some storages rewrite the whole file each time: such a write takes longer and longer.
_PAUSE_FOR_ONE_WRITE = 10.0
_SHARE_WITHOUT_PAUSE = 0.25
# Unpacked histograms take three times the memory. Above this limit, the training thread packs its
# own, as it would without another thread: it never waits.
_UNPACKED_BYTES = 4 << 20
# Keeps a busy thread writing.
_BYTES_AT_ONCE = 1 << 20
_SECONDS_BETWEEN_LOOKS = 1.0


class EarlierWriteError(OSError):
    """A previously queued event cannot be written."""


@dataclass(slots=True, eq=False)
class _Flush:
    """Requests that everything queued before it be written.

    Attributes:
        ends: Whether nothing comes after it.
        is_awaited: Whether a caller waits for the result.
        done: Set after the attempt.
        error: The error, or None.
    """

    ends: bool = False
    is_awaited: bool = True
    done: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None


@dataclass(slots=True)
class _Total:
    """Totals of events: the bytes they take while waiting, and those of unpacked histograms."""

    events: int = 0
    bytes: int = 0
    unpacked: int = 0


@dataclass(slots=True)
class _Packed:
    """What the thread has packed and is about to write.

    Attributes:
        records: One per event.
        earliest: When they may be written, on the monotonic clock.
        may_hurry: Whether a filling queue is a reason to write earlier.
    """

    records: list[bytes] = field(default_factory=list)
    earliest: float = 0.0
    may_hurry: bool = True

    @property
    def size(self) -> int:
        return sum(map(len, self.records))


class BackgroundWriter:
    """Writes to an event file from a thread. ``offer`` is for one thread at a time.

    Events that could not be written are kept and retried, unless the file was deleted.

    Attributes:
        lost_events: Number of events that could not be packed, or went into a deleted file.
        seconds: Processor time that the thread has used.
    """

    def __init__(
        self,
        file: EventFile,
        packer: Packer,
        *,
        seconds_between_writes: float,
        queue_bytes: int,
    ) -> None:
        """Start the thread.

        Args:
            file: Written to only by this thread, unless :attr:`is_idle`.
            packer: Used only by this thread, unless :attr:`is_idle`.
            seconds_between_writes: Least interval; ``flush`` and a filling queue do not wait for
                it.
            queue_bytes: How many bytes may wait to be written.

        Raises:
            RuntimeError: If no more threads can be started.
        """
        self._file = file
        self._packer = packer
        self._seconds_between_writes = seconds_between_writes
        self._queue_bytes = queue_bytes
        self._inbox: queue.SimpleQueue[StepEvent | _Flush] = queue.SimpleQueue()
        self._offered = _Total()  # changed by the caller of offer()
        self._done = _Total()  # changed by the thread
        self._packed = _Packed()
        self._error: Exception | None = None  # of the last write
        self._loss: Exception | None = None  # of an event that is not retried
        self._is_closed = False
        self.lost_events = 0
        self.seconds = 0.0
        self._thread = threading.Thread(target=self._run, name="adam-debug-writer", daemon=True)
        self._thread.start()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is queued or being written."""
        return self._done.events == self._offered.events

    def offer(self, event: StepEvent, share_of_queue: float) -> bool:
        """Queue an event, or refuse it because too much is waiting. It never waits.

        If the thread is behind with packing, the histograms are packed here.

        Args:
            event: The event, which owns its arrays.
            share_of_queue: How much of the queue may be in use with this event, up to 1. An empty
                queue accepts anything.

        Returns:
            Whether it was queued.

        Raises:
            ValueError: If the writer is closed.
        """
        if not self._has_room(0, share_of_queue):
            return False
        unpacked = self._offered.unpacked - self._done.unpacked
        if unpacked and unpacked + event.unpacked_bytes > _UNPACKED_BYTES:
            event = event.packed()
        if not self._has_room(event.nbytes, share_of_queue):
            return False
        self._offered.bytes += event.nbytes
        self._offered.unpacked += event.unpacked_bytes
        self._offered.events += 1
        self._inbox.put(event)
        if self._is_closed:
            raise ValueError("the event log is closed")
        return True

    def raise_error(self) -> None:
        """Raise the error of the last write, or of a lost event, once.

        Raises:
            EarlierWriteError: If a write failed and has not succeeded since.
        """
        error = self._take_error()
        if isinstance(error, OSError) and error.errno is not None:
            raise EarlierWriteError(error.errno, error.strerror, error.filename) from error
        if error is not None:
            raise EarlierWriteError(str(error)) from error

    def flush(self) -> None:
        """Wait until everything queued is in the file.

        Raises:
            OSError: If it cannot be written, or an event was lost since the last call.
        """
        self._error = None  # only the outcome from here on counts
        error = self._ask(_Flush())
        error = error or self._loss
        self._take_error()
        if error is not None:
            raise error

    def close(self) -> None:
        """Write everything queued, end the thread and close the file.

        Raises:
            OSError: If something could not be written; it is lost.
        """
        self._is_closed = True
        if threading.current_thread() is self._thread:
            # The log was collected while this thread ran, which cannot wait for itself.
            self._inbox.put(_Flush(ends=True, is_awaited=False))
            return
        error = self._ask(_Flush(ends=True)) or self._loss
        self._thread.join()
        self._file.close()
        if error is not None:
            raise self._final(error) from error

    def _has_room(self, size: int, share_of_queue: float) -> bool:
        waiting = self._offered.bytes - self._done.bytes
        return self.is_idle or waiting + size <= self._queue_bytes * share_of_queue

    def _take_error(self) -> Exception | None:
        error = self._loss or self._error
        self._loss = self._error = None
        return error

    def _ask(self, flush: _Flush) -> Exception | None:
        self._inbox.put(flush)
        while not flush.done.wait(_SECONDS_BETWEEN_LOOKS):
            if not self._thread.is_alive() and not flush.done.is_set():
                return OSError("the thread that writes the event file has ended")
        return flush.error

    def _final(self, error: Exception) -> OSError:
        size = self._packed.size
        return OSError(f"{size} bytes are lost: {error}" if size else str(error))

    # --- the thread ---

    def _run(self) -> None:
        flush = None
        while flush is None or not flush.ends:
            flush = self._receive()
            error = self._write()
            if flush is not None:
                flush.error = error or self._check()
            self.seconds = time.thread_time()
            if flush is not None:
                flush.done.set()
        if not flush.is_awaited:
            self._close_alone(flush.error or self._loss)

    def _receive(self) -> _Flush | None:
        """Pack what arrives until a write is due; return the flush that asks for it, if any."""
        while True:
            pause = self._pause()
            try:
                message = self._inbox.get(timeout=pause)
            except queue.Empty:
                return None
            if isinstance(message, _Flush):
                return message
            waiting = [message]
            del message
            self._pack(waiting)
            if pause == 0 and self._packed.size > _BYTES_AT_ONCE:
                return None

    def _pause(self) -> float | None:
        """How long to wait for more; None if there is nothing to write."""
        packed = self._packed
        if not packed.records:
            return None
        waiting = self._offered.bytes - self._done.bytes
        if packed.may_hurry and waiting > self._queue_bytes * _SHARE_WITHOUT_PAUSE:
            return 0.0
        return max(0.0, packed.earliest - time.monotonic())

    def _pack(self, waiting: list[StepEvent]) -> None:
        """Pack the one waiting event; nothing else refers to it, so it is freed on the way."""
        event = waiting.pop()
        step, size, unpacked = event.step, event.nbytes, event.unpacked_bytes
        try:
            event = event.packed()
            record = to_record(self._packer.pack(event))
        except Exception as error:
            self._loss = OSError(
                f"cannot pack the record of step {step}: {type(error).__name__}: {error}"
            )
            self._count(1, lost=True)
        else:
            size -= len(record)
            self._packed.records.append(record)
        self._done.bytes += size
        self._done.unpacked += unpacked
        self.seconds = time.thread_time()

    def _write(self) -> Exception | None:
        """Write what is packed; on an error keep it, unless the file is gone."""
        packed = self._packed
        if not packed.records:
            return None
        started = time.monotonic()
        try:
            self._write_records()
        except FileNotFoundError as error:
            self._loss = error
            self._forget(len(packed.records), lost=True)
        except Exception as error:
            self._error = error
            packed.earliest = started + max(self._seconds_between_writes, _RETRY_SECONDS)
            packed.may_hurry = False
            return error
        else:
            now = time.monotonic()
            pause = (now - started) * _PAUSE_FOR_ONE_WRITE
            packed.earliest = now + max(self._seconds_between_writes, pause)
            packed.may_hurry = True
            self._error = None
        return None

    def _write_records(self) -> None:
        """Write what is packed in one call; if that fails, as many records as fit.

        Raises:
            Exception: Whatever the file raises. Written records are removed.
        """
        records = self._packed.records
        try:
            self._file.write(b"".join(records))
        except FileNotFoundError:
            raise
        except Exception:
            if len(records) == 1:
                raise
            while self._packed.records:
                self._file.write(self._packed.records[0])
                self._forget(1, lost=False)
        else:
            self._forget(len(records), lost=False)

    def _forget(self, events: int, *, lost: bool) -> None:
        """Remove the first packed events."""
        records = self._packed.records
        self._done.bytes += sum(map(len, records[:events]))
        self._packed.records = records[events:]
        self._count(events, lost=lost)

    def _count(self, events: int, *, lost: bool) -> None:
        self.lost_events += events * lost
        self._done.events += events

    def _check(self) -> Exception | None:
        try:
            self._file.check()
        except Exception as error:
            return error
        return None

    def _close_alone(self, error: Exception | None) -> None:
        try:
            self._file.close()
        except Exception as failure:
            error = error or failure
        if error is not None:
            logging.getLogger(__name__).error("adam_debug: %s", self._final(error))
