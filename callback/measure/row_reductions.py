"""Sums, counts and comparisons of rows, as fast as the processor or the device allows.

On the CPU, NumPy multiplies and adds in one pass, and compares into bytes; torch would store the
products, and compare into floats. Both work on the same memory. Elsewhere everything uses torch,
and nothing waits for the device. Callers silence NumPy's warnings about overflow and NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Relation = Literal["equal", "not_equal", "less", "greater"]

_TORCH = {"equal": torch.eq, "not_equal": torch.ne, "less": torch.lt, "greater": torch.gt}
_NUMPY = {
    "equal": np.equal, "not_equal": np.not_equal, "less": np.less, "greater": np.greater,
}  # fmt: skip

_LOW_BYTES, _ONES = np.uint64(0x00FF_00FF_00FF_00FF), np.uint64(0x0001_0001_0001_0001)
_BYTE, _TOP = np.uint64(8), np.uint64(48)


def dot(x: Tensor, y: Tensor, out: Tensor) -> None:
    """Write Σxy of each row to ``out``.

    Args:
        x: ``[rows, n]``.
        y: ``[rows, n]``.
        out: ``[rows]``.
    """
    if x.device.type != "cpu":
        torch.sum(x * y, 1, out=out)
    elif hasattr(np, "vecdot"):  # NumPy 2
        np.vecdot(x.numpy(), y.numpy(), out=out.numpy())
    else:
        np.einsum("ij,ij->i", x.numpy(), y.numpy(), out=out.numpy())


def largest_magnitude(x: Tensor, out: Tensor) -> None:
    """Write max |x| of each row to ``out``, ``[rows]``; NaN if the row has one."""
    torch.amax(x, 1, out=out)
    torch.maximum(out, torch.amin(x, 1).neg_(), out=out)


def compare(relation: Relation, x: Tensor, y: Tensor | float, out: Tensor) -> Tensor:
    """Compare element by element.

    Args:
        relation: The comparison of ``x`` with ``y``.
        x: ``[rows, n]``.
        y: ``[rows, n]``, ``[rows, 1]``, or one number.
        out: bool ``[rows, n]``.

    Returns:
        ``out``.
    """
    if x.device.type != "cpu":
        _TORCH[relation](x, y, out=out)
    else:
        _NUMPY[relation](x.numpy(), y.numpy() if isinstance(y, Tensor) else y, out=out.numpy())
    return out


def both(x: Tensor, y: Tensor, out: Tensor) -> Tensor:
    """Return the conjunction of two masks, in ``out``."""
    return torch.logical_and(x, y, out=out)


def put_counts(masks: Tensor, indices: Sequence[int], out: Tensor) -> None:
    """Count how many elements of each row are True.

    Args:
        masks: bool ``[masks, rows, n]``.
        indices: Index in ``out`` for each mask's counts.
        out: ``[values, rows]``, floating point.
    """
    n = masks.shape[2]
    if masks.device.type != "cpu" or n % 8 or n > 8 * 255:
        for mask, index in zip(masks, indices, strict=True):
            torch.sum(mask, 1, dtype=out.dtype, out=out[index])
        return
    # Sum eight byte counters at a time, without overflow; then pairs of bytes, and the four pairs.
    bytes_ = torch.sum(masks.view(torch.int64), 2).numpy().view(np.uint64)
    pairs = (bytes_ & _LOW_BYTES) + ((bytes_ >> _BYTE) & _LOW_BYTES)
    out.numpy()[indices] = (pairs * _ONES) >> _TOP


def may_hold(mask: Tensor) -> bool:
    """Whether a mask is True anywhere; on a device always True, to avoid a wait."""
    return mask.device.type != "cpu" or bool(mask.numpy().any())
