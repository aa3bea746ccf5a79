"""A file that was read before, reopened if it is still the same one.

Files get replaced by others with the same name, or their content is overwritten. What was found
before says nothing about the new content.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from tb_adam_plugin.event_files.windowed_file import ReplacedError, WindowedFile
from tb_adam_plugin.languages.sentences import say

# The first bytes of an event file contain its creation time, the last ones of a record its
# checksum.
_FIRST, _LAST = 64, 16


class KnownFile:
    """Identifies a file by its content. Not thread-safe."""

    def __init__(self, path: str) -> None:
        """Name a file; nothing is known about it yet."""
        self.path = path
        self._identity: tuple[int, int] | None = None
        self._seen = (-1, -1)  # size and modification time when last checked
        self._first = b""
        self._last = (0, b"")

    def remember(self, file: WindowedFile, end: int) -> None:
        """Note the content that the file should have from now on.

        Args:
            file: As yielded by :meth:`opened`.
            end: End of the part that was read.
        """
        start = max(0, end - _LAST)
        self._last = start, file.read(start, end - start)

    @contextmanager
    def opened(self, least_window: int = 1 << 12) -> Iterator[WindowedFile]:
        """Open the file.

        Args:
            least_window: See :class:`.windowed_file.WindowedFile`.

        Raises:
            OSError: If it cannot be read.
            ReplacedError: If the file was replaced or truncated, including while it is open.
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
