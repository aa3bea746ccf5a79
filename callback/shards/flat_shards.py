"""Parts of parameters in a flat parameter, as created by FullyShardedDataParallel."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from tb_adam_plugin.arrays import Flags, Int64s

from .shards import Shard, nonzero_rows


class FlatShard(Shard):
    """Consecutive elements of a parameter: FullyShardedDataParallel with ``use_orig_params``."""

    def __init__(self, shape: torch.Size, start: int, count: int) -> None:
        """Set which elements are here.

        Args:
            shape: Shape of the whole parameter.
            start: Index of the first element, in the order of the indices.
            count: Number of elements.
        """
        self.shape = shape
        self.is_here = count > 0
        self.cuts_rows = len(shape) > 1
        self._start = start
        self._count = count

    def _local(self, tensor: Tensor) -> Tensor:
        return tensor

    def _find(self, elements: Int64s, part: Tensor) -> Int64s:
        at = elements - self._start
        return np.where((at >= 0) & (at < self._count), at, -1)

    def _mark_rows(self, gradient: Tensor, alive: Flags) -> None:
        length = self.elements // self.shape[0]
        first, before = divmod(self._start, length)
        after = -(before + self._count) % length
        rows = nn.functional.pad(gradient, (before, after)).view(-1, length)
        alive[first : first + len(rows)] = nonzero_rows(rows)


def flat_shards(modules: Iterable[nn.Module]) -> dict[int, FlatShard]:
    """Return the shards of FullyShardedDataParallel modules by the id of the parameter.

    Only modules with ``use_orig_params=True`` have individual parameters for an optimizer;
    torch/distributed/fsdp/_flat_param.py defines which elements they are.
    """
    found: dict[int, FlatShard] = {}
    for module in modules:
        flat = getattr(getattr(module, "_handle", None), "flat_param", None)
        infos = getattr(flat, "_shard_param_infos", None)
        if flat is None or infos is None or getattr(flat, "_params", None) is None:
            continue
        for parameter, shape, info in zip(flat._params, flat._shapes, infos, strict=True):
            start = info.intra_param_start_idx if info.in_shard else 0
            count = info.numel_in_shard if info.in_shard else 0
            found[id(parameter)] = FlatShard(torch.Size(shape), start, count)
    return found
