"""Parts of DTensor parameters, as created by fully_shard and tensor parallelism."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tb_adam_plugin.arrays import Flags, Int64s

from ..read.memory_order import has_no_gaps
from .shards import Shard, nonzero_rows


class DTensorShard(Shard):
    """A part of a DTensor: ``fully_shard``, tensor parallelism, both, and with replicas."""

    def __init__(self, name: str, parameter: Any, first_rank: int) -> None:
        """Find out which elements are here.

        Args:
            name: Name of the parameter, for messages.
            parameter: A DTensor.
            first_rank: The lowest rank of all participating processes: if several meshes have the
                parameter, only this rank's mesh counts.

        Raises:
            ValueError: If the parameter's sharding is not supported.
        """
        self.shape = parameter.shape
        self._placements = tuple(parameter.placements)
        mesh = parameter.device_mesh
        coordinate = mesh.get_coordinate()
        by_dimension: list[list[tuple[Any, int, int]]] = [[] for _ in self.shape]
        counts = coordinate is not None and first_rank in mesh.mesh.flatten().tolist()
        for axis, placement in enumerate(self._placements):
            at = 0 if coordinate is None else coordinate[axis]
            if placement.is_replicate():
                counts &= at == 0
            elif (dimension := getattr(placement, "dim", None)) is None:
                raise ValueError(
                    f"parameter {name} has the placement {placement}, which is not supported: "
                    "pass an optimizer of parameters that are sharded or replicated"
                )
            else:
                by_dimension[dimension].append((placement, mesh.size(axis), at))
        self._indices = [
            _cut(size, cuts) for size, cuts in zip(self.shape, by_dimension, strict=True)
        ]
        with torch.no_grad():
            part = parameter.to_local()
        expected = tuple(map(len, self._indices))
        if tuple(part.shape) != expected:
            raise ValueError(
                f"parameter {name} is sharded in an unsupported way: "
                f"{self._placements} of {tuple(self.shape)} should leave {expected} on this rank, "
                f"which has {tuple(part.shape)}"
            )
        self.is_here = bool(counts) and part.numel() > 0
        self.cuts_rows = any(size > 1 for cuts in by_dimension[1:] for _, size, _ in cuts)
        self._order = sorted(range(len(self.shape)), key=lambda d: -parameter.stride()[d])

    @property
    def rows_here(self) -> int:
        """See :class:`Shard`."""
        return len(self._indices[0]) if self.is_here and len(self.shape) > 1 else 0

    def is_partial(self, gradient: Any) -> bool:
        """Whether a gradient's placement differs from its parameter's, e.g. is not yet reduced."""
        return tuple(gradient.placements) != self._placements

    def redistributed(self, gradient: Any) -> Tensor:
        """Return a gradient with its parameter's placement. All of the mesh must call it."""
        placed: Tensor = gradient.redistribute(placements=self._placements)
        return placed

    @torch.no_grad()
    def _local(self, tensor: Any) -> Tensor:
        part = tensor.to_local()
        # The result of a redistribution may not have arrived yet.
        arrived: Tensor = part.wait() if hasattr(part, "wait") else part
        return arrived

    def _fits(self, source: Any) -> bool:
        return (
            hasattr(source, "placements")
            and tuple(source.placements) == self._placements
            and source.shape == self.shape
        )

    def _find(self, elements: Int64s, part: Tensor) -> Int64s:
        sizes = [self.shape[d] for d in self._order]
        coordinates = dict(zip(self._order, np.unravel_index(elements, sizes), strict=True))
        strides = part.stride()
        if not has_no_gaps(part):  # then it is read in the order of its indices
            strides = torch.empty(part.shape, device="meta").stride()
        at = np.zeros(len(elements), np.int64)
        found = np.ones(len(elements), bool)
        for d, indices in enumerate(self._indices):
            place = np.full(self.shape[d], -1, np.int64)
            place[indices] = np.arange(len(indices))
            here = place[coordinates[d]]
            found &= here >= 0
            at += here * strides[d]
        return np.where(found, at, -1)

    def _mark_rows(self, gradient: Tensor, alive: Flags) -> None:
        alive[self._indices[0]] = nonzero_rows(gradient)


def _cut(size: int, cuts: Sequence[tuple[Any, int, int]]) -> Int64s:
    """Return the indices along one dimension that are here.

    Args:
        size: Size of the dimension.
        cuts: Placement, number of parts, and index of the part here, in the order of the mesh.
    """
    indices = torch.arange(size, device="cpu")
    for placement, parts, at in cuts:
        # If another mesh axis has already split it: one part of each of those pieces.
        pieces = indices.chunk(getattr(placement, "split_factor", 1))
        taken = [chunks[at] for p in pieces if at < len(chunks := p.chunk(parts))]
        indices = torch.cat(taken) if taken else indices[:0]
    return indices.numpy()
