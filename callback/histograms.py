"""Histograms of float32 values by the bits of the float: no logarithm, no range of the data.

The upper 11 bits of a float32 (sign, exponent, top two mantissa bits) are a code, and a bin is a
code. So one shift and one count serve all parameters of a block. On the device the codes are
counted, on the host the counts of codes become bins. :func:`tb_adam_plugin.schema.count_values`
says what a histogram is; these functions equal it exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tb_adam_plugin import schema

COUNTS = schema.BINS + len(schema.SPECIAL)

_SHIFT = 21
CODES = 1 << (32 - _SHIFT)
_CODES_PER_SIGN = CODES // 2
# Codes of one sign: below _NORMAL zero and subnormals, from _INFINITE on infinity and NaN.
_NORMAL = 1 << (23 - _SHIFT)
_INFINITE = 255 << (23 - _SHIFT)
_ZERO, _SUBNORMAL, _NEGATIVE_INFINITY, _POSITIVE_INFINITY, _NAN = range(schema.BINS, COUNTS)


def code_offsets(row_parameter: Tensor) -> Tensor:
    """Return what :func:`count_rows` adds to a row's codes: int32 ``[rows, 1]``.

    Args:
        row_parameter: Index of each row's parameter within the block, ``[rows]``.
    """
    return (row_parameter * CODES + _CODES_PER_SIGN).to(torch.int32)[:, None].contiguous()


def count_rows(rows: Tensor, offsets: Tensor, parameters: int, scratch: Tensor) -> Tensor:
    """Count the codes of a block's rows by parameter.

    Args:
        rows: float32 ``[rows, n]``, contiguous. Padding must be +0.
        offsets: From :func:`code_offsets`.
        parameters: Number of parameters in the block.
        scratch: int32, shaped as ``rows``; overwritten.

    Returns:
        Integer ``[parameters, CODES]``: negative codes ascending with magnitude, then positive.
    """
    # An arithmetic shift: the codes of negative values are -1024 to -1, ascending with magnitude.
    codes = torch.bitwise_right_shift(rows.view(torch.int32), _SHIFT, out=scratch).add_(offsets)
    table = _count(codes.view(-1), parameters * CODES).view(parameters, CODES)
    # A NaN whose upper mantissa bits are zero has the code of infinity. Looking at that count would
    # wait for a device, so there such NaN are always looked for.
    if rows.device.type != "cpu" or table.numpy()[:, _INFINITE::_CODES_PER_SIGN].any():
        _separate_nan(table, rows, offsets)
    return table


def to_bins(
    codes: npt.NDArray[np.integer[Any]], quantity: schema.Quantity, counts: npt.NDArray[Any]
) -> None:
    """Turn counts of codes into histograms.

    Args:
        codes: From :func:`count_rows`, on the host, ``[parameters, CODES]``.
        quantity: Whose bins.
        counts: Integer ``[parameters, COUNTS]`` in the order of the wire, overwritten. Zeros are
            counted as subnormal, whose code they share, until :func:`separate_zeros`.
    """
    table = codes.reshape(-1, 2, _CODES_PER_SIGN)
    negative, positive = table[:, 0], table[:, 1]
    per_sign = schema.BINS // 2 if quantity.signed else schema.BINS
    first = (quantity.lowest_exponent + 127) * schema.BINS_PER_OCTAVE
    end = first + per_sign
    # Of long runs torch makes sums several times faster than NumPy.
    by_sign = torch.from_numpy(table)
    below = by_sign[:, :, _NORMAL:first].sum(2).numpy()
    above = by_sign[:, :, end:_INFINITE].sum(2).numpy()
    if quantity.signed:
        counts[:, :per_sign] = negative[:, first:end][:, ::-1]
        counts[:, per_sign : schema.BINS] = positive[:, first:end]
        counts[:, per_sign - 1 : per_sign + 1] += below
        counts[:, 0 : schema.BINS : schema.BINS - 1] += above
    else:
        counts[:, : schema.BINS] = negative[:, first:end] + positive[:, first:end]
        counts[:, 0] += below.sum(1)
        counts[:, schema.BINS - 1] += above.sum(1)
    counts[:, _SUBNORMAL] = by_sign[:, :, :_NORMAL].sum((1, 2)).numpy()
    counts[:, _NEGATIVE_INFINITY : _POSITIVE_INFINITY + 1] = table[:, :, _INFINITE]
    counts[:, _NAN] = by_sign[:, :, _INFINITE + 1 :].sum((1, 2)).numpy()


def separate_zeros(counts: npt.NDArray[Any], zeros: schema.Counts, padding: schema.Counts) -> None:
    """Tell zeros from the smallest subnormal numbers, and leave out the padding.

    Args:
        counts: From :func:`to_bins`, ``[parameters, COUNTS]``, changed in place.
        zeros: How many of a parameter's row elements are zero, padding included, ``[parameters]``.
        padding: How many of its row elements are padding, ``[parameters]``.
    """
    counts[:, _ZERO] = zeros - padding
    counts[:, _SUBNORMAL] -= zeros


class HistogramCounts:
    """Histograms of all parameters of a device, filled block by block. Keeps its memory.

    Attributes:
        quantities: Of which there are histograms.
    """

    def __init__(
        self,
        quantities: Sequence[schema.Quantity],
        elements: npt.NDArray[np.int64],
        device: torch.device,
    ) -> None:
        """Make room.

        Args:
            quantities: What is counted.
            elements: How many elements of each parameter are read, padding included.
            device: Where :func:`count_rows` counts.
        """
        self.quantities = tuple(quantities)
        # No count is larger than the elements that are read, and of many parameters these are many.
        most = int(elements.max(initial=0))
        narrow = next(kind for kind in (np.int16, np.int32, np.int64) if most <= np.iinfo(kind).max)
        shape = (len(elements), len(self.quantities), COUNTS)
        self._counts: npt.NDArray[np.integer[Any]] = np.zeros(shape, narrow)
        # The codes of the last parameter of the last block, which may go on in the next one.
        self._unfinished: dict[int, tuple[int, npt.NDArray[np.integer[Any]]]] = {}
        self._codes: Tensor | None = None
        if device.type != "cpu":
            shape = (len(self.quantities), len(elements), CODES)
            self._codes = torch.zeros(shape, dtype=torch.int32, device=device)

    def clear(self) -> None:
        """Begin with another step."""
        self._counts.fill(0)
        self._unfinished.clear()
        if self._codes is not None:
            self._codes.zero_()

    def add(self, index: int, parameters: slice, table: Tensor) -> None:
        """Add the codes of a block.

        Args:
            index: Of the quantity.
            parameters: Those of the block.
            table: From :func:`count_rows`.
        """
        if self._codes is not None:
            self._codes[index, parameters] += table
            return
        codes = table.numpy()
        parameter, begun = self._unfinished.get(index, (-1, codes[0]))
        if parameter == parameters.start:
            codes[0] += begun
        self._unfinished[index] = (parameters.stop - 1, codes[-1].copy())
        to_bins(codes, self.quantities[index], self._counts[parameters, index])

    @property
    def on_device(self) -> list[Tensor]:
        """What is to be copied to the host for :meth:`take`."""
        return [] if self._codes is None else [self._codes]

    def take(
        self,
        on_host: Sequence[npt.NDArray[Any]],
        zeros: Sequence[schema.Counts],
        padding: schema.Counts,
    ) -> npt.NDArray[np.integer[Any]]:
        """Return the histograms, ``[parameters, quantities, COUNTS]``, valid until :meth:`clear`.

        Args:
            on_host: Copy of :attr:`on_device`.
            zeros: By quantity, as for :func:`separate_zeros`.
            padding: See there.
        """
        for codes in on_host:
            for index, quantity in enumerate(self.quantities):
                to_bins(codes[index], quantity, self._counts[:, index])
        for index, of_quantity in enumerate(zeros):
            separate_zeros(self._counts[:, index], of_quantity, padding)
        return self._counts


def _count(codes: Tensor, length: int) -> Tensor:
    if codes.device.type == "cpu":
        return torch.bincount(codes, minlength=length)
    # torch.bincount waits for the device to learn the largest code.
    table = torch.zeros(length, dtype=torch.int32, device=codes.device)
    ones = torch.ones((), dtype=torch.int32, device=codes.device).expand(codes.shape)
    return table.index_add_(0, codes, ones)


def _separate_nan(table: Tensor, rows: Tensor, offsets: Tensor) -> None:
    """Move the NaN with the code of infinity to the next code, which only NaN have."""
    owner = torch.div(offsets[:, 0], CODES, rounding_mode="floor")
    for sign, infinity in enumerate((-torch.inf, torch.inf)):
        code = sign * _CODES_PER_SIGN + _INFINITE
        in_rows = (rows == infinity).sum(1).to(table.dtype)
        infinite = torch.zeros_like(table[:, code]).index_add_(0, owner, in_rows)
        table[:, code + 1] += table[:, code] - infinite
        table[:, code] = infinite
