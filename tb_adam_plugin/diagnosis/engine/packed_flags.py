"""Arrays that are kept for long, flags as bits."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


class PackedFlags(NamedTuple):
    """A bool array as bits."""

    bits: npt.NDArray[np.uint8]
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Memory that they take."""
        return self.bits.nbytes


def packed(kept: npt.NDArray[Any] | PackedFlags) -> npt.NDArray[Any] | PackedFlags:
    """Return an array with an eighth of the memory, if it is of flags; else itself."""
    if isinstance(kept, PackedFlags) or kept.dtype != bool:
        return kept
    return PackedFlags(np.packbits(kept), kept.shape)


def unpacked(kept: npt.NDArray[Any] | PackedFlags) -> npt.NDArray[Any]:
    """Return the array that was packed."""
    if not isinstance(kept, PackedFlags):
        return kept
    count = int(np.prod(kept.shape))
    return np.unpackbits(kept.bits, count=count).view(bool).reshape(kept.shape)
