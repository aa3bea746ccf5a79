"""A copy of a callback, as of a model that holds one: it records nothing, and is never in the way.

Models are copied for averages of their weights, saved as a whole, and sent to other processes. What
a callback holds, such as an open file and the optimizer, is not to be copied with them.
"""

from __future__ import annotations

import copyreg
from typing import Any

from torch import Tensor

from .adam_debug_callback import AdamDebugCallback


class InertCopy(AdamDebugCallback):
    """Does nothing, whatever it is asked for; it remembers the number of the step."""

    def __init__(self, step: int) -> None:
        """Start where the callback was.

        Args:
            step: Optimizer steps taken until then.
        """
        self._number = step

    @property
    def step(self) -> int:
        """Optimizer steps taken when it was copied."""
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
