"""Requests that are being answered, which work in the background makes way for."""

from __future__ import annotations

import threading
from types import TracebackType


class Traffic:
    """Counts requests: ``with traffic:`` around each. Safe to use from several threads."""

    def __init__(self) -> None:
        """Begin without any."""
        self._changed = threading.Condition()
        self._requests = 0

    def __enter__(self) -> None:
        """Begin to answer a request."""
        with self._changed:
            self._requests += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it, however it ended."""
        with self._changed:
            self._requests -= 1
            self._changed.notify_all()

    def wait_until_quiet(self, timeout: float) -> bool:
        """Wait until no request is being answered, and say whether that is so.

        Args:
            timeout: At most so many seconds.
        """
        with self._changed:
            return self._changed.wait_for(lambda: self._requests == 0, timeout)
