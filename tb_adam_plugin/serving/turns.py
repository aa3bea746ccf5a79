"""Turns at what takes much memory: one at a time, and work in the background makes way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """Who has a turn. Safe to use from several threads."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._turn = threading.Lock()
        self._changed = threading.Condition()
        self._requests = 0

    @property
    def is_wanted(self) -> bool:
        """Whether a request has its turn or waits for it: the background is to give up."""
        return self._requests > 0

    @contextmanager
    def of_request(self) -> Iterator[None]:
        """Wait for the turns of other requests, and take one.

        The background has a low priority, and gives up when it gets to it: nobody waits for that.
        """
        with self._changed:
            self._requests += 1
        try:
            with self._turn:
                yield
        finally:
            with self._changed:
                self._requests -= 1
                self._changed.notify_all()

    def wait_in_background(self) -> None:
        """Wait until no request has or wants a turn."""
        with self._changed:
            self._changed.wait_for(lambda: not self._requests)
