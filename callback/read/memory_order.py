"""The order of a tensor's elements in memory, and whether it has memory."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable, Sequence

from torch import Tensor, nn

_PLAIN = (Tensor, nn.Parameter)  # others may keep their memory elsewhere


def has_no_gaps(tensor: Tensor) -> bool:
    """Whether a tensor's elements are adjacent in memory, in any order."""
    if tensor.is_contiguous():
        return True
    dense = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size != 1:
            if stride != dense:
                return False
            dense *= size
    return True


def flat_view(tensor: Tensor) -> Tensor | None:
    """Return all elements of a tensor in memory order, 1-D, or None if there are gaps."""
    if tensor.is_contiguous():
        return tensor.view(-1)
    return tensor.as_strided((tensor.numel(),), (1,)) if has_no_gaps(tensor) else None


def memory_order(parameter: Tensor) -> tuple[int, ...] | None:
    """Return the strides of a parameter without gaps in memory; None for any other."""
    return parameter.stride() if has_no_gaps(parameter) else None


def contiguous_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the strides of a tensor whose elements are in the order of their indices."""
    following = itertools.accumulate(
        (max(1, n) for n in reversed(shape[1:])), operator.mul, initial=1
    )
    return tuple(following)[::-1][: len(shape)]


def have_same_order(stride: Sequence[int], other: Sequence[int], shape: Sequence[int]) -> bool:
    """Whether tensors of the given strides have the same order; only sizes above 1 count."""
    return all(a == b for a, b, size in zip(stride, other, shape, strict=True) if size != 1)


def require_memory(tensors: Iterable[object]) -> None:
    """Check that tensors have the memory they refer to: torch would read it anyway.

    Args:
        tensors: Anything but plain tensors is ignored.

    Raises:
        RuntimeError: If a tensor's memory was freed, as by wrappers that gather it on demand.
    """
    found = [t for t in tensors if isinstance(t, Tensor) and type(t) in _PLAIN]
    try:
        addresses = [tensor.data_ptr() for tensor in found]
    except RuntimeError:  # no memory: a layout without strides, or a subclass
        return
    if 0 not in addresses:
        return
    for address, tensor in zip(addresses, found, strict=True):
        if not address and tensor.numel() and not tensor.is_meta:
            raise RuntimeError(
                f"the memory of a tensor of shape {tuple(tensor.shape)} was let go of"
            )
