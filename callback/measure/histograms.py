"""Histograms of float32 values from the bits of the float: no logarithm, no data-dependent range.

The upper 11 bits of a float32 (sign, exponent, top two mantissa bits) form a code, and each code is
a bin. So one shift and one count serve all parameters of a block. Codes are counted on the device;
the host turns the counts into bins. The result equals that of
:func:`tb_adam_plugin.schema.count_values`, which defines a histogram, exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tb_adam_plugin import schema

from ..memory import lasting
from ..memory.to_host import to_device

COUNTS = schema.BINS + len(schema.SPECIAL)

_SHIFT = 21
CODES = 1 << (32 - _SHIFT)
_CODES_PER_SIGN = CODES // 2
# Codes of one sign: below _NORMAL are zero and subnormals, from _INFINITE on infinity and NaN.
_NORMAL = 1 << (23 - _SHIFT)
_INFINITE = 255 << (23 - _SHIFT)
# For more parameters, the table of codes (16 KB each) would be larger than the rows it counts.
_PARAMETERS_AT_ONCE = 64
# For so few, the table is small enough to be allocated each time.
_FEW_PARAMETERS = 32
_CODES_AT_ONCE = 1 << 14
_ZERO, _SUBNORMAL, _NEGATIVE_INFINITY, _POSITIVE_INFINITY, _NAN = range(schema.BINS, COUNTS)


def code_offsets(row_parameter: Tensor) -> Tensor:
    """Return the offsets that :func:`count_rows` adds to a row's codes: int32 ``[rows, 1]``.

    Args:
        row_parameter: Index of each row's parameter within the block, ``[rows]``.
    """
    return (row_parameter * CODES + _CODES_PER_SIGN).to(torch.int32)[:, None].contiguous()


class CodeTable:
    """Host memory for counting the codes of many parameters.

    ``torch.bincount`` requests an aligned megabyte from the allocator each time. Allocations made
    in between leave holes that are too small for the next request, and the process grows.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        """Make room for as many parameters as are counted at once.

        Args:
            dtype: Integer type of the counts.
        """
        host = torch.device("cpu")
        self._table = lasting.zeros((_PARAMETERS_AT_ONCE * CODES,), dtype, host)
        self._indices = lasting.zeros((_CODES_AT_ONCE,), torch.int64, host)
        self._ones = lasting.zeros((_CODES_AT_ONCE,), dtype, host).fill_(1)

    def count(self, codes: Tensor, length: int) -> Tensor:
        """Return how often each code from 0 on occurs, integer ``[length]``.

        Args:
            codes: int32, 1-D.
            length: One more than the largest code.

        Returns:
            Valid until the next call.
        """
        if length <= _FEW_PARAMETERS * CODES:
            return torch.bincount(codes, minlength=length)
        table = self._table[:length].zero_()
        for some in codes.split(_CODES_AT_ONCE):
            indices = self._indices[: len(some)].copy_(some)
            table.scatter_add_(0, indices, self._ones[: len(some)])
        return table


def count_rows(
    rows: Tensor, offsets: Tensor, parameters: int, scratch: Tensor, table: CodeTable | None
) -> Tensor:
    """Count the codes of a block's rows by parameter.

    Args:
        rows: float32 ``[rows, n]``, contiguous. Padding must be +0.
        offsets: From :func:`code_offsets`.
        parameters: Number of parameters in the block.
        scratch: int32, same shape as ``rows``; overwritten.
        table: The table for rows on the host; None for rows on a device.

    Returns:
        Integer ``[parameters, CODES]``: negative codes ascending with magnitude, then positive.
        Valid until the next call with the same table.
    """
    if table is None:
        # A NaN whose upper mantissa bits are zero has the code of infinity. Checking for that count
        # would wait for the device, so there each NaN is replaced by the default one, whose code
        # differs.
        rows = torch.where(rows != rows, torch.nan, rows)
    # An arithmetic shift: negative values get the codes -1024 to -1, ascending with magnitude.
    codes = torch.bitwise_right_shift(rows.view(torch.int32), _SHIFT, out=scratch).add_(offsets)
    count = _count_on_device if table is None else table.count
    counts = count(codes.view(-1), parameters * CODES).view(parameters, CODES)
    if table is not None and counts.numpy()[:, _INFINITE::_CODES_PER_SIGN].any():
        _separate_nan(counts, rows, offsets)
    return counts


def to_bins(
    codes: npt.NDArray[np.integer[Any]], quantity: schema.Quantity, counts: npt.NDArray[Any]
) -> None:
    """Turn counts of codes into histograms.

    Args:
        codes: From :func:`count_rows`, on the host, ``[parameters, CODES]``.
        quantity: The quantity whose bins to use.
        counts: Integer ``[parameters, COUNTS]`` in the order of the wire format, overwritten. Zeros
            are counted as subnormal, whose code they share, until :func:`separate_zeros`.
    """
    table = codes.reshape(-1, 2, _CODES_PER_SIGN)
    negative, positive = table[:, 0], table[:, 1]
    per_sign = schema.BINS // 2 if quantity.signed else schema.BINS
    first = (quantity.lowest_exponent + 127) * schema.BINS_PER_OCTAVE
    end = first + per_sign
    # torch sums long runs several times faster than NumPy.
    by_sign = torch.from_numpy(table)
    below = by_sign[:, :, _NORMAL:first].sum(2).numpy()
    above = by_sign[:, :, end:_INFINITE].sum(2).numpy()
    if quantity.signed:
        counts[:, :per_sign] = negative[:, first:end][:, ::-1]
        counts[:, per_sign : schema.BINS] = positive[:, first:end]
        counts[:, per_sign - 1 : per_sign + 1] += below
        counts[:, 0 : schema.BINS : schema.BINS - 1] += above
    else:
        of_bins = counts[:, : schema.BINS]
        np.add(negative[:, first:end], positive[:, first:end], out=of_bins, casting="same_kind")
        counts[:, 0] += below.sum(1)
        counts[:, schema.BINS - 1] += above.sum(1)
    counts[:, _SUBNORMAL] = by_sign[:, :, :_NORMAL].sum((1, 2)).numpy()
    counts[:, _NEGATIVE_INFINITY : _POSITIVE_INFINITY + 1] = table[:, :, _INFINITE]
    counts[:, _NAN] = by_sign[:, :, _INFINITE + 1 :].sum((1, 2)).numpy()


def separate_zeros(counts: npt.NDArray[Any], zeros: schema.Counts, padding: schema.Counts) -> None:
    """Separate zeros from the smallest subnormal numbers, and exclude the padding.

    Args:
        counts: From :func:`to_bins`, ``[parameters, COUNTS]``, changed in place.
        zeros: Number of zeros among each parameter's row elements, padding included,
            ``[parameters]``.
        padding: Number of padding elements in its rows, ``[parameters]``.
    """
    counts[:, _ZERO] = zeros - padding
    counts[:, _SUBNORMAL] -= zeros


class Cut(NamedTuple):
    """Some of a block's rows, whose codes are counted together.

    Attributes:
        rows: Indices within the block.
        parameters: The rows' parameters, within the block.
        offsets: From :func:`code_offsets`.
    """

    rows: slice
    parameters: slice
    offsets: Tensor


def cuts(row_parameter: npt.NDArray[np.int64], device: torch.device) -> list[Cut]:
    """Cut a block into rows of few enough parameters to keep the tables of their codes small.

    Args:
        row_parameter: Index of each row's parameter within the block, ``[rows]``, ascending from 0.
        device: Device of the rows. If it is not the CPU there is one cut: each would be a launch.
    """
    parameters = int(row_parameter[-1]) + 1
    most = _PARAMETERS_AT_ONCE if device.type == "cpu" else parameters
    found = []
    for first in range(0, parameters, most):
        last = min(first + most, parameters)
        start, stop = np.searchsorted(row_parameter, (first, last)).tolist()
        owners = to_device(row_parameter[start:stop] - first, device)
        found.append(Cut(slice(start, stop), slice(first, last), code_offsets(owners)))
    return found


class HistogramCounts:
    """Histograms of all parameters of a device, filled cut by cut.

    Once a parameter is complete, only its nonzero counts are kept.

    Attributes:
        quantities: Quantities that have histograms.
        table: For :func:`count_rows`.
    """

    def __init__(
        self,
        quantities: Sequence[schema.Quantity],
        elements: npt.NDArray[np.int64],
        device: torch.device,
    ) -> None:
        """Make room.

        Args:
            quantities: Quantities to count.
            elements: Number of elements read of each parameter, padding included.
            device: Device on which :func:`count_rows` counts.
        """
        self.quantities = tuple(quantities)
        # No count exceeds the number of elements read, so a small type saves memory for many
        # parameters.
        most = int(elements.max(initial=0))
        self._type = next(t for t in (np.int16, np.int32, np.int64) if most <= np.iinfo(t).max)
        self._counts: npt.NDArray[np.integer[Any]] = np.zeros(
            (0, len(self.quantities), COUNTS), self._type
        )
        self._parameters = len(elements)
        self._ended: _Joined | None = None  # of the completed parameters
        # The codes of the last parameter of the last cut, which may continue in the next block.
        self._unfinished: dict[int, tuple[int, npt.NDArray[np.integer[Any]]]] = {}
        # A parameter's codes are added to those of its earlier rows, in the table's type.
        table_type = torch.int64 if self._type is np.int64 else torch.int32
        self.table = CodeTable(table_type) if device.type == "cpu" else None
        self._codes: Tensor | None = None
        if device.type != "cpu":
            shape = (len(self.quantities), len(elements), CODES)
            self._codes = torch.zeros(shape, dtype=torch.int32, device=device)

    def begin(self) -> None:
        """Begin another step."""
        self._unfinished.clear()
        self._ended = _Joined(self._parameters, len(self.quantities), self._type)
        if self._codes is not None:
            self._codes.zero_()

    def begin_cut(self, parameters: slice) -> None:
        """Begin a cut.

        Args:
            parameters: The parameters with a row in it.
        """
        if self._codes is None:
            self._clear(parameters.stop - parameters.start)

    def add(self, index: int, parameters: slice, table: Tensor) -> None:
        """Add the codes of a quantity of a cut.

        Args:
            index: Index of the quantity.
            parameters: The cut's parameters, among all.
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
        to_bins(codes, self.quantities[index], self._counts[: len(codes), index])

    @property
    def on_device(self) -> list[Tensor]:
        """The tensors to copy to the host for :meth:`take_codes`."""
        return [] if self._codes is None else [self._codes]

    def end_cut(
        self,
        zeros: Sequence[schema.Counts],
        padding: schema.Counts,
        is_there: npt.NDArray[np.bool_],
    ) -> None:
        """Complete the histograms of a cut's first parameters, which end in its block.

        Args:
            zeros: By quantity, as for :func:`separate_zeros`.
            padding: As for :func:`separate_zeros`.
            is_there: Which parameters have the quantity, ``[quantities, parameters]``; the others
                have no counts.
        """
        if not len(padding):
            return
        counts = self._counts[: len(padding)]
        for index, of_quantity in enumerate(zeros):
            separate_zeros(counts[:, index], of_quantity, padding)
            counts[~is_there[index], index] = 0
        assert self._ended is not None
        self._ended.add(schema.SparseHistograms.of(counts))

    def take_codes(
        self,
        on_host: npt.NDArray[Any],
        zeros: Sequence[schema.Counts],
        padding: schema.Counts,
        is_there: npt.NDArray[np.bool_],
    ) -> None:
        """Complete the histograms that were counted on a device.

        Args:
            on_host: Copy of :attr:`on_device`.
            zeros: See :meth:`end_cut`; of all parameters.
            padding: See :meth:`end_cut`; of all parameters.
            is_there: See :meth:`end_cut`; of all parameters.
        """
        for first in range(0, len(padding), _PARAMETERS_AT_ONCE):
            some = slice(first, first + _PARAMETERS_AT_ONCE)
            here = len(padding[some])
            self._clear(here)
            for index, quantity in enumerate(self.quantities):
                to_bins(on_host[index, some], quantity, self._counts[:here, index])
            self.end_cut([z[some] for z in zeros], padding[some], is_there[:, some])

    def take(self) -> schema.SparseHistograms:
        """Return the histograms of all parameters, once after each :meth:`begin`."""
        assert self._ended is not None
        found = self._ended.histograms()
        self._ended = None
        return found

    def _clear(self, parameters: int) -> None:
        if len(self._counts) < parameters:
            self._counts = np.zeros((parameters, len(self.quantities), COUNTS), self._type)
        else:
            self._counts[:parameters] = 0


class _Joined:
    """Histograms assembled as they arrive: joining parts would hold them in memory twice."""

    def __init__(self, parameters: int, quantities: int, dtype: type[np.integer[Any]]) -> None:
        self._bitmaps = np.empty((parameters, quantities, -(-COUNTS // 8)), np.uint8)
        self._lengths = np.empty(parameters, np.int64)
        self._values = bytearray()
        self._dtype = dtype
        self._count = 0

    def add(self, some: schema.SparseHistograms) -> None:
        here = slice(self._count, self._count + len(some.lengths))
        self._bitmaps[here], self._lengths[here] = some.bitmaps, some.lengths
        self._values += some.values.tobytes()
        self._count = here.stop

    def histograms(self) -> schema.SparseHistograms:
        values = np.frombuffer(self._values, self._dtype)
        return schema.SparseHistograms(self._bitmaps, values, self._lengths)


def _count_on_device(codes: Tensor, length: int) -> Tensor:
    # torch.bincount waits for the device to find the largest code.
    table = torch.zeros(length, dtype=torch.int32, device=codes.device)
    ones = torch.ones((), dtype=torch.int32, device=codes.device).expand(codes.shape)
    return table.index_add_(0, codes, ones)


def _separate_nan(table: Tensor, rows: Tensor, offsets: Tensor) -> None:
    """Move NaNs that have the code of infinity to the next code, which only NaNs have."""
    owner = torch.div(offsets[:, 0], CODES, rounding_mode="floor")
    for sign, infinity in enumerate((-torch.inf, torch.inf)):
        code = sign * _CODES_PER_SIGN + _INFINITE
        in_rows = (rows == infinity).sum(1).to(table.dtype)
        infinite = torch.zeros_like(table[:, code]).index_add_(0, owner, in_rows)
        table[:, code + 1] += table[:, code] - infinite
        table[:, code] = infinite
