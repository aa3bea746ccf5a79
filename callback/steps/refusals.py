"""What keeps a framework's callback from recording, and ends no training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from .notices import warn_without_raising


class AlreadyWatchedError(ValueError):
    """Another callback records the steps of an optimizer."""


@contextlib.contextmanager
def as_warnings(*, raises: bool) -> Iterator[None]:
    """Warn where another callback records already, or the folder cannot be written.

    Args:
        raises: Whether the user wants these errors all the same.
    """
    try:
        yield
    except (AlreadyWatchedError, OSError) as error:
        if raises:
            raise
        warn_without_raising(f"nothing is recorded: {error}")
