"""Writes events into a file of our own: small ones at once, else on a thread.

To hand over an event takes about as long as to pack and write one of a few kilobytes. That one is
in the file when the step returns. A larger one, and any where the file is remote or slow, is packed
and written by a thread while training goes on.
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

_SMALL_BYTES = 16 << 10  # takes 0.2 ms, of which zlib has less than half
# A thread's allocator keeps what it has freed: of the largest records that would be too much.
_MOST_BYTES_OF_THREAD = 1 << 20

_SLOW_SECONDS = 0.005  # a local write of 100 KB takes 0.1 ms; network disks take tens
_SLOW_WRITES_IN_A_ROW = 3
_QUEUE_BYTES = 64 << 20
# Object stores bill every write, and some refuse more than one a second.
_SECONDS_BETWEEN_REMOTE_WRITES = 5.0


class OwnWriter:
    """An event file in a folder of ours below the run's, as ``<log_dir>/adam_debug``."""

    def __init__(self, log_dir: str, folder: str = schema.RUN_FOLDER) -> None:
        """Create the folder, ``folder`` in ``log_dir``, and the file.

        Raises:
            OSError: If nothing can be written there.
            ValueError: If no file system is known for a URL.
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
        """The file, which stays the same one for the readers' purposes."""
        return self._file

    @property
    def lost_events(self) -> int:
        """How many events the thread has lost."""
        return 0 if self._background is None else self._background.lost_events

    @property
    def seconds_on_thread(self) -> float:
        """How long the thread has kept a processor busy."""
        return 0.0 if self._background is None else self._background.seconds

    def write(self, event: StepEvent, share_of_queue: float) -> bool:
        """Write or queue an event.

        Args:
            event: What to write. Its arrays are copied where others may write to them.
            share_of_queue: How full the queue may become, where there is one.

        Returns:
            False if the queue is too full for it.

        Raises:
            OSError: If it is written at once and cannot be.
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
        """Raise the error that the thread met since the last call.

        Raises:
            OSError: If queued events cannot be written.
        """
        if self._background is not None:
            self._background.raise_error()

    def flush(self) -> None:
        """Return when everything written can be read by others.

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
