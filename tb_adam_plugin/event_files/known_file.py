"""A file that was read before, opened again where it is still the same one.

Files are replaced by others of their name, by another file or by other bytes in the same one. What
was found in the one before says nothing about these.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from tb_adam_plugin.event_files.windowed_file import ReplacedError, WindowedFile
from tb_adam_plugin.languages.sentences import say

# The first bytes of an event file say when it was made, the last ones of a record are its checksum.
_FIRST, _LAST = 64, 16


class KnownFile:
    """By what a file is known. Not safe for several threads."""

    def __init__(self, path: str) -> None:
        """Name a file; nothing is known of it yet."""
        self.path = path
        self._identity: tuple[int, int] | None = None
        self._seen = (-1, -1)  # size and time of the last change, when it was looked at
        self._first = b""
        self._last = (0, b"")

    def remember(self, file: WindowedFile, end: int) -> None:
        """Note what is to be in the file from now on.

        Args:
            file: As :meth:`opened` yields it.
            end: Where what was read ends.
        """
        start = max(0, end - _LAST)
        self._last = start, file.read(start, end - start)

    @contextmanager
    def opened(self, least_window: int = 1 << 12) -> Iterator[WindowedFile]:
        """Open the file.

        Args:
            least_window: As for :class:`.windowed_file.WindowedFile`.

        Raises:
            OSError: If it cannot be read.
            ReplacedError: If it is another file than before, or was cut, also while it is open.
        """
        with WindowedFile(self.path, least_window) as file:
            self._check(file)
            yield file
            self._check(file)

    def _check(self, file: WindowedFile) -> None:
        now = file.status()
        self._identity = self._identity or file.identity
        if file.identity == self._identity and now == self._seen:
            return
        first = file.read(0, _FIRST)
        start, last = self._last
        if (
            file.identity != self._identity
            or now[0] < start + len(last)
            or not first.startswith(self._first)
            or file.read(start, len(last)) != last
        ):
            raise ReplacedError(
                say("{file} was replaced or truncated", file=os.path.basename(self.path))
            )
        self._seen, self._first = now, first
