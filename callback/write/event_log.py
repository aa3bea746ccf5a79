"""Writes a step's data as one event of an event file, for TensorBoard to read.

One event per step, for any number of parameters: TensorBoard's cost is per event, not per byte, and
a record is written whole or not at all. The writers decide where the bytes go: ``own_writer`` to
our own file, ``shared_writer`` to that of the user's SummaryWriter.
"""

from __future__ import annotations

import logging
import math
import operator
import os
import re
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from ... import schema
from .event_bytes import ELEMENT_TYPES, is_element_type
from .run_folder_writer import OwnWriter
from .step_event import Histograms, StepEvent
from .summary_writer import SharedWriter

# Histograms are most of the bytes and the least missed: they may fill half of a queue, and leave
# the rest to the statistics.
_SHARE_WITH_HISTOGRAMS = 0.5
_SHARE_WITHOUT_HISTOGRAMS = 1.0


class _Writer(Protocol):
    @property
    def location(self) -> str: ...
    @property
    def lost_events(self) -> int: ...
    @property
    def seconds_on_thread(self) -> float: ...
    def write(self, event: StepEvent, share_of_queue: float) -> bool: ...
    def raise_error(self) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


class EventLog:
    """An event file for tensors of :mod:`tb_adam_plugin.schema` and ordinary scalars.

    Thread-safe. It is closed on garbage collection or at interpreter exit if ``close`` was not
    called. A forked child process never writes to or flushes its parent's file.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] | None = None,
        *,
        writer: Any = None,
        folder: str = schema.RUN_FOLDER,
    ) -> None:
        """Start a new event file, or share one.

        Args:
            log_dir: The run's folder: local, or a URL that a SummaryWriter accepts. The file goes
                into its subfolder ``adam_debug``. Existing files stay: a restarted run adds a file.
            writer: Instead of ``log_dir``: a SummaryWriter of ``torch.utils.tensorboard`` or
                ``tensorboardX``, whose file is shared. It is flushed, but never closed.
            folder: Alternative name for the subfolder of ``log_dir``.

        Raises:
            TypeError: If an argument has the wrong type.
            ValueError: If not exactly one of the two is given, or there is no file system for a
                URL.
            OSError: If ``log_dir`` cannot be written to.
        """
        if (log_dir is None) == (writer is None):
            raise ValueError("exactly one of log_dir and writer is needed")
        self._writer: _Writer
        if log_dir is not None:
            self._writer = OwnWriter(checked_log_dir(log_dir), folder)
        else:
            self._writer = SharedWriter(writer)
        self._process = os.getpid()
        self._lock = threading.RLock()  # a signal handler may close the log during a write
        self._dropped_records = 0
        self._close_unnoticed = weakref.finalize(self, _close_unnoticed, self._writer, os.getpid())

    @property
    def location(self) -> str:
        """Path or URL of the file; for a shared writer, its folder."""
        return self._writer.location

    @property
    def dropped_records(self) -> int:
        """How many calls of ``write`` lost their histograms, or everything, after they returned.

        Because the file is too slow or was deleted, or because they could not be packed.
        """
        return self._dropped_records + self._writer.lost_events

    @property
    def seconds_on_thread(self) -> float:
        """Processor time that the log's own thread has spent on what was written."""
        return self._writer.seconds_on_thread

    def write(
        self,
        step: int,
        wall_time: float,
        tensors: Sequence[schema.TaggedTensor],
        scalars: Mapping[str, float] | None = None,
        histograms: Histograms | None = None,
    ) -> None:
        """Write one step.

        Returns once the event is in the file, or queued if it is large or the file is remote or
        slow. If the queue is too full, the event loses its histograms, or is dropped
        (``dropped_records``).

        If the process is killed, the queue is lost. :meth:`flush` waits for it, and so do
        :meth:`close` and the interpreter's exit, even after an exception.

        Args:
            step: Optimizer step.
            wall_time: Seconds since the epoch.
            tensors: Tensors for the plugin. Copied, unless they are read-only.
            scalars: Ordinary scalars by tag, for TensorBoard's Scalars tab; stored as float32.
            histograms: Histograms for the plugin, packed while writing. Arrays that are not views
                are not copied, and must not change any more.

        Raises:
            TypeError: If an argument has the wrong type.
            ValueError: If a number is out of range, or the log is closed.
            OSError: If this event cannot be written. Names the file. Later calls try again.
            EarlierWriteError: If a queued event cannot be written; this one is queued. Names the
                file.
            RuntimeError: In a forked child of the process that opened the log.
        """
        if os.getpid() != self._process:
            raise RuntimeError(
                f"this event log belongs to process {self._process}, and process "
                f"{os.getpid()} is a fork of it: open one in the process that trains"
            )
        step, wall_time = _checked_step(step), _checked_wall_time(wall_time)
        tensors, scalars = _checked_tensors(tensors), _checked_scalars(scalars or {})
        with self._lock:
            if not self._close_unnoticed.alive:
                raise ValueError("the event log is closed")
            self._write(StepEvent(step, wall_time, tensors, scalars, histograms))

    def flush(self) -> None:
        """Return once everything written can be read by other processes.

        Raises:
            OSError: If something cannot be written. Names the file.
        """
        if os.getpid() == self._process and self._close_unnoticed.alive:
            self._writer.flush()

    def close(self) -> None:
        """Flush and close; a shared writer is only flushed. May be called twice.

        Raises:
            OSError: If something could not be written. The log is closed nevertheless.
        """
        if os.getpid() != self._process:
            return
        with self._lock:
            if self._close_unnoticed.detach() is not None:
                self._writer.close()

    def _write(self, event: StepEvent) -> None:
        if not self._writer.write(event, _SHARE_WITH_HISTOGRAMS):
            self._dropped_records += 1
            self._writer.write(event.without_histograms(), _SHARE_WITHOUT_HISTOGRAMS)
        self._writer.raise_error()


def _close_unnoticed(writer: _Writer, process: int) -> None:
    """Close from a destructor or at exit, where nobody could handle an error."""
    if os.getpid() != process:
        return
    try:
        writer.close()
    except Exception as error:
        logging.getLogger(__name__).error("adam_debug: %s", error)


def checked_log_dir(log_dir: object) -> str:
    """Return the run's folder as text, a leading ``~`` replaced by the home folder.

    Raises:
        TypeError: If it is not a path.
        ValueError: If it is empty, or a URL as a ``Path``.
    """
    if not isinstance(log_dir, (str, os.PathLike)):
        raise TypeError(f"log_dir must be a str or a path, got {type(log_dir).__name__}")
    path = os.fspath(log_dir)
    if not isinstance(path, str):
        raise TypeError("log_dir must be a str or a path of str, got one of bytes")
    if not path:
        raise ValueError("log_dir is empty")
    if not isinstance(log_dir, str) and re.match(r"[a-z][a-z0-9+.-]+:/(?!/)", path):
        raise ValueError(
            f"log_dir {path!r}: a URL must be a str, because pathlib drops one of its slashes"
        )
    return os.path.expanduser(path)


def _checked_step(step: object) -> int:
    if isinstance(step, bool) or not hasattr(step, "__index__"):
        raise TypeError(f"step must be an int, got {type(step).__name__}")
    number = operator.index(step)
    if not 0 <= number < 2**63:
        raise ValueError(f"step must be at least 0 and below 2^63, got {number}")
    return number


def _checked_wall_time(wall_time: object) -> float:
    number = _checked_number("wall_time", wall_time)
    if not math.isfinite(number):
        raise ValueError(f"wall_time must be finite, got {number}")
    return number


def _checked_tensors(tensors: object) -> Sequence[schema.TaggedTensor]:
    if not isinstance(tensors, Sequence):
        raise TypeError(f"tensors must be a sequence of TaggedTensor, got {type(tensors).__name__}")
    for tagged in tensors:
        if not isinstance(tagged, schema.TaggedTensor):
            raise TypeError(f"tensors must hold TaggedTensor, found {type(tagged).__name__}")
        if not isinstance(tagged.tensor, np.ndarray):
            raise TypeError(
                f"tensors: {tagged.tag!r} must hold a NumPy array, "
                f"found {type(tagged.tensor).__name__}"
            )
        if not is_element_type(tagged.tensor.dtype):
            raise TypeError(
                f"tensors: {tagged.tag!r} must be one of {', '.join(ELEMENT_TYPES)}, "
                f"got {tagged.tensor.dtype}"
            )
    return tensors


def _checked_scalars(scalars: object) -> dict[str, float]:
    if not isinstance(scalars, Mapping):
        raise TypeError(f"scalars must map tags to numbers, got {type(scalars).__name__}")
    for tag in scalars:
        if not isinstance(tag, str):
            raise TypeError(f"scalars must have str tags, found {tag!r}")
    return {tag: _checked_number(f"scalars[{tag!r}]", n) for tag, n in scalars.items()}


def _checked_number(name: str, number: object) -> float:
    try:
        if isinstance(number, (str, bytes)):
            raise TypeError
        return float(number)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be a number, got {type(number).__name__}") from error
