"""Norms over all elements of tensors, exact enough at any size.

On the CPU one float32 accumulator drifts: the norm of 4 million equal values comes out 1e-3 too
large. So long tensors are added up in rows, and the rows in float64. Rows are also what several
threads can share.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

_ROW = 1 << 15
_CHUNK = 1 << 20


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


def partial_sums(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return sums of the parts of a tensor that add up to Σx; else as :func:`partial_norms`."""
    # torch.sum adds pairwise, so that one part is exact enough.
    return torch.sum(tensor, dtype=dtype).view(1)


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
    return sum(int((~torch.isfinite(part)).sum()) for part in _chunks(tensor))


def sum_of_squares_in_double(tensor: Tensor) -> float:
    """Return Σx² of a tensor whose squares leave the range of float32. Waits for the device."""
    return sum(float(part.double().square().sum()) for part in _chunks(tensor))


def _total_of_squares(gradients: list[Tensor]) -> Tensor:
    first = gradients[0]
    if any(gradient.is_sparse for gradient in gradients):
        gradients = [g.coalesce().values() if g.is_sparse else g for g in gradients]
    if first.is_complex():
        gradients = [torch.view_as_real(gradient) for gradient in gradients]
    double = first.dtype in (torch.float64, torch.complex128)
    dtype = torch.float64 if double else torch.float32
    short, norms = gradients, []
    if first.device.type == "cpu":
        short = [g for g in gradients if g.numel() <= _ROW]
        norms = [partial_norms(g, dtype) for g in gradients if g.numel() > _ROW]
    if short:
        norms.append(torch.stack(torch._foreach_norm(short, 2.0, dtype=dtype)))
    return torch.cat(norms).double().square_().sum()


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
