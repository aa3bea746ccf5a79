"""What is known of all elements of a gradient of which only a sample is read."""

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
# Told which rows have a gradient: the index of the first of some rows, and a flag for each of them,
# bool, 1-D, on the gradient's device. Rows that it is not told of have none.
Note = Callable[[int, Tensor], None]
# Where a device has more rows than this, their norms would take much memory on the host.
_MOST_SENT = 1 << 16


def gradient_sums(gradient: Tensor, dtype: torch.dtype, note: Note | None = None) -> Tensor:
    """Return Σg², and how many rows along the first dimension have no gradient.

    Rows are told by their norms where they are neither short nor long, so that a row of elements
    below 1e-23 has no gradient; else by their elements. Does not wait for a device.

    Args:
        gradient: Of real numbers: strided, or one that :func:`.sparse_rows.can_be_read`.
        dtype: As for :func:`.norms.partial_norms`, likewise what is not finite.
        note: Told of the rows; a vector has no rows.

    Returns:
        float64 ``[len(SUMS)]``, on the gradient's device. The rows of a vector are NaN.
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
    """Return what :func:`added_up` makes the sums of: by one launch, where that is possible.

    Args:
        gradient: See :func:`gradient_sums`.
        dtype: Likewise.
        note: Likewise; not told where the norms of the rows are returned, which say the same.
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
        parts: What :func:`total` gave for each, one after the other; or the sums.
        starts: Where each one begins.
        gradients: The gradients; what is no tensor has its sums there.
        note: Told which rows have a gradient where their norms were sent: the index of the
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
    """Whether a device has so few rows that their norms are added up on the host."""
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
    # By parts of the dense gradient, so that they add up to the same number.
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
    """Tell of the rows of the dense gradient, by what is known of those that a sparse one has."""
    if gradient.device.type != "cpu":
        is_alive = torch.zeros(len(gradient), dtype=torch.bool, device=gradient.device)
        note(0, is_alive.index_copy_(0, gradient.indices()[0], has_gradient))
        return
    parts = sparse_rows.parts(gradient, norms.CHUNK)
    for i, (rows, there, start, stop) in enumerate(parts):
        is_alive = torch.zeros(rows, dtype=torch.bool, device="cpu")
        note(i * norms.CHUNK, is_alive.index_copy_(0, there, has_gradient[start:stop]))


def _at_once(rows: Tensor) -> int:
    """How many rows make a part, which bounds what is made of them."""
    return max(1, norms.CHUNK // rows.shape[1])


def _of_norms(of_rows: Tensor, first: int, note: Note | None) -> Tensor:
    is_alive = of_rows != 0
    if note is not None:
        note(first, is_alive)
    return _together(of_rows, len(of_rows) - torch.count_nonzero(is_alive))


def _together(parts: Tensor, dead: Tensor) -> Tensor:
    """Return the sums, of norms whose squares add up to Σg² and a number of rows."""
    return torch.stack([parts.double().square().sum(), dead.double()])
