"""Turns at what takes much memory: one at a time, and work in the background makes way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """Who has a turn. Safe to use from several threads."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._changed = threading.Condition()
        self._is_taken = False
        self._waiting = 0

    @property
    def is_wanted(self) -> bool:
        """Whether a request waits for its turn."""
        return self._waiting > 0

    @contextmanager
    def of_request(self) -> Iterator[None]:
        """Wait for a turn, and take it."""
        with self._changed:
            self._waiting += 1
            try:
                self._changed.wait_for(lambda: not self._is_taken)
            finally:
                self._waiting -= 1
            self._is_taken = True
        with self._taken():
            yield

    @contextmanager
    def of_background(self) -> Iterator[None]:
        """Wait for a turn that no request waits for, and take it."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_taken and not self._waiting)
            self._is_taken = True
        with self._taken():
            yield

    @contextmanager
    def _taken(self) -> Iterator[None]:
        try:
            yield
        finally:
            with self._changed:
                self._is_taken = False
                self._changed.notify_all()
