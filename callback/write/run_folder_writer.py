"""Writes events into a file of our own: at once while that is fast, else on a thread."""

from __future__ import annotations

import os
import time
from contextlib import suppress

from ... import schema
from ...tfrecord import to_record
from . import event_file
from .writer_thread import BackgroundWriter

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
        self._slow_writes = 0
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

    def write(self, event: bytes, share_of_queue: float) -> bool:
        """Write or queue a serialized event.

        Args:
            event: A serialized event.
            share_of_queue: How full the queue may become, where there is one.

        Returns:
            False if the queue is too full for it.

        Raises:
            OSError: If it is written at once and cannot be.
        """
        record = to_record(event)
        if self._background is not None:
            return self._background.offer(record, share_of_queue)
        started = time.perf_counter()
        self._file.write(record)
        slow = time.perf_counter() - started > _SLOW_SECONDS
        self._slow_writes = self._slow_writes + 1 if slow else 0
        if self._slow_writes == _SLOW_WRITES_IN_A_ROW:
            with suppress(RuntimeError):  # the interpreter is shutting down
                self._start_thread(0.0)
        return True

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

    def _start_thread(self, seconds_between_writes: float) -> None:
        self._background = BackgroundWriter(
            self._file, seconds_between_writes=seconds_between_writes, queue_bytes=_QUEUE_BYTES
        )
