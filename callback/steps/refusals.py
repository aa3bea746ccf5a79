"""Errors that keep a framework's callback from recording, but must not end training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from .notices import warn_without_raising


class AlreadyWatchedError(ValueError):
    """Another callback already records the optimizer's steps."""


@contextlib.contextmanager
def as_warnings(*, raises: bool) -> Iterator[None]:
    """Warn if another callback already records, or the folder cannot be written.

    Args:
        raises: Whether to raise these errors after all, as the user asked.
    """
    try:
        yield
    except (AlreadyWatchedError, OSError) as error:
        if raises:
            raise
        warn_without_raising(f"nothing is recorded: {error}")
