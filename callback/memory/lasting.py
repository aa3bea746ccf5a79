"""Memory that lasts from record to record, separate from what training allocates.

Allocators put large tensors into free gaps. A buffer of ours among them would stay while they come
and go, and later tensors would no longer fit into the gaps: the process would grow by more than the
buffer. So on the CPU, buffers are mapped; pages that are never written to take no memory.
"""

from __future__ import annotations

import math
import mmap
import sys
from collections.abc import Sequence

import torch
from torch import Tensor

_LEAST_BYTES = 1 << 16  # smaller gaps do no harm


def zeros(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a tensor of zeros in lasting memory.

    Args:
        shape: Its sizes.
        dtype: Its type.
        device: Its device.
    """
    count = math.prod(shape)
    size = count * dtype.itemsize
    if device.type != "cpu" or size < _LEAST_BYTES:
        return torch.zeros(tuple(shape), dtype=dtype, device=device)
    try:
        memory = _mapped(size)
    except OSError:  # the allocator has a clearer error, or room
        return torch.zeros(tuple(shape), dtype=dtype, device=device)
    return torch.frombuffer(memory, dtype=dtype, count=count).view(tuple(shape))


def _mapped(size: int) -> mmap.mmap:
    if sys.platform == "win32":
        return mmap.mmap(-1, size)
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
