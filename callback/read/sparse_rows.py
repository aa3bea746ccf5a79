"""Sparse gradients of large parameters, read without a dense copy.

The gradient of an embedding lists the rows that it has; all others are 0. Functions that process a
whole tensor return the same numbers here as for the dense one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from . import norms


def can_be_read(tensor: Tensor) -> bool:
    """Whether a tensor consists of sparse rows that are short enough to be read by rows."""
    if not tensor.is_sparse or tensor.sparse_dim() != 1 or tensor.dense_dim() < 1:
        return False
    return 0 < _row_length(tensor) <= norms.ROW and len(tensor) > 0


def partial_norms(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the result of :func:`.norms.partial_norms` for the dense, contiguous tensor.

    Args:
        tensor: A coalesced tensor that :func:`can_be_read`.
        dtype: See :func:`.norms.partial_norms`.
    """
    length = _row_length(tensor)
    values = tensor.values().reshape(-1, length)
    if tensor.device.type != "cpu":
        return norms.partial_norms(values, dtype)
    # A multiple of the rows in which the dense tensor would be added up.
    at_once = norms.ROW // math.gcd(length, norms.ROW)
    at_once *= max(1, norms.CHUNK // (at_once * length))
    # One for all parts: memory freed after each of them would stay with the process.
    dense = values.new_zeros(min(at_once, len(tensor)), length)
    of_parts = [
        norms.long_norms(
            dense[:rows].zero_().index_copy_(0, there, values[start:stop]).view(-1), dtype
        )
        for rows, there, start, stop in parts(tensor, at_once)
    ]
    # All parts but the last are full multiples: their remainder is empty, with norm 0.
    return torch.cat([*(part[:-1] for part in of_parts[:-1]), of_parts[-1]])


def parts(tensor: Tensor, at_once: int) -> Iterator[tuple[int, Tensor, int, int]]:
    """Split the rows of the dense tensor.

    Args:
        tensor: See :func:`partial_norms`; on the CPU.
        at_once: Number of rows per part; the last one may have fewer.

    Yields:
        The number of rows in the part; which of them the tensor has, int64, 1-D; and the start and
        end of these in its values.
    """
    there = tensor.indices()[0].contiguous()
    firsts = range(0, len(tensor), at_once)
    edges = torch.tensor([*firsts, len(tensor)], device=tensor.device)
    found = torch.searchsorted(there, edges).tolist()
    for first, start, stop in zip(firsts, found, found[1:], strict=False):
        yield min(at_once, len(tensor) - first), there[start:stop] - first, start, stop


def elements(tensor: Tensor, indices: Tensor) -> Tensor:
    """Return some elements of the dense tensor, 1-D.

    Args:
        tensor: See :func:`partial_norms`.
        indices: In row-major order, int64, 1-D.
    """
    length = _row_length(tensor)
    rows = tensor.indices()[0]
    if not len(rows):
        return torch.zeros(len(indices), dtype=tensor.dtype, device=tensor.device)
    wanted = torch.div(indices, length, rounding_mode="floor")
    place = torch.searchsorted(rows, wanted).clamp_(max=len(rows) - 1)
    found = tensor.values().reshape(-1)[place * length + (indices - wanted * length)]
    return torch.where(rows[place] == wanted, found, torch.zeros_like(found))


def _row_length(tensor: Tensor) -> int:
    return math.prod(tensor.shape[1:])
