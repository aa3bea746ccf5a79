"""The batches of the last steps, for the case that one of them makes a gradient jump.

What the user hands in is kept by reference for a few steps, and saved beside the event file when
the norm of its step's gradients jumps or is not finite: so the batch can be looked at afterwards.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from tb_adam_plugin import schema

# On a device a jump is noticed a step or two later.
KEPT_STEPS = 4
# Of a step whose gradients are accumulated, the last ones.
MOST_PARTS = 64
MOST_FILES = 8
MOST_BYTES = 256 << 20
# A file takes at most this share of what is free on the disk: the event file needs some, too.
MOST_OF_DISK = 0.25
# Parts of a batch that are looked at for their size; what they miss, the size of the file tells.
_MOST_LOOKED_AT = 10_000


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
        while self._kept and self._kept[0][0] <= number - KEPT_STEPS:
            self._kept.popleft()
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
            OSError: If the file cannot be written, or would leave too little of the disk.
            Exception: If something in the batch cannot be pickled. No file is left then.
        """
        batches = next((batches for step, batches in self._kept if step == number), None)
        if batches is None or self._files >= MOST_FILES or not os.path.isdir(folder):
            return False
        room = MOST_BYTES - self._bytes
        size = _bytes_of(batches)
        if size > room:
            return False
        path = Path(folder, schema.batch_file(number))
        path.parent.mkdir(exist_ok=True)
        free = int(MOST_OF_DISK * shutil.disk_usage(folder).free)
        if size > free:
            raise OSError(f"{path} is not written: {size:,} bytes of a disk with {4 * free:,} free")
        try:
            with _complete_or_none(path, min(room, free)) as file:
                torch.save({"step": number, "batches": _without_more_memory(batches, {})}, file)
        except _NoRoomError:
            if free < room:
                raise
            return False
        self._files += 1
        self._bytes += path.stat().st_size
        return True

    def release(self) -> None:
        """Keep nothing any more."""
        self._upcoming.clear()
        self._kept.clear()


class _NoRoomError(OSError):
    """A file is larger than it may become."""


class _BoundedFile:
    """A file for :func:`torch.save` that does not grow beyond a size."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file = file
        self._left = most
        self.is_full = False

    def write(self, data: Any) -> int:
        """Write data; raise OSError where it does not fit."""
        self._left -= memoryview(data).nbytes
        self.is_full = self._left < 0
        if self.is_full:
            raise OSError
        return self._file.write(data)

    def flush(self) -> None:
        """Let nothing wait."""
        self._file.flush()


@contextlib.contextmanager
def _complete_or_none(path: Path, most: int) -> Iterator[Any]:
    """Write a file of at most so many bytes; if that fails, none is left."""
    unfinished = path.with_name(path.name + ".part")
    try:
        with unfinished.open("wb") as file:
            bounded = _BoundedFile(file, most)
            try:
                yield bounded
            except (OSError, RuntimeError) as error:  # torch makes one of the other
                if not bounded.is_full:
                    raise
                raise _NoRoomError(f"{path} would have more than {most:,} bytes") from error
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _without_more_memory(batch: Any, known: dict[int, tuple[Any, Any]]) -> Any:
    """A batch as it is saved: without the rest of the memory that its tensors are views of.

    NumPy's arrays become tensors, which are written from where they lie.

    Args:
        batch: Of tensors, arrays, lists, tuples and mappings; anything else is saved as it is.
        known: Parts that were met and what they become, by their ids: they may be met again.
    """
    if id(batch) in known:
        return known[id(batch)][1]
    saved: Any = batch
    if isinstance(batch, np.generic):
        saved = batch.item()
    elif type(batch) is np.ndarray:
        # Not of a type or an order of bytes that torch does not have. What cannot be written to is
        # copied: torch warns of such memory.
        with contextlib.suppress(TypeError, ValueError):
            is_usable = batch.flags.c_contiguous and batch.flags.writeable
            saved = torch.from_numpy(batch if is_usable else batch.copy(order="C"))
    elif type(batch) is Tensor and batch.layout == torch.strided:
        saved = batch.detach()
        if saved.untyped_storage().nbytes() > saved.numel() * saved.element_size():
            saved = saved.clone()
    elif isinstance(batch, Mapping):
        saved = {}
    elif isinstance(batch, list):
        saved = []
    known[id(batch)] = batch, saved  # both, because the id of what is gone is given again
    if isinstance(batch, Mapping):
        saved.update((key, _without_more_memory(value, known)) for key, value in batch.items())
    elif isinstance(batch, list):
        saved.extend(_without_more_memory(value, known) for value in batch)
    elif isinstance(batch, tuple):
        saved = tuple(_without_more_memory(value, known) for value in batch)
        known[id(batch)] = batch, saved
    return saved


def _bytes_of(batch: Any) -> int:
    """About how much a batch takes: tensors and arrays in lists, mappings and attributes."""
    total, waiting = 0, [batch]
    seen: set[int] = set()
    while waiting and len(seen) < _MOST_LOOKED_AT:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, Tensor):
            total += part.numel() * part.element_size()
        elif isinstance(part, np.ndarray):
            total += part.nbytes
        elif isinstance(part, bytes | bytearray | str):
            total += len(part)
        elif isinstance(part, Mapping):
            waiting += part.values()
        elif isinstance(part, list | tuple):
            waiting += part
        else:
            waiting += getattr(part, "__dict__", {}).values()
    return total
