"""The table of tensors that a kernel processes: addresses, types, sizes and coefficients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ...memory.to_host import to_device
from ...optimizer_state.parameter_state import Source
from ...read.memory_order import has_no_gaps
from ...read.panel import Panel
from ..tensors import Sources
from . import kernel_layout
from .sampled_parts import SampledParts

KINDS = {
    torch.float32: kernel_layout.FLOAT32,
    torch.bfloat16: kernel_layout.BFLOAT16,
    torch.float16: kernel_layout.FLOAT16,
}


class UnfitError(Exception):
    """A step that the kernel cannot process."""


class TensorTable:
    """Where the tensors of some parameters are, and how they are divided into chunks.

    Attributes:
        parameters: Number of parameters.
        device: Device of their tensors.
        chunks: Number of chunks of the elements read.
        first_chunks: Index of each parameter's first chunk, int64 ``[parameters]``.
        chunk_elements: Number of elements of each chunk, int64 ``[chunks]``.
        chunk_parameter: Index of each chunk's parameter, int32 ``[chunks]``, on the device.
        padding: Number of zeros read past the end of each parameter's chunks by their last tiles.
        rows: Size of the first dimension of each parameter with two or more dimensions; else 0.
        numbers: The coefficients, float32 ``[len(NUMBERS), parameters]``.
        elements: Number of elements read of each parameter, int64 ``[parameters]``.
        sampled: The parameters that are read in part, line by line.
    """

    def __init__(self, parameters: Sequence[Tensor], panel: Panel) -> None:
        """Lay out the chunks.

        Args:
            parameters: Parameters on one device.
            panel: The elements that are read.
        """
        self.parameters = len(parameters)
        self._shapes = [parameter.shape for parameter in parameters]
        self.device = parameters[0].device
        # Strides of a tensor that can be read in memory order.
        self._strides = [
            p.stride() if has_no_gaps(p) else torch.empty(p.shape, device="meta").stride()
            for p in parameters
        ]
        self.elements = panel.elements_read
        chunks = np.maximum(1, -(-self.elements // kernel_layout.CHUNK))
        self.first_chunks = np.cumsum(chunks) - chunks
        self.chunks = int(chunks.sum())
        owners = np.repeat(np.arange(len(parameters), dtype=np.int32), chunks)
        self.chunk_parameter = to_device(owners, self.device)
        position = np.arange(self.chunks) - self.first_chunks[owners]
        left = self.elements[owners] - position * kernel_layout.CHUNK
        self.chunk_elements = np.clip(left, 0, kernel_layout.CHUNK)
        self.padding = np.add.reduceat(-self.chunk_elements % kernel_layout.TILE, self.first_chunks)
        has_rows = [p.dim() > 1 and p.numel() > 0 for p in parameters]
        rows = [len(p) if has else 0 for p, has in zip(parameters, has_rows, strict=True)]
        self.rows = np.array(rows, np.int64)
        self._table = np.zeros((len(kernel_layout.TABLE), len(parameters)), np.int64)
        self.numbers = np.zeros((len(kernel_layout.NUMBERS), len(parameters)), np.float32)
        strides = [s[0] if has else 1 for s, has in zip(self._strides, has_rows, strict=True)]
        self.row("elements")[:] = self.elements
        self.row("first_chunk")[:] = self.first_chunks
        self.row("rows")[:] = self.rows
        self.row("first_row")[:] = np.cumsum(self.rows) - self.rows
        self.row("row_stride")[:] = strides
        self.sampled = SampledParts(panel, self.device)
        self.row("first_line")[:] = self.sampled.first_lines
        self.row("first_square")[:] = self.sampled.first_squares
        self.row("whole")[:] = panel.elements
        self.row("first_whole_chunk")[panel.sampled] = self.sampled.first_chunks
        self._memory: dict[tuple[str, int], Tensor] = {}

    def row(self, name: str) -> npt.NDArray[np.int64]:
        """Return a row of the table, ``[parameters]``; values written to it will be sent."""
        row: npt.NDArray[np.int64] = self._table[kernel_layout.TABLE.index(name)]
        return row

    def clear(self) -> None:
        """Forget all tensors."""
        self._table[: kernel_layout.TABLE.index("elements")] = 0

    def place(self, name: str, sources: Sources) -> list[Tensor | None]:
        """Put the addresses of some tensors into the table; return the tensors at these addresses.

        Raises:
            UnfitError: If a tensor cannot be read by address.
        """
        tensors = [
            None if source is None else self._in_order(name, i, source)
            for i, source in enumerate(sources)
        ]
        self.row(name)[:] = [0 if tensor is None else tensor.data_ptr() for tensor in tensors]
        if f"{name}_kind" in kernel_layout.TABLE:
            kinds = [0 if tensor is None else KINDS[tensor.dtype] for tensor in tensors]
            self.row(f"{name}_kind")[:] = kinds
        return tensors

    def place_counts(self, counts: Sequence[Tensor | float]) -> None:
        """Put the addresses of step counts that are on the device into the table."""
        self.row("step")[:] = [self._address_of_count(count) for count in counts]

    def place_addresses(self, name: str, addresses: npt.NDArray[np.int64]) -> None:
        """Put known addresses into the table, 0 for none."""
        self.row(name)[:] = addresses

    def is_aligned(self, *names: str) -> bool:
        """Whether four neighbours of each sampled parameter can be read at a time."""
        sampled = self.sampled.indices
        return not (self.row("whole")[sampled] % 4).any() and not any(
            (self.row(name)[sampled] % 16).any() for name in names
        )

    def _memory_for(self, name: str, index: int, like: Tensor) -> Tensor:
        """Return memory for a tensor's elements, reused at every step."""
        memory = self._memory.get((name, index))
        if memory is None or memory.dtype != like.dtype:
            memory = torch.empty_strided(
                like.shape, self._strides[index], dtype=like.dtype, device=self.device
            )
            self._memory[name, index] = memory
        return memory

    def kind(self, name: str) -> int:
        """Return the type of all tensors of a name, or that they differ."""
        kinds = set(self.row(f"{name}_kind")[self.row(name) != 0].tolist())
        if len(kinds) > 1:
            return kernel_layout.MIXED
        kind: int = kinds.pop() if kinds else kernel_layout.FLOAT32
        return kind

    def send(self) -> tuple[Tensor, Tensor]:
        """Send the table and the numbers to the device, as one copy."""
        packed = np.concatenate(
            [self._table.view(np.uint8).reshape(-1), self.numbers.view(np.uint8).reshape(-1)]
        )
        sent = to_device(packed, self.device)
        end = self._table.nbytes
        return sent[:end].view(torch.int64), sent[end:].view(torch.float32)

    def _in_order(self, name: str, index: int, source: Source) -> Tensor:
        """Return a tensor whose elements are in the order in which its parameter is read."""
        if not isinstance(source, Tensor) or type(source) not in (Tensor, nn.Parameter):
            raise UnfitError("a tensor is made on demand, or of a class of its own")
        if source.layout != torch.strided or source.dtype not in KINDS:
            raise UnfitError(f"a tensor is {source.layout} of {source.dtype}")
        if source.device != self.device or source.shape != self._shapes[index]:
            raise UnfitError("a tensor is not where its parameter is, or of another shape")
        if source.stride() == self._strides[index]:
            return source
        if self.row("first_line")[index] >= 0:  # a copy would be as large as the tensor
            raise UnfitError("a tensor that is sampled lies otherwise in memory than its weight")
        return self._memory_for(f"{name} in order", index, source).copy_(source)

    def _address_of_count(self, count: Tensor | float) -> int:
        if not is_on_device(count):
            return 0
        assert isinstance(count, Tensor)
        if count.dtype != torch.float32 or count.numel() != 1 or count.device != self.device:
            raise UnfitError("steps are counted on another device, or not in float32")
        return count.data_ptr()


def is_on_device(number: object) -> bool:
    """Whether reading a number would wait for a device."""
    return isinstance(number, Tensor) and number.device.type != "cpu"
