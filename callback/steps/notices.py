"""Warnings to the user, each issued once."""

from __future__ import annotations

import logging
import warnings


class Notices:
    """Issues warnings, and remembers them.

    Attributes:
        in_training: Whether warnings come from within a training step, which they must not end even
            if warnings are errors.
    """

    def __init__(self) -> None:
        """Start before training, with no warnings issued."""
        self.in_training = False
        self._given: set[str] = set()

    def warn_once(self, message: str, kind: str | None = None) -> None:
        """Warn once per message, or once per kind.

        Args:
            message: A sentence for the user.
            kind: Key that identifies repeated warnings; the message itself by default.

        Raises:
            Warning: Before training, if warnings are errors.
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
    """Warn; if warnings are errors, log the message instead."""
    try:
        warnings.warn(f"Adam Debug: {message}", stacklevel=3)
    except Warning:
        # Warnings are errors here, but this one must not end training.
        logging.getLogger(__name__).warning("Adam Debug: %s", message)
