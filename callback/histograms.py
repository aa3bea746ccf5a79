"""Histograms of float32 values by the bits of the float: no logarithm, no range of the data.

The upper 11 bits of a float32 (sign, exponent, top two mantissa bits) are the bin. So one shift and
one count serve all parameters of a block. :func:`tb_adam_plugin.schema.count_values` says what a
histogram is; these functions equal it exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tb_adam_plugin import schema

COUNTS = schema.BINS + len(schema.SPECIAL)

_SHIFT = 21
_CODES = 1 << (32 - _SHIFT)
_CODES_PER_SIGN = _CODES // 2
# Codes of one sign: below _NORMAL zero and subnormals, from _INFINITE on infinity and NaN.
_NORMAL = 1 << (23 - _SHIFT)
_INFINITE = 255 << (23 - _SHIFT)
_ZERO, _SUBNORMAL, _NEGATIVE_INFINITY, _POSITIVE_INFINITY, _NAN = range(schema.BINS, COUNTS)


def code_offsets(row_parameter: Tensor) -> Tensor:
    """Return what :func:`count_rows` adds to a row's codes: int32 ``[rows, 1]``.

    Args:
        row_parameter: Index of each row's parameter within the block, ``[rows]``.
    """
    return (row_parameter * _CODES + _CODES_PER_SIGN).to(torch.int32)[:, None].contiguous()


def count_rows(
    rows: Tensor, offsets: Tensor, parameters: int, quantity: schema.Quantity, scratch: Tensor
) -> Tensor:
    """Count the values of a block's rows into the bins of their parameters.

    Args:
        rows: float32 ``[rows, n]``, contiguous. Padding must be +0.
        offsets: From :func:`code_offsets`.
        parameters: Number of parameters in the block.
        quantity: Whose bins.
        scratch: int32, shaped as ``rows``; overwritten.

    Returns:
        int64 ``[parameters, COUNTS]`` in the order of the wire, but for one thing that
        :func:`separate_zeros` puts right: the count of zeros holds the padding and the smallest
        subnormal numbers too.
    """
    # An arithmetic shift: the codes of negative values are -1024 to -1, ascending with magnitude.
    codes = torch.bitwise_right_shift(rows.view(torch.int32), _SHIFT, out=scratch).add_(offsets)
    table = _count(codes.view(-1), parameters * _CODES).view(parameters, 2, _CODES_PER_SIGN)
    counts = _bins_and_special(table, quantity)
    # A NaN whose upper mantissa bits are zero has the code of infinity. Looking at that count would
    # wait for a device, so there such NaN are always looked for.
    if rows.is_cuda or bool(table[:, :, _INFINITE].any()):
        _separate_infinities(counts, rows, offsets)
    return counts


def separate_zeros(counts: schema.Counts, zeros: schema.Counts, padding: schema.Counts) -> None:
    """Finish the counts of one quantity, in place.

    Args:
        counts: From :func:`count_rows`, on the host, ``[parameters, COUNTS]``.
        zeros: How many of a parameter's row elements are zero, padding included, ``[parameters]``.
        padding: How many of its row elements are padding, ``[parameters]``.
    """
    counts[:, _SUBNORMAL] += counts[:, _ZERO] - zeros
    counts[:, _ZERO] = zeros - padding


def _count(codes: Tensor, length: int) -> Tensor:
    if not codes.is_cuda:
        return torch.bincount(codes, minlength=length)
    # torch.bincount waits for the device to learn the largest code.
    table = torch.zeros(length, dtype=torch.int32, device=codes.device)
    ones = torch.ones((), dtype=torch.int32, device=codes.device).expand(codes.shape)
    return table.index_add_(0, codes, ones)


def _bins_and_special(table: Tensor, quantity: schema.Quantity) -> Tensor:
    per_sign = schema.BINS // 2 if quantity.signed else schema.BINS
    first = (quantity.lowest_exponent + 127) * schema.BINS_PER_OCTAVE
    counts = torch.empty(len(table), COUNTS, dtype=torch.int64, device=table.device)
    bins = table[:, :, first : first + per_sign].clone()
    bins[:, :, 0] += table[:, :, _NORMAL:first].sum(2)
    bins[:, :, -1] += table[:, :, first + per_sign : _INFINITE].sum(2)
    if quantity.signed:
        counts[:, :per_sign] = bins[:, 0].flip(1)
        counts[:, per_sign : schema.BINS] = bins[:, 1]
    else:
        counts[:, : schema.BINS] = bins.sum(1)
    counts[:, _ZERO] = table[:, :, 0].sum(1)
    counts[:, _SUBNORMAL] = table[:, :, 1:_NORMAL].sum((1, 2))
    counts[:, _NEGATIVE_INFINITY] = table[:, 0, _INFINITE]
    counts[:, _POSITIVE_INFINITY] = table[:, 1, _INFINITE]
    counts[:, _NAN] = table[:, :, _INFINITE + 1 :].sum((1, 2))
    return counts


def _separate_infinities(counts: Tensor, rows: Tensor, offsets: Tensor) -> None:
    owner = torch.div(offsets[:, 0], _CODES, rounding_mode="floor")
    for slot, value in ((_NEGATIVE_INFINITY, -torch.inf), (_POSITIVE_INFINITY, torch.inf)):
        in_rows = (rows == value).sum(1)
        infinite = torch.zeros_like(counts[:, slot]).index_add_(0, owner, in_rows)
        counts[:, _NAN] += counts[:, slot] - infinite
        counts[:, slot] = infinite
