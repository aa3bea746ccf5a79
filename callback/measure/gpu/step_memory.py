"""Device memory for one step: copies made before it, and the kernels' results."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..sampling_error import SQUARES
from . import kernel_layout

Array = npt.NDArray[Any]

_BYTES_AT_ONCE = 16  # alignment of what a thread reads at a time
_NUMPY = {torch.float32: np.float32, torch.int32: np.int32, torch.uint8: np.uint8}


class KeptElements:
    """The elements read of some tensors before a step: one allocation, freed after the step."""

    def __init__(self, elements: npt.NDArray[np.int64], device: torch.device) -> None:
        """Keep nothing yet.

        Args:
            elements: Number of elements read of each parameter, ``[parameters]``.
            device: Device of the tensors.
        """
        self._elements = elements
        self._device = device
        self._memory: Tensor | None = None
        self._dtypes: dict[str, list[torch.dtype | None]] = {}
        self._offsets: dict[str, npt.NDArray[np.int64]] = {}

    def begin(self, like: Mapping[str, Sequence[Tensor | None]]) -> None:
        """Make room for the elements of tensors.

        Args:
            like: The tensors, by name, one per parameter.
        """
        self._dtypes = {
            name: [None if tensor is None else tensor.dtype for tensor in tensors]
            for name, tensors in like.items()
        }
        self._offsets, size = {}, 0
        for name, dtypes in self._dtypes.items():
            widths = np.array([0 if dtype is None else dtype.itemsize for dtype in dtypes])
            sizes = -(-self._elements * widths // _BYTES_AT_ONCE) * _BYTES_AT_ONCE
            ends = np.cumsum(sizes)
            self._offsets[name] = size + ends - sizes
            size += int(ends[-1])
        self._memory = None  # free the previous memory first
        self._memory = torch.empty(size, dtype=torch.uint8, device=self._device)

    def addresses(self, name: str) -> npt.NDArray[np.int64]:
        """Return the address of each tensor's elements, int64 ``[parameters]``; 0 for none."""
        assert self._memory is not None
        there = np.array([dtype is not None for dtype in self._dtypes[name]])
        return np.where(there, self._memory.data_ptr() + self._offsets[name], 0)

    def dtypes(self, name: str) -> Sequence[torch.dtype | None]:
        """Return the types of the kept tensors; empty if none were kept."""
        return self._dtypes.get(name, ())

    def elements(self, name: str) -> list[Tensor | None]:
        """Return the elements kept of each tensor, 1-D."""
        assert self._memory is not None
        return [
            None
            if dtype is None
            else self._memory[start : start + count * dtype.itemsize].view(dtype)
            for dtype, start, count in zip(
                self._dtypes[name],
                self._offsets[name].tolist(),
                self._elements.tolist(),
                strict=True,
            )
        ]

    def free(self) -> None:
        """Free the memory."""
        self._memory = None


class Results:
    """The kernels' results of a step, contiguous, so one copy brings them to the host.

    Sums over all elements come first, because some are computed before the step; histograms last,
    because not every record has them.
    """

    def __init__(
        self, parameters: int, chunks: int, whole_chunks: int, squares: int, rows: int, counts: int
    ) -> None:
        """Lay out the results.

        Args:
            parameters: Number of parameters.
            chunks: Number of chunks of the elements read.
            whole_chunks: Number of chunks of all elements of sampled parameters.
            squares: Number of rows whose sums of squares are wanted.
            rows: Number of rows along the first dimension, of all parameters.
            counts: Number of quantities that have histograms.
        """
        self._parts: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {
            "totals": (torch.float32, (len(kernel_layout.TOTALS), whole_chunks)),
            "values": (torch.float32, (kernel_layout.VALUES, chunks)),
            "steps": (torch.float32, (parameters,)),
            "squares": (torch.float32, (squares, len(SQUARES))),
            "alive": (torch.uint8, (rows,)),
            "counts": (torch.int32, (counts, parameters, kernel_layout.COUNTS)),
        }
        sizes = [math.prod(shape) * dtype.itemsize for dtype, shape in self._parts.values()]
        ends = list(itertools.accumulate((-(-size // 16) * 16 for size in sizes), initial=0))
        self._places = dict(zip(self._parts, zip(ends, sizes, strict=False), strict=True))
        self._size = ends[-1]
        self._memory: Tensor | None = None

    def on_device(self, device: torch.device) -> dict[str, Tensor]:
        """Return the parts by name, 1-D, in memory that lasts."""
        if self._memory is None:
            self._memory = torch.empty(self._size, dtype=torch.uint8, device=device)
        return {
            name: self._memory[start : start + size].view(self._parts[name][0])
            for name, (start, size) in self._places.items()
        }

    def clear(self) -> None:
        """Set everything except the sums over all elements to 0."""
        assert self._memory is not None
        self._memory[self._places["values"][0] :].zero_()

    def packed(self, with_histograms: bool) -> Tensor:
        """Return the bytes to copy to the host."""
        assert self._memory is not None
        return self._memory[: None if with_histograms else self._places["counts"][0]]

    def arrays(self, arrived: Array) -> dict[str, Array]:
        """Return the parts of a copy of :meth:`packed`, by name; "counts" only with histograms.

        Args:
            arrived: Bytes on the host.
        """
        found = {}
        for name, (start, size) in self._places.items():
            if start + size <= len(arrived):
                dtype, shape = self._parts[name]
                found[name] = arrived[start : start + size].view(_NUMPY[dtype]).reshape(shape)
        return found
