"""The batches of the last steps, for the case that one of them makes a gradient jump.

What the user hands in is kept by reference for a few steps, and saved beside the event file when
the norm of its step's gradients jumps or is not finite: so the batch can be looked at afterwards.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tb_adam_plugin import schema

# On a device a jump is noticed a step or two later.
KEPT_STEPS = 4
# Of a step whose gradients are accumulated, the last ones.
MOST_PARTS = 64
MOST_FILES = 8
MOST_BYTES = 256 << 20


class KeptBatches:
    """Keeps what the last steps learned from, and saves some of it."""

    def __init__(self) -> None:
        """Start without batches."""
        # Bounded, because nobody knows whether a step will come.
        self._upcoming: deque[Any] = deque(maxlen=MOST_PARTS)
        self._kept: deque[tuple[int, list[Any]]] = deque(maxlen=KEPT_STEPS)
        self._files = 0
        self._bytes = 0

    def keep(self, batch: Any) -> None:
        """Keep a batch of the coming step by reference."""
        self._upcoming.append(batch)

    def end_step(self, number: int) -> None:
        """Say which step the batches since the last call were of.

        Args:
            number: Of the step.
        """
        if self._upcoming:
            self._kept.append((number, list(self._upcoming)))
            self._upcoming.clear()

    def skip_step(self) -> None:
        """The step was left out, and what it would have learned from is forgotten."""
        self._upcoming.clear()

    def save(self, number: int, folder: str) -> bool:
        """Save the batches of a step, if they are kept and there is room.

        Args:
            number: Of the step.
            folder: Of the event file, on this machine.

        Returns:
            Whether they were saved.

        Raises:
            OSError: If the file cannot be written.
        """
        batches = next((batches for step, batches in self._kept if step == number), None)
        if batches is None or self._files >= MOST_FILES or not os.path.isdir(folder):
            return False
        size = _bytes_of(batches)
        if self._bytes + size > MOST_BYTES:
            return False
        path = os.path.join(folder, schema.batch_file(number))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        torch.save({"step": number, "batches": batches}, path)
        self._files += 1
        self._bytes += size
        return True

    def release(self) -> None:
        """Keep nothing any more."""
        self._upcoming.clear()
        self._kept.clear()


def _bytes_of(batch: Any) -> int:
    """About how much a batch takes: the tensors in lists, tuples and mappings."""
    if isinstance(batch, Tensor):
        return batch.numel() * batch.element_size()
    if isinstance(batch, Mapping):
        return sum(map(_bytes_of, batch.values()))
    return sum(map(_bytes_of, batch)) if isinstance(batch, list | tuple) else 0
