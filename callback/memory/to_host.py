"""The one copy from the device to the host, and a small one in the other direction."""

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
    """Return tensors as arrays, copying those on a device at once.

    Args:
        tensors: float32, float64, int32, int64 or bool, all on one device or on the CPU.

    Returns:
        An array for each, with its shape and dtype. On the CPU it shares the tensor's memory.
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
    """Return a tensor on a device as an array, waiting only for this copy.

    From CUDA through pinned memory, to avoid an intermediate copy; from any other device by a
    synchronous copy.
    """
    memory, arrived = send_to_host(packed)
    if arrived is not None:
        arrived.synchronize()
    return memory.numpy()


def send_to_host(tensor: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
    """Copy a tensor to the host without waiting for the device, if possible.

    Args:
        tensor: On any device.

    Returns:
        The copy, and the event to wait for before reading it: None if it has arrived, as from every
        device but CUDA. A CPU tensor is returned unchanged.
    """
    if not tensor.is_cuda:
        return tensor.cpu(), None
    memory = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu", pin_memory=True)
    memory.copy_(tensor, non_blocking=True)
    arrived = torch.cuda.Event()
    # Of the tensor's device, which may not be the current one.
    arrived.record(torch.cuda.current_stream(tensor.device))
    return memory, arrived


class Copy:
    """A tensor on its way to the host."""

    def __init__(self, tensor: Tensor) -> None:
        """Start the copy; see :func:`send_to_host`."""
        self._memory, self._arrived = send_to_host(tensor)

    def array(self) -> npt.NDArray[Any]:
        """Return it as an array, waiting only for this copy if it has not arrived."""
        if self._arrived is not None:
            self._arrived.synchronize()
            self._arrived = None
        return self._memory.numpy()


def to_device(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    """Return an array as a tensor on a device, without waiting for the device."""
    return on_device(torch.from_numpy(array), device)


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device, without waiting for the device if it is CUDA.

    Args:
        tensor: On the CPU, or on any device.
        device: The target device.
    """
    if tensor.device.type != "cpu" or device.type == "cpu":
        return tensor.to(device)
    if device.type != "cuda":
        return tensor.to(device)
    # The memory is only reused after the copy is complete.
    return tensor.pin_memory().to(device, non_blocking=True)
