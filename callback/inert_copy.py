"""A copy of a callback, for example in a copied model: it records nothing and never interferes.

Models are copied to average their weights, saved whole, and sent to other processes. The open file
and the optimizer that a callback holds must not be copied with them.
"""

from __future__ import annotations

import copyreg
from typing import Any

from torch import Tensor

from .adam_debug_callback import AdamDebugCallback


class InertCopy(AdamDebugCallback):
    """Ignores every call; it only remembers the step count."""

    def __init__(self, step: int) -> None:
        """Start from the callback's step count.

        Args:
            step: Optimizer steps taken so far.
        """
        self._number = step

    @property
    def step(self) -> int:
        """Optimizer steps taken when the callback was copied."""
        return self._number

    @step.setter
    def step(self, value: int) -> None:
        self._number = value

    def record(self, **scalars: float | Tensor) -> None:
        """Do nothing."""

    def keep_batch(self, *batch: Any) -> None:
        """Do nothing."""

    def flush(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def _copied(callback: AdamDebugCallback) -> tuple[type[InertCopy], tuple[int]]:
    return InertCopy, (callback.step,)


copyreg.pickle(AdamDebugCallback, _copied)  # type: ignore[arg-type]
