"""Who records what: which parameters this process has, and with which others it records.

If each process has all parameters (DistributedDataParallel), one of them records and the others do
nothing. If they have parts of the same parameters, each measures its part, and the first one writes
the combined result. If each has its own parameters (pipeline stages), each writes a part of the
run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from tb_adam_plugin import schema

from ..shards.dtensor_shards import DTensorShard
from ..shards.flat_shards import flat_shards
from ..shards.shards import Shard, WholeShard
from .ranks import Ranks

Groups = Sequence[Mapping[str, Any]]

_ZERO_REDUNDANCY = "torch.distributed.optim.zero_redundancy_optimizer.ZeroRedundancyOptimizer"


@dataclass(frozen=True)
class Placement:
    """This process's role in recording.

    Attributes:
        folder: Where it writes, relative to the user's folder.
        is_silent: Whether another process records everything that this one has.
        ranks: The processes that it records together with, or None.
        shard_of: Returns the part of a named parameter that is here; None if the parameters are
            whole.
        groups: The parameter groups of all processes, if the optimizer here has fewer.
        may_have_copies: Whether other processes may have copies of the same parameters, which
            :class:`Copies` can detect.
    """

    folder: str = schema.RUN_FOLDER
    is_silent: bool = False
    ranks: Ranks | None = None
    shard_of: Callable[[str, Tensor], Shard] | None = None
    groups: Groups | None = None
    may_have_copies: bool = False

    @property
    def writes(self) -> bool:
        """Whether this process writes to a file."""
        return not self.is_silent and (self.ranks is None or self.ranks.is_first)


class Copies:
    """Detects whether an earlier rank records the same parameters.

    This happens if a model is trained by DistributedDataParallel, but the callback got the module
    inside it. Each process leaves a note in the shared store, and waits for none.

    Attributes:
        is_first: Whether this is the first rank.
    """

    def __init__(self, parameters: Sequence[tuple[str, torch.Size]], where: str) -> None:
        """Leave a note.

        Args:
            parameters: Names and shapes.
            where: Where this process will write.
        """
        # Not public, but every rendezvous creates one.
        self._store = dist.distributed_c10d._get_default_store()
        key = schema.short_hash(repr((where, [(n, tuple(s)) for n, s in parameters])).encode())
        self._key = f"{schema.PLUGIN_NAME}/{key}/"
        self._rank = dist.get_rank()
        self.is_first = self._rank == 0
        self._store.set(f"{self._key}{self._rank}", "")

    def is_copy(self) -> bool:
        """Look for notes of earlier ranks.

        Called at a first step, once the gradients of all copies have been reduced.
        """
        return any(self._store.check([f"{self._key}{rank}"]) for rank in range(self._rank))


def is_alone() -> bool:
    """Whether this is the only process."""
    return not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1)


def find_placement(model: object, given: object, optimizer: Optimizer) -> Placement:
    """Find out what this process has to record. Takes part in no collective.

    Args:
        model: A module, or pairs of name and parameter.
        given: The optimizer as the user gave it.
        optimizer: The torch optimizer that takes the steps.

    Raises:
        ValueError: If the parameters are distributed in an unsupported way.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return Placement()
    rank = dist.get_rank()
    folder = schema.RUN_FOLDER if rank == 0 else f"{schema.PART_FOLDER}{rank}"
    groups = _groups_of_all(given)
    parameters = [p for group in groups or optimizer.param_groups for p in group["params"]]
    if not parameters:
        return Placement(folder)
    device = parameters[0].device
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    wrappers = [module for module in modules if _is_wrapper(module)]
    if groups is not None:
        here = {id(p) for group in optimizer.param_groups for p in group["params"]}
        ranks = Ranks([given.process_group], device)  # type: ignore[attr-defined]
        return Placement(
            folder, False, ranks, lambda _, p: WholeShard(p.shape, id(p) in here), groups
        )
    if any(hasattr(p, "device_mesh") for p in parameters):
        return _of_meshes(folder, parameters, device)
    if any(getattr(p, "_is_flat_param", False) for p in parameters):
        raise ValueError(
            "the parameters of FullyShardedDataParallel are flattened into one: pass "
            "use_orig_params=True, or use torch.distributed.fsdp.fully_shard"
        )
    if wrappers:
        wrapper: Any = wrappers[0]
        flat = flat_shards(modules)
        between: Any = getattr(wrapper, "_inter_node_pg", None)
        if between is not None and dist.get_rank(between) > 0:
            return Placement(folder, is_silent=True)
        if flat:
            ranks = Ranks([wrapper.process_group], device)
            first = ranks.is_first
            return Placement(
                folder, False, ranks, lambda _, p: flat.get(id(p)) or WholeShard(p.shape, first)
            )
        return Placement(folder, is_silent=dist.get_rank(wrapper.process_group) > 0)
    return Placement(folder, may_have_copies=True)


def _of_meshes(folder: str, parameters: Sequence[Any], device: torch.device) -> Placement:
    """All processes of all meshes record together."""
    meshes = {
        tuple(p.device_mesh.mesh.flatten().tolist()): p.device_mesh
        for p in parameters
        if hasattr(p, "device_mesh")
    }
    everyone = sorted(set().union(*meshes))
    if everyone == list(range(dist.get_world_size())):
        groups = [dist.group.WORLD]
    else:
        mesh = next((m for ranks, m in meshes.items() if sorted(ranks) == everyone), None)
        if mesh is None:
            raise ValueError(
                f"the parameters are on meshes of the ranks {', '.join(map(str, meshes))}: one of "
                "them must have all ranks, so that they can record together"
            )
        groups = [mesh.get_group(axis) for axis in range(mesh.ndim)]
    first = everyone[0]
    is_first = dist.get_rank() == first

    def shard_of(name: str, parameter: Any) -> Shard:
        if hasattr(parameter, "device_mesh"):
            return DTensorShard(name, parameter, first)
        return WholeShard(parameter.shape, is_first)

    return Placement(folder, False, Ranks(groups, device), shard_of)


def _groups_of_all(given: Any) -> Groups | None:
    """Return the groups of a ZeroRedundancyOptimizer, which distributes them over processes.

    Raises:
        ValueError: If it takes its steps while gradients are still being computed.
    """
    names = [f"{base.__module__}.{base.__qualname__}" for base in type(given).__mro__]
    if _ZERO_REDUNDANCY not in names:
        return None
    if getattr(given, "_overlap_with_ddp", False):
        raise ValueError(
            "ZeroRedundancyOptimizer with overlap_with_ddp=True takes its steps parameter by "
            "parameter, which cannot be recorded: leave that flag out"
        )
    groups: Groups = given.param_groups
    return groups


def _is_wrapper(module: nn.Module) -> bool:
    """Whether a module distributes its parameters, or copies of them, over processes."""
    is_fsdp = any(base.__name__ == "FullyShardedDataParallel" for base in type(module).__mro__)
    return is_fsdp or isinstance(module, nn.parallel.DistributedDataParallel)
