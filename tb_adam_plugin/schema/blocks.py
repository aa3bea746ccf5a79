"""Encodes histograms as bytes, and decodes them."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tb_adam_plugin.schema.content import FormatError
from tb_adam_plugin.schema.quantities import BINS, SPECIAL, Counts

# A block holds the histograms of one parameter, or of several (Layout.parameters_per_block): one
# byte, 16 plus the width of the largest count in bytes, then a zlib stream. The stream contains, in
# little-endian order: for every histogram a bit for every count, in wire order and with the first
# count in the highest bit, set if the count is nonzero; then the lowest bytes of all nonzero
# counts, then the next ones, up to the width.
#
# Version 1 has blocks of one parameter whose first byte is just the width. Their stream contains
# for every quantity the first bin and the number of bins that are stored (two uint16); then for
# every quantity its special counts followed by the stored bins. Bins outside the range are empty.
_SPARSE = 16
_WIDTHS = (1, 2, 4, 8)
_COUNTS = BINS + len(SPECIAL)
_BITMAP = -(-_COUNTS // 8)
_MOST_QUANTITIES = 64  # these two bound the cost of a bad block
MOST_PARAMETERS_PER_BLOCK = 64

# Blocks packed together: with more, the temporaries would be larger than the result.
_BLOCKS_AT_ONCE = 16
_PARAMETERS_AT_ONCE = 128


@dataclass(frozen=True, slots=True)
class SparseHistograms:
    """Histograms of several parameters without their empty bins: a fraction of the memory.

    Attributes:
        bitmaps: Which counts are nonzero, uint8 ``[parameters, quantities, bytes]``: a bit for
            each, the first one in the highest bit.
        values: The nonzero counts, concatenated, integer ``[n]``.
        lengths: Number of nonzero counts of each parameter, int64 ``[parameters]``.
    """

    bitmaps: npt.NDArray[np.uint8]
    values: npt.NDArray[np.integer[Any]]
    lengths: npt.NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of :meth:`dense`."""
        parameters, quantities, _ = self.bitmaps.shape
        return parameters, quantities, _COUNTS

    @staticmethod
    def of(counts: npt.NDArray[np.integer[Any]]) -> SparseHistograms:
        """Leave the empty bins out.

        Args:
            counts: Integer ``[parameters, quantities, BINS + len(SPECIAL)]``, non-negative.
        """
        return SparseHistograms.joined(
            [
                _without_empty_bins(counts[first : first + _PARAMETERS_AT_ONCE])
                for first in range(0, max(1, len(counts)), _PARAMETERS_AT_ONCE)
            ]
        )

    @staticmethod
    def joined(parts: Sequence[SparseHistograms]) -> SparseHistograms:
        """Concatenate the histograms of several parameters; at least one part."""
        if len(parts) == 1:
            return parts[0]
        return SparseHistograms(
            np.concatenate([part.bitmaps for part in parts]),
            np.concatenate([part.values for part in parts]),
            np.concatenate([part.lengths for part in parts]),
        )

    def take(self, order: npt.NDArray[np.integer[Any]]) -> SparseHistograms:
        """Return the histograms of some parameters, by their indices."""
        of_parameter = np.split(self.values, np.cumsum(self.lengths)[:-1])
        values = [of_parameter[i] for i in order.tolist()]
        return SparseHistograms(
            self.bitmaps[order],
            np.concatenate([self.values[:0], *values]),
            self.lengths[order],
        )

    def dense(self) -> npt.NDArray[np.integer[Any]]:
        """Return all counts, integer ``[parameters, quantities, BINS + len(SPECIAL)]``."""
        counts = np.zeros(self.shape, self.values.dtype)
        counts[np.unpackbits(self.bitmaps, axis=2, count=_COUNTS).view(bool)] = self.values
        return counts


def _without_empty_bins(counts: npt.NDArray[np.integer[Any]]) -> SparseHistograms:
    used = counts != 0
    places = np.flatnonzero(used)
    firsts = np.arange(len(counts) + 1) * math.prod(counts.shape[1:])
    return SparseHistograms(
        np.packbits(used, axis=2), counts.ravel()[places], np.diff(np.searchsorted(places, firsts))
    )


def encode_histograms(
    counts: npt.NDArray[np.integer[Any]] | SparseHistograms, parameters_per_block: int = 1
) -> list[bytes]:
    """Pack the histograms of several parameters.

    Args:
        counts: Integer ``[parameters, quantities, BINS + len(SPECIAL)]``, non-negative; or the same
            without empty bins.
        parameters_per_block: Parameters per block; the last one may have fewer.

    Returns:
        The blocks, as stored in their histograms tags.
    """
    if not isinstance(counts, SparseHistograms):
        counts = SparseHistograms.of(counts)
    blocks: list[bytes] = []
    at_once = _BLOCKS_AT_ONCE * parameters_per_block
    start = 0
    for first in range(0, len(counts.lengths), at_once):
        lengths = counts.lengths[first : first + at_once]
        end = start + int(lengths.sum())
        blocks += _encoded(
            SparseHistograms(
                counts.bitmaps[first : first + at_once], counts.values[start:end], lengths
            ),
            parameters_per_block,
        )
        start = end
    return blocks


def _encoded(counts: SparseHistograms, parameters_per_block: int) -> list[bytes]:
    values = counts.values
    firsts = range(0, len(counts.lengths), parameters_per_block)
    size = values.dtype.itemsize
    planes = np.ascontiguousarray(values.astype(f"<u{size}").view(np.uint8).reshape(-1, size).T)
    blocks = []
    start = 0
    for first, length in zip(
        firsts, np.add.reduceat(counts.lengths, list(firsts)).tolist(), strict=True
    ):
        end = start + length
        largest = int(values[start:end].max(initial=0))
        width = next(w for w in _WIDTHS if largest < 1 << (8 * w))
        # The data mostly contains runs, and searching for nothing else is faster.
        compressor = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, 6, zlib.Z_RLE)
        bitmaps = counts.bitmaps[first : first + parameters_per_block].tobytes()
        # In one call, because each call releases the GIL and must reacquire it.
        packed = compressor.compress(bitmaps + planes[:width, start:end].tobytes())
        blocks.append(b"".join([bytes([_SPARSE + width]), packed, compressor.flush()]))
        start = end
    return blocks


def decode_histograms(block: bytes, quantities: int, parameters: int = 1) -> npt.NDArray[np.int64]:
    """Unpack one block.

    Args:
        block: As stored.
        quantities: Number of quantities per parameter.
        parameters: Number of parameters in the block.

    Returns:
        int64 ``[parameters * quantities, BINS + len(SPECIAL)]``.

    Raises:
        FormatError: If the block is damaged or holds a different number of histograms.
    """
    kind = block[0] if len(block) > 1 else 0
    is_sparse = kind > _SPARSE
    width = kind - _SPARSE if is_sparse else kind
    if (
        width not in _WIDTHS
        or not 0 <= quantities <= _MOST_QUANTITIES
        or not 1 <= parameters <= (MOST_PARAMETERS_PER_BLOCK if is_sparse else 1)
    ):
        raise FormatError(f"not a histogram block: {len(block)} bytes starting {block[:4]!r}")
    histograms = quantities * parameters
    decompressor = zlib.decompressobj()
    try:
        # Larger than a block of either kind can be; a length of 0 would mean no limit.
        data = decompressor.decompress(block[1:], 1 + histograms * (_BITMAP + 8 * _COUNTS))
    except zlib.error as error:
        raise FormatError(f"damaged histogram block: {error}") from error
    if not decompressor.eof:
        raise FormatError("damaged histogram block: it ends early or is too long")
    return (_decode_sparse if is_sparse else _decode_ranges)(data, width, histograms)


def _decode_sparse(data: bytes, width: int, histograms: int) -> Counts:
    header = _BITMAP * histograms
    if len(data) < header:
        raise FormatError(f"histogram block of {len(data)} bytes, expected at least {header}")
    bitmaps = np.frombuffer(data, np.uint8, header).reshape(histograms, _BITMAP)
    bits = np.unpackbits(bitmaps, axis=1).astype(bool)
    used = bits[:, :_COUNTS]
    stored = int(used.sum())
    expected = header + width * stored
    if len(data) != expected or bits[:, _COUNTS:].any():
        raise FormatError(f"histogram block of {len(data)} bytes, expected {expected}")
    planes = np.zeros((8, stored), np.uint8)
    planes[:width] = np.frombuffer(data, np.uint8, offset=header).reshape(width, stored)
    counts = np.zeros((histograms, _COUNTS), np.int64)
    counts[used] = np.ascontiguousarray(planes.T).view("<i8")[:, 0]
    if (counts < 0).any():
        raise FormatError("damaged histogram block: a count is beyond 2^63")
    return counts


def _decode_ranges(data: bytes, width: int, quantities: int) -> Counts:
    """Decode the format of version 1."""
    header = 4 * quantities
    if len(data) < header:
        raise FormatError(f"histogram block of {len(data)} bytes, expected at least {header}")
    ranges = np.frombuffer(data, "<u2", 2 * quantities).reshape(quantities, 2).astype(int)
    expected = header + width * int(ranges[:, 1].sum() + quantities * len(SPECIAL))
    if len(data) != expected or (ranges.sum(axis=1) > BINS).any():
        raise FormatError(f"histogram block of {len(data)} bytes, expected {expected}")
    values = np.frombuffer(data, f"<u{width}", offset=header).astype(np.int64)
    if (values < 0).any():
        raise FormatError("damaged histogram block: a count is beyond 2^63")
    counts = np.zeros((quantities, BINS + len(SPECIAL)), np.int64)
    at = 0
    for q, (first, length) in enumerate(ranges.tolist()):
        counts[q, BINS:] = values[at : at + len(SPECIAL)]
        at += len(SPECIAL)
        counts[q, first : first + length] = values[at : at + length]
        at += length
    return counts
