"""Arrays kept for a long time, flags as bits."""

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
        """Their memory size."""
        return self.bits.nbytes


def packed(kept: npt.NDArray[Any] | PackedFlags) -> npt.NDArray[Any] | PackedFlags:
    """Return an array of flags in an eighth of the memory; other arrays unchanged."""
    if isinstance(kept, PackedFlags) or kept.dtype != bool:
        return kept
    return PackedFlags(np.packbits(kept), kept.shape)


def unpacked(kept: npt.NDArray[Any] | PackedFlags) -> npt.NDArray[Any]:
    """Return the unpacked array."""
    if not isinstance(kept, PackedFlags):
        return kept
    count = int(np.prod(kept.shape))
    return np.unpackbits(kept.bits, count=count).view(bool).reshape(kept.shape)
