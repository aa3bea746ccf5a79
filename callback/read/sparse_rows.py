"""Sparse gradients of large parameters, read without a dense copy.

The gradient of an embedding names the rows that it has; all others are 0. Functions that look at
all of a tensor give here what they would give for the dense one, number by number.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from . import norms


def can_be_read(tensor: Tensor) -> bool:
    """Whether a tensor is one of sparse rows, and those are not too long to be read by rows."""
    if not tensor.is_sparse or tensor.sparse_dim() != 1 or tensor.dense_dim() < 1:
        return False
    return 0 < _row_length(tensor) <= norms.ROW and len(tensor) > 0


def row_norms(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return what :func:`.norms.row_norms` gives for the dense tensor, which is contiguous.

    Args:
        tensor: Coalesced, and one that :func:`can_be_read`.
        dtype: As there.
    """
    length = _row_length(tensor)
    values = tensor.values().reshape(-1, length)
    if length >= norms.SHORTEST_ROW:
        found = torch.zeros(len(tensor), dtype=dtype, device=tensor.device)
        if len(values):
            found.index_copy_(0, tensor.indices()[0], norms.row_norms(values, dtype))
        return found
    if tensor.device.type != "cpu":
        return norms.partial_norms(values, dtype)
    # A whole number of the rows that the dense tensor would be added up in.
    at_once = norms.ROW // math.gcd(length, norms.ROW)
    at_once *= max(1, norms.CHUNK // (at_once * length))
    # One for all parts: what is freed after each of them would stay with the process.
    dense = values.new_zeros(min(at_once, len(tensor)), length)
    parts = [
        norms.long_norms(_make_dense(tensor, values, first, dense), dtype)
        for first in range(0, len(tensor), at_once)
    ]
    # Of all but the last nothing is left over, which has the norm 0.
    return torch.cat([*(part[:-1] for part in parts[:-1]), parts[-1]])


def elements(tensor: Tensor, indices: Tensor) -> Tensor:
    """Return some elements of the dense tensor, 1-D.

    Args:
        tensor: See :func:`row_norms`.
        indices: In the order of the dimensions, int64, 1-D.
    """
    length = _row_length(tensor)
    rows = tensor.indices()[0]
    if not len(rows):
        return torch.zeros(len(indices), dtype=tensor.dtype, device=tensor.device)
    wanted = torch.div(indices, length, rounding_mode="floor")
    place = torch.searchsorted(rows, wanted).clamp_(max=len(rows) - 1)
    found = tensor.values().reshape(-1)[place * length + (indices - wanted * length)]
    return torch.where(rows[place] == wanted, found, torch.zeros_like(found))


def count_dead(tensor: Tensor) -> int:
    """Count the rows without any element that is not 0. Waits for the device."""
    return len(tensor) - int((tensor.values() != 0).flatten(1).any(1).sum())


def _row_length(tensor: Tensor) -> int:
    return math.prod(tensor.shape[1:])


def _make_dense(tensor: Tensor, values: Tensor, first: int, memory: Tensor) -> Tensor:
    """Return the rows of the dense tensor from ``first`` on that ``memory`` holds, 1-D."""
    dense = memory[: len(tensor) - first].zero_()
    there = tensor.indices()[0].contiguous()
    edges = torch.tensor([first, first + len(dense)], device=tensor.device)
    start, stop = torch.searchsorted(there, edges).tolist()
    return dense.index_copy_(0, there[start:stop] - first, values[start:stop]).view(-1)
