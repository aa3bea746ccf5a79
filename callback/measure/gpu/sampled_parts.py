"""The parts of sampled parameters that the kernels read: their lines, and all chunks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from tb_adam_plugin.arrays import Float64s

from ...memory.to_host import to_device
from ...read.panel import Panel
from . import kernel_layout


class SampledParts:
    """The sampled parameters among ``K``.

    Attributes:
        indices: Their indices, ascending.
        lines: Indices of the lines that are read, parameter by parameter, int32, on the device.
        first_lines: Position in ``lines`` of each parameter's first line, int64 ``[K]``; -1 for a
            parameter that is read whole.
        rows: Number of rows of ``ROW`` elements read of all of them.
        first_squares: Where the squares of each parameter's rows go, int64 ``[K]``.
        chunks: Number of chunks of all their elements.
        first_chunks: Index of the first chunk of each of ``indices``, int64.
        chunk_parameter: Index of each chunk's parameter, int32 ``[chunks]``, on the device.
    """

    def __init__(self, panel: Panel, device: torch.device) -> None:
        """Lay out what is read.

        Args:
            panel: The elements read of the parameters.
            device: Device of the parameters.
        """
        self.indices = panel.sampled
        k = len(panel.elements)
        self.first_lines = np.full(k, -1, np.int64)
        lines = [of_one.numpy() for of_one in panel.lines if of_one is not None]
        self.first_lines[self.indices] = np.cumsum([0, *map(len, lines)])[:-1]
        # One extra: an empty tensor has no address.
        self.lines = to_device(np.concatenate([*lines, [0]]).astype(np.int32), device)
        counts = np.zeros(k, np.int64)
        ends = np.append(panel.first_rows[1:], panel.rows)
        counts[self.indices] = (ends - panel.first_rows)[self.indices]
        self.rows = int(counts.sum())
        self.first_squares = np.cumsum(counts) - counts
        chunks = -(-panel.elements[self.indices] // kernel_layout.WHOLE_CHUNK)
        self.chunks = int(chunks.sum())
        self.first_chunks = np.cumsum(chunks) - chunks
        owners = np.repeat(np.array(self.indices, np.int32), chunks)
        self.chunk_parameter = to_device(owners, device)

    def added_up(self, chunks: npt.NDArray[np.float32]) -> Float64s:
        """Sum up the chunks: return sums over all elements of each of :attr:`indices`."""
        if not self.chunks:
            return np.zeros(0)
        summed: Float64s = np.add.reduceat(chunks, self.first_chunks, dtype=np.float64)
        return summed
