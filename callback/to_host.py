"""The one copy from the device to the host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_NUMPY = {
    torch.float32: np.float32,
    torch.float64: np.float64,
    torch.int32: np.int32,
    torch.int64: np.int64,
}


def to_host(tensors: Sequence[Tensor]) -> list[npt.NDArray[Any]]:
    """Return tensors as arrays, by a single copy where they are on a device.

    Args:
        tensors: float32, float64, int32 or int64, all on one device.

    Returns:
        An array for each, of its shape and dtype. On the CPU it shares the tensor's memory.
    """
    if not tensors or tensors[0].device.type == "cpu":
        return [tensor.numpy() for tensor in tensors]
    packed = torch.cat([tensor.contiguous().view(-1).view(torch.uint8) for tensor in tensors])
    memory = packed.cpu().numpy()
    arrays, at = [], 0
    for tensor in tensors:
        size = tensor.numel() * tensor.element_size()
        part = memory[at : at + size].copy()  # aligned, unlike the slice
        arrays.append(part.view(_NUMPY[tensor.dtype]).reshape(tensor.shape))
        at += size
    return arrays
