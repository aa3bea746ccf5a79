"""Reads a file in windows: small ones after a jump, large ones for sequential reading."""

from __future__ import annotations

import os
import time
from types import TracebackType
from typing import BinaryIO

from tb_adam_plugin.languages.sentences import say

_LEAST_WINDOW = 1 << 12
_MOST_WINDOW = 1 << 20
# If reads take this long, as over a network, jumps cost more than reading the data in between.
_SLOW_SECONDS = 5e-4
_REACH_OF_SLOW_READS = 64


class ReplacedError(Exception):
    """The file was replaced or truncated while it was read."""


class WindowedFile:
    """A file opened for reading.

    It is read, not mapped into memory: a writer that meets a full disk truncates its file, and
    access to the mapped part would kill the process.

    Attributes:
        data: The window.
        size: Size of the file in bytes when it was opened.
        identity: Identity of the file, which differs for another file of the same name.
        may_be_cut: Whether it may be truncated while it is read, and then just ends there.
    """

    def __init__(self, path: str, least_window: int = _LEAST_WINDOW) -> None:
        """Open a file.

        Args:
            path: Path of the file.
            least_window: How many bytes to read after a jump.

        Raises:
            OSError: If it cannot be opened.
        """
        self._file: BinaryIO = open(path, "rb", buffering=0)  # noqa: SIM115
        status = os.fstat(self._file.fileno())
        self.size = status.st_size
        self.identity = (status.st_dev, status.st_ino)
        self.data = b""
        self._start = 0
        self._least_window = self._window = least_window
        self._is_slow = False
        self.may_be_cut = False

    def __enter__(self) -> WindowedFile:
        """Return the file itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()

    def status(self) -> tuple[int, int]:
        """Return the current size in bytes, and the time of the last change."""
        now = os.fstat(self._file.fileno())
        return now.st_size, now.st_mtime_ns

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def at(self, position: int, count: int) -> int:
        """Load some bytes into the window.

        Args:
            position: Position in the file.
            count: Number of bytes, at most.

        Returns:
            The index of the first one in :attr:`data`, which has fewer bytes only if the file ends.
        """
        index = position - self._start
        if index >= 0 and index + count <= len(self.data):
            return index
        reach = self._window * (_REACH_OF_SLOW_READS if self._is_slow else 1)
        goes_on = 0 <= index <= len(self.data) + reach
        window = min(2 * self._window, _MOST_WINDOW) if goes_on else self._least_window
        self._window = window
        begun = time.perf_counter()
        self.data = self.read(position, max(count, window))
        self._is_slow = time.perf_counter() - begun > _SLOW_SECONDS
        self._start = position
        return 0

    def read(self, position: int, count: int) -> bytes:
        """Return bytes of the file; fewer if it ended when it was opened.

        Raises:
            ReplacedError: If it has become shorter, unless that is expected.
        """
        count = min(count, self.size - position)  # both may come from damaged bytes
        if count <= 0:
            return b""
        self._file.seek(position)
        pieces: list[bytes] = []
        while count > 0:
            piece = self._file.read(count)
            if not piece:
                if not self.may_be_cut:
                    raise ReplacedError(say("An event file was truncated"))
                self.size = position + sum(map(len, pieces))
                break
            pieces.append(piece)
            count -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def read_into(self, position: int, buffer: memoryview) -> None:
        """Fill a buffer.

        Raises:
            ReplacedError: If the file ends earlier.
        """
        self._file.seek(position)
        done = 0
        while done < len(buffer):
            count = self._file.readinto(buffer[done:])  # type: ignore[attr-defined]
            if not count:
                raise ReplacedError(say("An event file was truncated"))
            done += count
