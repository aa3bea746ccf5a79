"""Sums over all elements of a tensor, exact enough at any size.

One float32 accumulator drifts: the norm of 4 million equal values came out 1e-3 too large. So long
tensors are added up in parts, and the parts in float64.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

_PART = 1 << 16


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


def sum_of_squares(tensors: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """Return Σx² of each tensor.

    Args:
        tensors: On one device, strided, floating point.
        dtype: In which values are squared: float32, or float64 for float64 tensors.

    Returns:
        float64 ``[tensors]`` on that device. Not finite where an element is not, or where a square
        is too large for ``dtype``.
    """
    return _sums([_squares(tensor, dtype) for tensor in tensors])


def sums(tensors: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """Return Σx of each tensor: float64 ``[tensors]``; arguments as :func:`sum_of_squares`."""
    # torch.sum adds pairwise, so that it needs no parts.
    return torch.stack([torch.sum(tensor, dtype=dtype) for tensor in tensors]).double()


def gradient_norm(parameters: Iterable[Tensor]) -> Tensor | None:
    """Return the L2 norm of all gradients as a 0-dim float64 tensor; None without gradients.

    Launches work on the device and waits for none of it. Gradients on several devices are added up
    on the first one's.
    """
    by_device: dict[torch.device, list[Tensor]] = {}
    for parameter in parameters:
        gradient = parameter.grad
        if gradient is not None and gradient.numel():
            if gradient.is_sparse:
                gradient = gradient.coalesce().values()
            by_device.setdefault(gradient.device, []).append(gradient)
    if not by_device:
        return None
    squares = [_total_of_squares(gradients) for gradients in by_device.values()]
    return torch.stack([square.to(squares[0].device) for square in squares]).sum().sqrt()


def count_nonfinite(tensor: Tensor) -> int:
    """Count the elements that are NaN or infinite. Waits for the device."""
    return int(sum(int((~torch.isfinite(part)).sum()) for part in _parts(tensor, 1 << 20)))


def finite_sum_of_squares(tensor: Tensor) -> float:
    """Return Σx² of a tensor whose squares overflow or underflow float32. Waits for the device."""
    return float(sum(float(part.double().square().sum()) for part in _parts(tensor, 1 << 20)))


def _total_of_squares(gradients: list[Tensor]) -> Tensor:
    squares: list[Tensor] = []
    for gradient in gradients:
        dtype = torch.float64 if gradient.dtype == torch.float64 else torch.float32
        squares += _squares(
            torch.view_as_real(gradient) if gradient.is_complex() else gradient, dtype
        )
    return torch.stack(squares).sum(dtype=torch.float64)


def _squares(tensor: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """0-dim tensors that add up to Σx²."""
    if tensor.device.type == "cpu":
        parts = _parts(tensor, _PART)
        if tensor.dtype != dtype:
            return [torch.linalg.vector_norm(part, dtype=dtype).square() for part in parts]
        return [torch.dot(part, part) for part in parts]
    # A device adds up in a tree of threads, so that it needs no parts.
    return [torch.linalg.vector_norm(tensor, dtype=dtype).square()]


def _sums(lists: list[list[Tensor]]) -> Tensor:
    if all(len(parts) == 1 for parts in lists):
        return torch.stack([parts[0] for parts in lists]).double()
    return torch.stack([torch.stack(parts).sum(dtype=torch.float64) for parts in lists])


def _parts(tensor: Tensor, size: int) -> Sequence[Tensor]:
    flat = flat_view(tensor)
    if flat is None:
        flat = tensor.reshape(-1)
    return (flat,) if flat.numel() <= size else flat.split(size)
