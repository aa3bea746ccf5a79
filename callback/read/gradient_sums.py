"""Sums over all elements of a gradient that is only read in part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tb_adam_plugin.arrays import Flags, Float64s

from . import norms, sparse_rows

SUMS = ("g²", "dead rows")
# Receives which rows have a gradient: the index of the first of some rows, and a flag for each,
# bool, 1-D, on the gradient's device. Rows that it does not receive have none.
Note = Callable[[int, Tensor], None]
# On a device with more rows than this, their norms would take much memory on the host.
_MOST_SENT = 1 << 16


def gradient_sums(gradient: Tensor, dtype: torch.dtype, note: Note | None = None) -> Tensor:
    """Return Σg², and the number of rows along the first dimension without gradient.

    Rows of medium length are judged by their norms, so a row of elements below 1e-23 has no
    gradient; other rows by their elements. Does not wait for a device.

    Args:
        gradient: A real gradient: strided, or one that :func:`.sparse_rows.can_be_read`.
        dtype: As for :func:`.norms.partial_norms`, also regarding non-finite results.
        note: Receives the rows; a vector has no rows.

    Returns:
        float64 ``[len(SUMS)]``, on the gradient's device. The number of rows of a vector is NaN.
    """
    if gradient.is_sparse:
        return _of_sparse(gradient, dtype, note)
    if norms.has_row_norms(gradient):
        rows = gradient.view(len(gradient), -1)
        at_once = _at_once(rows) if rows.device.type == "cpu" else len(rows)
        sums = []
        for i, part in enumerate(rows.split(at_once)):
            found = norms.row_norms(part, dtype)
            sums.append(_of_norms(found, i * at_once, note))
        return torch.stack(sums).sum(0)
    if gradient.dim() < 2:
        dead = torch.full((), float("nan"), dtype=torch.float64, device=gradient.device)
    else:
        dead = len(gradient) - norms.count_nonzero_rows(gradient, note)
    return _together(norms.partial_norms(gradient, dtype), dead)


def total(gradient: Tensor, dtype: torch.dtype, note: Note | None = None) -> Tensor:
    """Return the input of :func:`added_up`, with a single launch if possible.

    Args:
        gradient: See :func:`gradient_sums`.
        dtype: See :func:`gradient_sums`.
        note: See :func:`gradient_sums`; unused if the norms of the rows are returned, which carry
            the same information.
    """
    if are_norms_sent(gradient):
        return norms.row_norms(gradient.view(len(gradient), -1), dtype)
    return gradient_sums(gradient, dtype, note)


def added_up(
    parts: npt.NDArray[Any],
    starts: Sequence[int],
    gradients: Sequence[object],
    note: Callable[[int, Flags], None],
) -> Float64s:
    """Return the sums of several gradients, float64 ``[gradients, len(SUMS)]``, on the host.

    Args:
        parts: What :func:`total` returned for each, concatenated; or the sums.
        starts: Start of each gradient's part.
        gradients: The gradients; an entry that is not a tensor has its sums there.
        note: Receives which rows have a gradient if their norms were sent: the index of the
            gradient, and a flag for each row.
    """
    sums = np.zeros((len(gradients), len(SUMS)))
    split = np.split(parts, starts[1:])
    for i, (of_one, gradient) in enumerate(zip(split, gradients, strict=True)):
        if isinstance(gradient, Tensor) and are_norms_sent(gradient):
            sums[i] = np.square(of_one, dtype=np.float64).sum(), np.count_nonzero(of_one == 0)
            note(i, of_one != 0)
        else:
            sums[i] = of_one
    return sums


def are_norms_sent(gradient: Tensor) -> bool:
    """Whether a device has few enough rows to add up their norms on the host."""
    if gradient.device.type == "cpu" or gradient.is_sparse or not norms.has_row_norms(gradient):
        return False
    return len(gradient) <= _MOST_SENT


def _of_sparse(gradient: Tensor, dtype: torch.dtype, note: Note | None) -> Tensor:
    values = gradient.values().flatten(1)
    if values.shape[1] < norms.SHORTEST_ROW:
        alive = norms.count_nonzero_rows(values)
        if note is not None:
            _note_rows(gradient, norms.nonzero_rows(values), note)
        return _together(sparse_rows.partial_norms(gradient, dtype), len(gradient) - alive)
    if gradient.device.type != "cpu":
        found = norms.row_norms(values, dtype)
        if note is not None:
            _note_rows(gradient, found != 0, note)
        return _together(found, len(gradient) - (found != 0).sum())
    # In the same parts as the dense gradient, to get the same sum.
    at_once = _at_once(values)
    parts = list(sparse_rows.parts(gradient, at_once))
    sums = torch.zeros(len(parts), len(SUMS), dtype=torch.float64, device="cpu")
    for i, (rows, there, start, stop) in enumerate(parts):
        sums[i, 1] = rows
        if len(there):
            found = torch.zeros(rows, dtype=dtype, device="cpu")
            found.index_copy_(0, there, norms.row_norms(values[start:stop], dtype))
            sums[i] = _of_norms(found, i * at_once, note)
    return sums.sum(0)


def _note_rows(gradient: Tensor, has_gradient: Tensor, note: Note) -> None:
    """Report the rows of the dense gradient, from the rows that a sparse one has."""
    if gradient.device.type != "cpu":
        is_alive = torch.zeros(len(gradient), dtype=torch.bool, device=gradient.device)
        note(0, is_alive.index_copy_(0, gradient.indices()[0], has_gradient))
        return
    parts = sparse_rows.parts(gradient, norms.CHUNK)
    for i, (rows, there, start, stop) in enumerate(parts):
        is_alive = torch.zeros(rows, dtype=torch.bool, device="cpu")
        note(i * norms.CHUNK, is_alive.index_copy_(0, there, has_gradient[start:stop]))


def _at_once(rows: Tensor) -> int:
    """Number of rows per part, which bounds the temporaries."""
    return max(1, norms.CHUNK // rows.shape[1])


def _of_norms(of_rows: Tensor, first: int, note: Note | None) -> Tensor:
    is_alive = of_rows != 0
    if note is not None:
        note(first, is_alive)
    return _together(of_rows, len(of_rows) - torch.count_nonzero(is_alive))


def _together(parts: Tensor, dead: Tensor) -> Tensor:
    """Return the sums, from norms whose squares add up to Σg² and a number of rows."""
    return torch.stack([parts.double().square().sum(), dead.double()])
