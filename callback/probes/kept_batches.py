"""The batches of the last steps, in case one of them makes the gradient jump.

Batches are kept by reference for a few steps, and saved beside the event file when the gradient
norm of their step jumps or is not finite, so they can be inspected later.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch

from tb_adam_plugin import schema

from .saved_form import SavedForm, TooMuchCopyingError, bytes_of

# On a device, a jump is noticed a step or two later.
KEPT_STEPS = 4
# Of a step with accumulated gradients, only the last micro-batches are kept.
MOST_PARTS = 64
MOST_FILES = 8
# Stop after this many batches that cannot be saved, because each attempt takes a moment.
MOST_REFUSED = 8
MOST_BYTES = 256 << 20
# Largest share of the free disk space that a file may take: the event file needs some, too.
MOST_OF_DISK = 0.25


class KeptBatches:
    """Keeps the batches of the last steps, and saves some of them.

    Attributes:
        refusal: Why the last :meth:`save` did not save a batch that is too large.
    """

    def __init__(self) -> None:
        """Start without batches."""
        # Bounded, because a step may never come.
        self._upcoming: deque[Any] = deque(maxlen=MOST_PARTS)
        self._kept: deque[tuple[int, list[Any]]] = deque(maxlen=KEPT_STEPS)
        self._files = self._refused = 0
        self._bytes = 0
        self.refusal = ""

    def keep(self, batch: Any) -> None:
        """Keep a batch of the coming step by reference."""
        self._upcoming.append(batch)

    def end_step(self, number: int) -> None:
        """Assign the batches since the last call to a step.

        Args:
            number: Step number.
        """
        while self._kept and self._kept[0][0] <= number - KEPT_STEPS:
            self._kept.popleft()
        if self._upcoming:
            self._kept.append((number, list(self._upcoming)))
            self._upcoming.clear()

    def skip_step(self) -> None:
        """Forget the batches of a skipped step."""
        self._upcoming.clear()

    def save(self, number: int, folder: str) -> bool:
        """Save a step's batches, if they are kept and there is room.

        Args:
            number: Step number.
            folder: Folder of the event file, on this machine.

        Returns:
            Whether they were saved. If they are too large, :attr:`refusal` says so.

        Raises:
            OSError: If the file cannot be written, or would leave too little disk space.
            Exception: If something in the batch cannot be pickled. No file is left then.
        """
        self.refusal = ""
        batches = next((batches for step, batches in self._kept if step == number), None)
        if batches is None or self._files >= MOST_FILES or not os.path.isdir(folder):
            return False
        if self._refused >= MOST_REFUSED:
            return False
        room = MOST_BYTES - self._bytes
        size = bytes_of(batches)
        self.refusal = f"it exceeds the rest of the {MOST_BYTES >> 20} MB per run"
        if size > room:
            return False
        path = Path(folder, schema.batch_file(number))
        path.parent.mkdir(exist_ok=True)
        free = int(MOST_OF_DISK * shutil.disk_usage(folder).free)
        if size > free:
            raise OSError(f"{path} was not written: {size:,} bytes, {4 * free:,} are free")
        try:
            with _complete_or_none(path, min(room, free)) as file:
                torch.save({"step": number, "batches": SavedForm().of(batches)}, file)
        except TooMuchCopyingError as error:
            self.refusal = str(error)
            self._refused += 1
            return False
        except _NoRoomError:
            self._refused += 1
            if free < room:
                raise
            return False
        self.refusal = ""
        self._files += 1
        self._bytes += path.stat().st_size
        return True

    def release(self) -> None:
        """Drop all batches."""
        self._upcoming.clear()
        self._kept.clear()


class _NoRoomError(OSError):
    """A file would exceed its maximum size."""


class _BoundedFile:
    """A file for :func:`torch.save` with a maximum size."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file = file
        self._left = most
        self.is_full = False

    def write(self, data: Any) -> int:
        """Write data; raise OSError if it does not fit."""
        self._left -= memoryview(data).nbytes
        self.is_full = self._left < 0
        if self.is_full:
            raise OSError
        return self._file.write(data)

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""
        self._file.flush()


@contextlib.contextmanager
def _complete_or_none(path: Path, most: int) -> Iterator[Any]:
    """Write a file of at most ``most`` bytes; if that fails, leave none behind."""
    unfinished = path.with_name(path.name + ".part")
    try:
        with unfinished.open("wb") as file:
            bounded = _BoundedFile(file, most)
            try:
                yield bounded
            except (OSError, RuntimeError) as error:  # torch turns one into the other
                if not bounded.is_full:
                    raise
                raise _NoRoomError(f"{path} would exceed {most:,} bytes") from error
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
