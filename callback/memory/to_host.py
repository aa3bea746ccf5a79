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
    torch.bool: np.bool_,
}


def to_host(tensors: Sequence[Tensor]) -> list[npt.NDArray[Any]]:
    """Return tensors as arrays, those that are on a device by a single copy.

    Args:
        tensors: float32, float64, int32, int64 or bool, all on one device or on the CPU.

    Returns:
        An array for each, of its shape and dtype. On the CPU it shares the tensor's memory.
    """
    sent = [tensor for tensor in tensors if tensor.device.type != "cpu"]
    if not sent:
        return [tensor.numpy() for tensor in tensors]
    packed = torch.cat([tensor.contiguous().view(-1).view(torch.uint8) for tensor in sent])
    memory = copy_to_host(packed)
    arrays, at = [], 0
    for tensor in tensors:
        if tensor.device.type == "cpu":
            arrays.append(tensor.numpy())
            continue
        size = tensor.numel() * tensor.element_size()
        part = memory[at : at + size].copy()  # aligned, unlike the slice
        arrays.append(part.view(_NUMPY[tensor.dtype]).reshape(tensor.shape))
        at += size
    return arrays


def copy_to_host(packed: Tensor) -> npt.NDArray[Any]:
    """Return a tensor of a device as an array, and wait for this copy alone.

    From CUDA through memory that does not move, so that no other copy is made on the way; from any
    other device by a copy that waits by itself.
    """
    memory, arrived = send_to_host(packed)
    if arrived is not None:
        arrived.synchronize()
    return memory.numpy()


def send_to_host(tensor: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
    """Copy a tensor to the host without waiting for the device, where that is possible.

    Args:
        tensor: On any device.

    Returns:
        The copy, and what to wait for before it is read: None where it has arrived, as it has from
        every device but CUDA. A tensor of the CPU is returned as it is.
    """
    if not tensor.is_cuda:
        return tensor.cpu(), None
    memory = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu", pin_memory=True)
    memory.copy_(tensor, non_blocking=True)
    arrived = torch.cuda.Event()
    # Of the tensor's device, which need not be the current one.
    arrived.record(torch.cuda.current_stream(tensor.device))
    return memory, arrived


class Copy:
    """A tensor on its way to the host."""

    def __init__(self, tensor: Tensor) -> None:
        """Start the copy; as :func:`send_to_host`."""
        self._memory, self._arrived = send_to_host(tensor)

    def array(self) -> npt.NDArray[Any]:
        """Return it as an array, and wait for it alone where it has not arrived."""
        if self._arrived is not None:
            self._arrived.synchronize()
            self._arrived = None
        return self._memory.numpy()


def to_device(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    """Return an array as a tensor of a device, without waiting for what runs there."""
    return on_device(torch.from_numpy(array), device)


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device, without waiting for what runs there if that is CUDA.

    Args:
        tensor: On the CPU, or on a device that may be another one.
        device: Where it is wanted.
    """
    if tensor.device.type != "cpu" or device.type == "cpu":
        return tensor.to(device)
    if device.type != "cuda":
        return tensor.to(device)
    # The memory is handed out again only when the copy has been made.
    return tensor.pin_memory().to(device, non_blocking=True)
