"""Progress of a command, on a terminal and only if it takes long."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tb_adam_plugin.commands.language import spoken, width_of

# Faster work needs no message.
PATIENCE = 1.0
_WIDTH = 79
_CLEARED = "\r\x1b[K"


class Progress:
    """Shows one line on stderr, if it is a terminal, starting after a second."""

    def __init__(self) -> None:
        """Start; nothing is shown yet."""
        self._start = time.monotonic()

    @contextmanager
    def on(self, text: str) -> Iterator[None]:
        """Show a text while something is done, and remove it afterwards."""
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
    """Cut a line to the terminal's width: a wrapped line could not be removed."""
    if width_of(line) <= _WIDTH:
        return line
    while width_of(line) > _WIDTH - 1:
        line = line[:-1]
    return f"{line}…"
