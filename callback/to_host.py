"""The one copy from the device to the host, and a small one the other way."""

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
    memory = copy_to_host(packed)
    arrays, at = [], 0
    for tensor in tensors:
        size = tensor.numel() * tensor.element_size()
        part = memory[at : at + size].copy()  # aligned, unlike the slice
        arrays.append(part.view(_NUMPY[tensor.dtype]).reshape(tensor.shape))
        at += size
    return arrays


def copy_to_host(packed: Tensor) -> npt.NDArray[Any]:
    """Return a tensor of a device as an array, and wait for this copy alone.

    Through memory that does not move, so that no other copy is made on the way.
    """
    memory = torch.empty(packed.shape, dtype=packed.dtype, pin_memory=packed.is_cuda)
    memory.copy_(packed, non_blocking=True)
    if packed.is_cuda:
        arrived = torch.cuda.Event()
        arrived.record(torch.cuda.current_stream(packed.device))
        arrived.synchronize()
    return memory.numpy()


def to_device(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    """Return an array as a tensor of a device, without waiting for what runs there."""
    tensor = torch.from_numpy(array)
    # The memory is handed out again only when the copy has been made.
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
