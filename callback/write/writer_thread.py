"""A thread that writes records where writing takes long, with a bounded queue.

The thread joins what has queued up and hands it to the file in one call: no encoding, no checksum,
nothing that would keep the GIL from training.
"""

from __future__ import annotations

import threading
import time

from .event_file import EventFile

_RETRY_SECONDS = 1.0
# Some storages write the whole file anew each time: such a write takes longer and longer.
_PAUSE_FOR_ONE_WRITE = 10.0
_SHARE_WITHOUT_PAUSE = 0.25


class BackgroundWriter:
    """Writes to an event file from a thread. All methods but the thread's are for any thread.

    What could not be written is kept and tried again.
    """

    def __init__(self, file: EventFile, *, seconds_between_writes: float, queue_bytes: int) -> None:
        """Start the thread.

        Args:
            file: Written to by this thread alone from now on.
            seconds_between_writes: At least; ``flush`` and a queue that fills up do not wait.
            queue_bytes: How much may wait to be written.

        Raises:
            RuntimeError: If the interpreter is shutting down and starts no more threads.
        """
        self._file = file
        self._seconds_between_writes = seconds_between_writes
        self._queue_bytes = queue_bytes
        self._changed = threading.Condition()
        self._queue: list[bytes] = []
        self._waiting_bytes = 0  # in the queue, and on their way into the file
        self._error: Exception | None = None
        self._hurry = False
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="adam-debug-writer", daemon=True)
        self._thread.start()

    def offer(self, records: bytes, share_of_queue: float) -> bool:
        """Queue records, or refuse them because too much is waiting.

        Args:
            records: Whole records.
            share_of_queue: How much of the queue may be in use with these records, up to 1. An
                empty queue takes anything.

        Returns:
            Whether they were taken.
        """
        with self._changed:
            expected = self._waiting_bytes + len(records)
            room = expected <= self._queue_bytes * share_of_queue or not self._waiting_bytes
            if room:
                self._queue.append(records)
                self._waiting_bytes = expected
                self._hurry |= expected > self._queue_bytes * _SHARE_WITHOUT_PAUSE
                self._changed.notify_all()
            return room

    def raise_error(self) -> None:
        """Raise the error of the last write, once.

        Raises:
            OSError: If it failed and was not repeated with success since.
        """
        with self._changed:
            error, self._error = self._error, None
        if error is not None:
            raise error

    def flush(self) -> None:
        """Wait until everything queued is in the file.

        Raises:
            OSError: If it cannot be written.
        """
        with self._changed:
            self._error = None  # what counts is how it goes now
            self._hurry = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._waiting_bytes or self._error is not None)
        self.raise_error()

    def close(self) -> None:
        """Write everything queued, end the thread and close the file.

        Raises:
            OSError: If something could not be written; it is lost.
        """
        with self._changed:
            self._closing = True
            self._error = None
            self._changed.notify_all()
        self._thread.join()
        self._file.close()
        if self._error is not None:
            raise OSError(f"{self._waiting_bytes} bytes are lost: {self._error}") from self._error

    def _run(self) -> None:
        earliest = 0.0
        while True:
            records = self._take(earliest)
            if not records:
                return
            started = time.monotonic()
            try:
                self._file.write(b"".join(records))
            except Exception as error:
                earliest = started + max(self._seconds_between_writes, _RETRY_SECONDS)
                if self._put_back(records, error):
                    return
            else:
                now = time.monotonic()
                pause = (now - started) * _PAUSE_FOR_ONE_WRITE
                earliest = now + max(self._seconds_between_writes, pause)
                with self._changed:
                    self._waiting_bytes -= sum(map(len, records))
                    self._error = None
                    self._changed.notify_all()

    def _take(self, earliest: float) -> list[bytes]:
        """Wait for records and for the time to write them; nothing means the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing)
            pause = max(0.0, earliest - time.monotonic())
            self._changed.wait_for(lambda: self._hurry or self._closing, timeout=pause)
            self._hurry = False
            records, self._queue = self._queue, []
            return records

    def _put_back(self, records: list[bytes], error: Exception) -> bool:
        """Keep what could not be written; return whether to give up."""
        with self._changed:
            self._queue[:0] = records
            self._error = error
            self._changed.notify_all()
            return self._closing
