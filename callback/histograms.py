"""Histograms of float32 values by the bits of the float: no logarithm, no range of the data.

The upper 11 bits of a float32 (sign, exponent, top two mantissa bits) are a code, and a bin is a
code. So one shift and one count serve all parameters of a block. On the device the codes are
counted, on the host the counts of codes become bins. :func:`tb_adam_plugin.schema.count_values`
says what a histogram is; these functions equal it exactly.
"""

from __future__ import annotations

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
    if rows.is_cuda or bool(table[:, _INFINITE::_CODES_PER_SIGN].any()):
        _separate_nan(table, rows, offsets)
    return table


def to_bins(
    codes: npt.NDArray[np.integer],
    quantity: schema.Quantity,
    zeros: schema.Counts,
    padding: schema.Counts,
) -> schema.Counts:
    """Turn counts of codes into histograms.

    Args:
        codes: From :func:`count_rows`, on the host, ``[parameters, CODES]``.
        quantity: Whose bins.
        zeros: How many of a parameter's row elements are zero, padding included, ``[parameters]``;
            the smallest subnormal numbers share the code of zero.
        padding: How many of its row elements are padding, ``[parameters]``.

    Returns:
        int64 ``[parameters, COUNTS]`` in the order of the wire.
    """
    table = codes.reshape(-1, 2, _CODES_PER_SIGN)
    per_sign = schema.BINS // 2 if quantity.signed else schema.BINS
    first = (quantity.lowest_exponent + 127) * schema.BINS_PER_OCTAVE
    bins = table[:, :, first : first + per_sign].astype(np.int64)
    bins[:, :, 0] += table[:, :, _NORMAL:first].sum(axis=2)
    bins[:, :, -1] += table[:, :, first + per_sign : _INFINITE].sum(axis=2)
    counts = np.empty((len(table), COUNTS), np.int64)
    if quantity.signed:
        counts[:, :per_sign] = bins[:, 0, ::-1]
        counts[:, per_sign : schema.BINS] = bins[:, 1]
    else:
        counts[:, : schema.BINS] = bins.sum(axis=1)
    counts[:, _ZERO] = zeros - padding
    counts[:, _SUBNORMAL] = table[:, :, :_NORMAL].sum(axis=(1, 2)) - zeros
    counts[:, _NEGATIVE_INFINITY] = table[:, 0, _INFINITE]
    counts[:, _POSITIVE_INFINITY] = table[:, 1, _INFINITE]
    counts[:, _NAN] = table[:, :, _INFINITE + 1 :].sum(axis=(1, 2))
    return counts


def _count(codes: Tensor, length: int) -> Tensor:
    if not codes.is_cuda:
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
