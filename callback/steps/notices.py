"""Warnings to the user, each of them once."""

from __future__ import annotations

import logging
import warnings


class Notices:
    """Warns, and remembers of what.

    Attributes:
        in_training: Whether a warning comes from within a training step, which it must not end
            even where warnings are errors.
    """

    def __init__(self) -> None:
        """Start without warnings, before training."""
        self.in_training = False
        self._given: set[str] = set()

    def warn_once(self, message: str, kind: str | None = None) -> None:
        """Warn, once for each message, or for each kind of them.

        Args:
            message: A sentence for the user.
            kind: What tells it from others; the message itself by default.

        Raises:
            Warning: Before training, where warnings are errors.
        """
        kind = kind or message
        if kind in self._given:
            return
        self._given.add(kind)
        if self.in_training:
            warn_without_raising(message)
        else:
            warnings.warn(f"Adam Debug: {message}", stacklevel=2)


def warn_without_raising(message: str) -> None:
    """Warn; where warnings are errors, write the message to the log."""
    try:
        warnings.warn(f"Adam Debug: {message}", stacklevel=3)
    except Warning:
        # Warnings are errors here, and this one must not end training.
        logging.getLogger(__name__).warning("Adam Debug: %s", message)
