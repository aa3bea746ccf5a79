"""Norms over all elements of tensors, exact enough at any size.

On the CPU one float32 accumulator drifts: the norm of 4 million equal values comes out 1e-3 too
large. So long tensors are added up in rows, and the rows in float64. Rows are also what several
threads can share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .real_numbers import as_real

Squares = Tensor | npt.NDArray[np.float64]

_ROW = 1 << 16
_CHUNK = 1 << 20
# Rows shorter than this cost more than the elements in them.
_SHORTEST_ROW = 64


def flat_view(tensor: Tensor) -> Tensor | None:
    """Return all elements of a tensor in the order of memory, 1-D, or None if that has gaps."""
    if tensor.is_contiguous():
        return tensor.view(-1)
    dense = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size != 1:
            if stride != dense:
                return None
            dense *= size
    return tensor.as_strided((tensor.numel(),), (1,))


def partial_norms(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return L2 norms of the parts of a tensor: their squares add up to Σx².

    Args:
        tensor: Strided, floating point.
        dtype: In which values are squared: float32, or float64 for a float64 tensor.

    Returns:
        ``[parts]`` of that dtype, on the tensor's device. Not finite where an element is not, or
        where squares are too large for ``dtype``.
    """
    rows, rest = _in_rows(tensor)
    if rows is None:
        norm: Tensor = torch.linalg.vector_norm(rest, dtype=dtype)
        return norm.view(1)
    norms = torch.empty(len(rows) + 1, dtype=dtype, device=tensor.device)
    torch.linalg.vector_norm(rows, dim=1, dtype=dtype, out=norms[:-1])
    torch.linalg.vector_norm(rest, dim=0, dtype=dtype, out=norms[-1])
    return norms


def has_row_norms(tensor: Tensor) -> bool:
    """Whether :func:`row_norms` gives one norm for each index of the first dimension."""
    if tensor.dim() < 2 or not tensor.numel() or not tensor.is_contiguous():
        return False
    return _SHORTEST_ROW <= tensor.numel() // len(tensor) <= _ROW


def row_norms(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return L2 norms along the first dimension where those rows are of a useful length.

    A row of elements below 1e-23 has the norm 0, because squares underflow. Else, and by the same
    arguments, as :func:`partial_norms`.
    """
    if not has_row_norms(tensor):
        return partial_norms(tensor, dtype)
    norms: Tensor = torch.linalg.vector_norm(tensor.view(len(tensor), -1), dim=1, dtype=dtype)
    return norms


def partial_sums(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return sums of the parts of a tensor that add up to Σx; else as :func:`partial_norms`."""
    # torch.sum adds pairwise, so that one part is exact enough.
    return torch.sum(tensor, dtype=dtype).view(1)


class GradientNorms:
    """Σg² of every parameter, at every step: launches work on the device and waits for none.

    Attributes:
        parameters: Their number.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        fetch: Callable[[], Sequence[Tensor | None]] | None = None,
    ) -> None:
        """Look at the gradients of ``parameters``.

        Args:
            parameters: Of the optimizer.
            fetch: Returns the gradients instead, of which only a part may be here.
        """
        self._parameters = parameters
        self._fetch = fetch
        self.parameters = len(parameters)

    def squares(self) -> tuple[Squares, tuple[bool, ...]]:
        """Return the sums, and which parameters have a gradient.

        Returns:
            float64 ``[parameters]``, where the first gradient is: an array on the CPU, else a
            tensor. And a flag for each.
        """
        kinds: dict[tuple[torch.device, torch.dtype], list[int]] = {}
        found = self._fetch() if self._fetch else [p.grad for p in self._parameters]
        gradients = [None if gradient is None else _stored_values(gradient) for gradient in found]
        for i, gradient in enumerate(gradients):
            if gradient is not None:
                kinds.setdefault((gradient.device, gradient.dtype), []).append(i)
        present = tuple([gradient is not None for gradient in found])
        if any(device.type != "cpu" for device, _ in kinds):
            device = next(iter(kinds))[0]
            on_device = torch.zeros(self.parameters, dtype=torch.float64, device=device)
            for indices in kinds.values():
                norms = _norms_on_device(_chosen(gradients, indices))
                on_device[indices] = norms.to(device, torch.float64).square_()
            return on_device, present
        sums = np.zeros(self.parameters)
        for indices in kinds.values():
            _add_up_on_cpu(_chosen(gradients, indices), indices, sums)
        return sums, present


def count_nonfinite(tensor: Tensor) -> int:
    """Count the elements that are NaN or infinite. Waits for the device."""
    return sum(int((~torch.isfinite(part)).sum()) for part in _chunks(tensor))


def sum_of_squares_in_double(tensor: Tensor) -> float:
    """Return Σx² of a tensor whose squares leave the range of float32. Waits for the device."""
    return sum(float(part.double().square().sum()) for part in _chunks(tensor))


def _stored_values(gradient: Tensor) -> Tensor:
    """Return the numbers that a gradient of any layout and type stores: strided and real."""
    if gradient.layout != torch.strided:
        gradient = (gradient.coalesce() if gradient.is_sparse else gradient).values()
    return as_real(gradient)


def _chosen(gradients: Sequence[Tensor | None], indices: Sequence[int]) -> list[Tensor]:
    return [gradient for i in indices if (gradient := gradients[i]) is not None]


def _norms_on_device(gradients: list[Tensor]) -> Tensor:
    dtype = torch.float64 if gradients[0].dtype == torch.float64 else torch.float32
    return torch.stack(torch._foreach_norm(gradients, 2.0, dtype=dtype))


def _add_up_on_cpu(
    gradients: list[Tensor], indices: Sequence[int], sums: npt.NDArray[np.float64]
) -> None:
    """Put Σg² of gradients into ``sums`` at ``indices``."""
    dtype = torch.float64 if gradients[0].dtype == torch.float64 else torch.float32
    short, of_short = [], []
    for i, gradient in zip(indices, gradients, strict=True):
        if gradient.numel() <= _ROW:
            short.append(gradient)
            of_short.append(i)
        else:
            sums[i] = _squares(partial_norms(gradient, dtype)).sum()
    if short:
        # On the CPU an operation of torch costs more than the arithmetic in it.
        norms = torch._foreach_norm(short, 2.0, dtype=dtype)
        sums[of_short] = _squares(torch.stack(norms))


def _squares(norms: Tensor) -> npt.NDArray[np.float64]:
    with np.errstate(over="ignore"):
        squares: npt.NDArray[np.float64] = np.square(norms.numpy(), dtype=np.float64)
        return squares


def _in_rows(tensor: Tensor) -> tuple[Tensor | None, Tensor]:
    """Cut up what is too long to be added up at once: ``[rows, _ROW]``, and the rest."""
    # A device adds up in a tree of threads, so that it needs no rows.
    if tensor.numel() <= _ROW or tensor.device.type != "cpu":
        return None, tensor
    flat = _flat(tensor)
    whole = flat.numel() // _ROW * _ROW
    return flat[:whole].view(-1, _ROW), flat[whole:]


def _chunks(tensor: Tensor) -> Sequence[Tensor]:
    """Cut up what is about to be copied."""
    chunks: Sequence[Tensor] = _flat(tensor).split(_CHUNK)
    return chunks


def _flat(tensor: Tensor) -> Tensor:
    flat = flat_view(tensor)
    return tensor.reshape(-1) if flat is None else flat
