"""Counts requests in progress, so background work can yield to them."""

from __future__ import annotations

import threading
from types import TracebackType


class Traffic:
    """Counts requests: ``with traffic:`` around each. Thread-safe."""

    def __init__(self) -> None:
        """Start without requests."""
        self._changed = threading.Condition()
        self._requests = 0

    def __enter__(self) -> None:
        """Start answering a request."""
        with self._changed:
            self._requests += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Finish it, even after an error."""
        with self._changed:
            self._requests -= 1
            self._changed.notify_all()

    def wait_until_quiet(self, timeout: float) -> bool:
        """Wait until no request is being answered; return whether that was reached.

        Args:
            timeout: Longest wait in seconds.
        """
        with self._changed:
            return self._changed.wait_for(lambda: self._requests == 0, timeout)
