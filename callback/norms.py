"""Sums over all elements of tensors, exact enough at any size.

On the CPU one float32 accumulator drifts: the norm of 4 million equal values comes out 1e-3 too
large. So long tensors are added up in parts, and the parts in float64. The error of a part is below
1e-5.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

_PART = 1 << 18


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


def sum_of_squares(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return Σx² of a tensor.

    Args:
        tensor: Strided, floating point.
        dtype: In which values are squared: float32, or float64 for a float64 tensor.

    Returns:
        0-dim float64 on the tensor's device. Not finite where an element is not, or where a square
        is too large for ``dtype``.
    """
    return _squares(_in_parts([tensor]), dtype).sum()


def plain_sum(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return Σx of a tensor; arguments and result as of :func:`sum_of_squares`."""
    # torch.sum adds pairwise, so that it needs no parts.
    return torch.sum(tensor, dtype=dtype).double()


def gradient_norm(parameters: Iterable[Tensor]) -> Tensor | None:
    """Return the L2 norm of all gradients as a 0-dim float64 tensor; None without gradients.

    Launches work on the device and waits for none of it. Gradients on several devices are added up
    on the first one's.
    """
    kinds: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for parameter in parameters:
        gradient = parameter.grad
        if gradient is not None:
            kinds.setdefault((gradient.device, gradient.dtype), []).append(gradient)
    totals = [_total_of_squares(gradients) for gradients in kinds.values()]
    if not totals:
        return None
    return torch.stack([total.to(totals[0].device) for total in totals]).sum().sqrt()


def count_nonfinite(tensor: Tensor) -> int:
    """Count the elements that are NaN or infinite. Waits for the device."""
    return sum(int((~torch.isfinite(part)).sum()) for part in _parts(tensor))


def sum_of_squares_in_double(tensor: Tensor) -> float:
    """Return Σx² of a tensor whose squares leave the range of float32. Waits for the device."""
    return sum(float(part.double().square().sum()) for part in _parts(tensor))


def _total_of_squares(gradients: list[Tensor]) -> Tensor:
    first = gradients[0]
    if any(gradient.is_sparse for gradient in gradients):
        gradients = [g.coalesce().values() if g.is_sparse else g for g in gradients]
    if first.is_complex():
        gradients = [torch.view_as_real(gradient) for gradient in gradients]
    double = first.dtype in (torch.float64, torch.complex128)
    return _squares(_in_parts(gradients), torch.float64 if double else torch.float32).sum()


def _squares(parts: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    return torch.stack(torch._foreach_norm(parts, 2.0, dtype=dtype)).double().square_()


def _in_parts(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """Cut up what is too long to be added up at once."""
    # A device adds up in a tree of threads, so that it needs no parts.
    if tensors[0].device.type != "cpu" or all(t.numel() <= _PART for t in tensors):
        return tensors
    return [part for tensor in tensors for part in _parts(tensor)]


def _parts(tensor: Tensor) -> Sequence[Tensor]:
    if tensor.numel() <= _PART:
        return (tensor,)
    flat = flat_view(tensor)
    return (tensor.reshape(-1) if flat is None else flat).split(_PART)
