"""Writes events to our own file: small ones at once, others on a thread.

Handing an event to a thread takes about as long as packing and writing a few kilobytes. A small
event is in the file when the step returns. A larger one, and any event if the file is remote or
slow, is packed and written by a thread while training continues.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

from ... import schema
from ...tfrecord import to_record
from . import event_file
from .step_event import Packer, StepEvent
from .writer_thread import BackgroundWriter

_SMALL_BYTES = 16 << 10  # takes 0.2 ms, less than half of it in zlib
# A thread's allocator keeps freed memory: for the largest records, that would be too much.
_MOST_BYTES_OF_THREAD = 1 << 20

_SLOW_SECONDS = 0.005  # a local write of 100 KB takes 0.1 ms; network disks take tens
_SLOW_WRITES_IN_A_ROW = 3
_QUEUE_BYTES = 64 << 20
# Object stores bill every write, and some refuse more than one per second.
_SECONDS_BETWEEN_REMOTE_WRITES = 5.0


class OwnWriter:
    """An event file in our subfolder of the run, such as ``<log_dir>/adam_debug``."""

    def __init__(self, log_dir: str, folder: str = schema.RUN_FOLDER) -> None:
        """Create the folder, ``folder`` in ``log_dir``, and the file.

        Raises:
            OSError: If the folder cannot be written to.
            ValueError: If there is no file system for a URL.
        """
        remote = event_file.is_url(log_dir)
        separator = "/" if remote else os.sep
        self._file = event_file.create(log_dir.rstrip(separator) + separator + folder)
        self._packer = Packer()
        self._slow_writes = 0
        self._is_slow = remote
        self._background: BackgroundWriter | None = None
        if remote:
            self._start_thread(_SECONDS_BETWEEN_REMOTE_WRITES)

    @property
    def location(self) -> str:
        """Path or URL of the file."""
        return self._file.location

    @property
    def current_file(self) -> object:
        """The file, which never changes as far as readers are concerned."""
        return self._file

    @property
    def lost_events(self) -> int:
        """How many events the thread has lost."""
        return 0 if self._background is None else self._background.lost_events

    @property
    def seconds_on_thread(self) -> float:
        """Processor time that the thread has used."""
        return 0.0 if self._background is None else self._background.seconds

    def write(self, event: StepEvent, share_of_queue: float) -> bool:
        """Write or queue an event.

        Args:
            event: The event to write. Arrays that others may write to are copied.
            share_of_queue: How full the queue may become, if there is one.

        Returns:
            False if the queue is too full.

        Raises:
            OSError: If it is written at once and that fails.
        """
        is_huge = event.nbytes > _MOST_BYTES_OF_THREAD
        needs_thread = self._is_slow or (event.nbytes > _SMALL_BYTES and not is_huge)
        if needs_thread and self._background is None:
            self._start_thread(0.0)
        background = self._background
        if background is None or (background.is_idle and not needs_thread):
            self._write_now(event)
            return True
        return background.offer((event.packed() if is_huge else event).owned(), share_of_queue)

    def raise_error(self) -> None:
        """Raise the error that the thread has met since the last call.

        Raises:
            OSError: If queued events cannot be written.
        """
        if self._background is not None:
            self._background.raise_error()

    def flush(self) -> None:
        """Return once everything written can be read by others.

        Raises:
            OSError: If it cannot be written.
        """
        if self._background is not None:
            self._background.flush()
        else:
            self._file.check()

    def close(self) -> None:
        """Flush and close the file.

        Raises:
            OSError: If something could not be written.
        """
        if self._background is not None:
            self._background.close()
        else:
            self._file.close()

    def _write_now(self, event: StepEvent) -> None:
        try:
            record = to_record(self._packer.pack(event))
            packed = time.perf_counter()
            self._file.write(record)
        except BaseException:
            self._packer.describe_again()
            raise
        slow = time.perf_counter() - packed > _SLOW_SECONDS
        self._slow_writes = self._slow_writes + 1 if slow else 0
        if self._slow_writes == _SLOW_WRITES_IN_A_ROW:
            self._is_slow = True
            if self._background is None:
                self._start_thread(0.0)

    def _start_thread(self, seconds_between_writes: float) -> None:
        with suppress(RuntimeError):  # the interpreter is shutting down
            self._background = BackgroundWriter(
                self._file,
                self._packer,
                seconds_between_writes=seconds_between_writes,
                queue_bytes=_QUEUE_BYTES,
            )
