"""What a command is at, on a terminal and where it takes long."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tb_adam_plugin.commands.language import spoken, width_of

# What is done sooner needs no word.
PATIENCE = 1.0
_WIDTH = 79
_CLEARED = "\r\x1b[K"


class Progress:
    """Shows one line on stderr, if that is a terminal, from a second after the start on."""

    def __init__(self) -> None:
        """Start; nothing is shown yet."""
        self._start = time.monotonic()

    @contextmanager
    def on(self, text: str) -> Iterator[None]:
        """Show a text while something is done, and take it away afterwards."""
        if not sys.stderr.isatty():
            yield
            return
        line = _cut(spoken(text))
        wait = max(0.0, self._start + PATIENCE - time.monotonic())
        timer = threading.Timer(wait, _write, [f"{_CLEARED}{line}"])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()
            _write(_CLEARED)


def _write(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def _cut(line: str) -> str:
    """Return a line that does not wrap: what wraps is not taken away again."""
    if width_of(line) <= _WIDTH:
        return line
    while width_of(line) > _WIDTH - 1:
        line = line[:-1]
    return f"{line}…"
