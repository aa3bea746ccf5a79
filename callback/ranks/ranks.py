"""Training in several processes: who records, and how they record together.

Where each process has all parameters (DistributedDataParallel), one of them records and the others
do nothing. Where they have parts of the same parameters, each measures its part, and the first one
writes what they found together. Where each has parameters of its own (pipeline stages), each writes
a part of the run.

Processes that record together enter the same collectives whatever happens to one of them: at every
step one small sum, which also says what each is about to do and what has failed. Only where all of
them have measured a step do the sums of that step follow. What they decide they decide from this.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from tb_adam_plugin import schema

from ..memory.to_host import send_to_host, to_device
from ..read.norms import Squares
from ..shards.dtensor_shards import DTensorShard
from ..shards.flat_shards import flat_shards
from ..shards.shards import Shard, WholeShard
from ..write.step_rows import Scalar
from .shard_sums import Packed

Flags = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float64]
Groups = Sequence[Mapping[str, Any]]

# What a process says of a step, beside its gradients; the numbers are added up.
SAID = (
    "knows_step",  # whether it knows how many steps were taken
    "step",  # how many, if so
    "real_step",  # whether this one was a step of training
    "skipped",  # whether a gradient scaler left it out
    "recording",  # whether it is to be recorded
    "histograms",  # with histograms
    "measured",  # and has been
    "changed",  # whether the optimizer's state has other tensors than before
    "out_of_memory",  # what failed
    "records_failed",
    "norms_failed",
    "stopped",  # whether nothing can be recorded any more
    "stretch",  # of the interval between records; the first process says it
)  # fmt: skip
# On a device, what was said is looked at so many steps later, when it has arrived for long: at the
# same step in all processes, which an event that has arrived or not would not be.
_LOOKED_AT_AFTER = 4

_ZERO_REDUNDANCY = "torch.distributed.optim.zero_redundancy_optimizer.ZeroRedundancyOptimizer"


class Said(NamedTuple):
    """What all processes have said of one step.

    Attributes:
        serial: Counts what was said.
        number: Of the step, as this process counts.
        total: The numbers of :data:`SAID`, added up.
        squares: Σg² of each parameter of the optimizer, float64 ``[parameters]``.
        has_gradient: bool ``[parameters]``.
        failed: Which parameters could not be read somewhere, bool ``[parameters]``.
    """

    serial: int
    number: int
    total: Mapping[str, float]
    squares: Values
    has_gradient: Flags
    failed: Flags


class _OnItsWay(NamedTuple):
    serial: int
    number: int
    numbers: Tensor
    arrived: torch.cuda.Event | None


class Ranks:
    """The processes that have parts of the same parameters.

    Attributes:
        size: Their number.
        is_first: Whether this is the one that writes.
        delay: How many steps later at most what is said is heard.
        said: How often something was said.
        collectives: How many collective operations this process has entered.
        bytes: How many bytes it has given into them.
    """

    def __init__(self, groups: Sequence[Any], device: torch.device) -> None:
        """Take part.

        Args:
            groups: One process group, or one for each axis of a mesh.
            device: Of the parameters.
        """
        self._groups = groups
        self.size = int(np.prod([dist.get_world_size(group) for group in groups]))
        self.is_first = all(dist.get_rank(group) == 0 for group in groups)
        self._device = _device_of(groups[0], device)
        self._on_their_way: deque[_OnItsWay] = deque()
        self.delay = 0 if self._device.type == "cpu" else _LOOKED_AT_AFTER
        self.said = 0
        self.collectives = 0
        self.bytes = 0

    @property
    def has_heard_everything(self) -> bool:
        """Whether :meth:`heard` has returned all that was said."""
        return not self._on_their_way

    def say(
        self,
        number: int,
        said: Mapping[str, Scalar],
        squares: Squares,
        has_gradient: Sequence[bool],
        failed: Sequence[bool],
    ) -> tuple[Scalar, Tensor | None]:
        """Say what there is to say of a step. All processes must, at every step.

        What fails here cannot be told to the others.

        Args:
            number: Of the step.
            said: Numbers of :data:`SAID`; those left out are 0.
            squares: See :class:`Said`, of what is here.
            has_gradient: Likewise.
            failed: Likewise.

        Returns:
            The norm of all gradients; and, on a device, how many processes skipped the step.

        Raises:
            RuntimeError: If the processes cannot be reached any more.
        """
        if not dist.is_initialized():  # a group may work on for a while
            raise RuntimeError("the process group was destroyed")
        numbers = [said.get(name, 0.0) for name in SAID]
        on_host = np.array(
            [
                *(0.0 if isinstance(number, Tensor) else number for number in numbers),
                *(np.zeros(len(has_gradient)) if isinstance(squares, Tensor) else squares),
                *has_gradient,
                *failed,
            ],
            np.float64,
        )
        self.said += 1
        vector = self._to_device(on_host)
        first, end = len(SAID), len(SAID) + len(has_gradient)
        for i, scalar in enumerate(numbers):
            if isinstance(scalar, Tensor):
                vector[i] = scalar.reshape(())
        if isinstance(squares, Tensor):
            vector[first:end] = squares
        for group in self._groups:
            self._count(vector)
            dist.all_reduce(vector, group=group)
        norm = vector[first:end].sum().sqrt()
        norm = torch.where(vector[SAID.index("norms_failed")] > 0, torch.nan, norm)
        if vector.device.type == "cpu":
            self._on_their_way.append(_OnItsWay(self.said, number, vector, None))
            return float(norm), None
        memory, arrived = send_to_host(vector)
        self._on_their_way.append(_OnItsWay(self.said, number, memory, arrived))
        return norm, vector[SAID.index("skipped")]

    def heard(self, everything: bool) -> list[Said]:
        """Return what was said, each step once, in order.

        Args:
            everything: Whether to wait for the last step; else on a device for an older one.
        """
        heard = []
        while self._on_their_way:
            is_late = len(self._on_their_way) > self.delay
            if not (everything or is_late):
                break
            serial, number, numbers, arrived = self._on_their_way.popleft()
            if arrived is not None:
                arrived.synchronize()
            heard.append(_said(serial, number, numbers.numpy()))
        return heard

    def reduce(self, packed: Packed) -> Packed:
        """Add up what all have found of a step. All must have packed the same layout."""
        return Packed(
            self._reduce(packed.added, dist.ReduceOp.SUM),
            self._reduce(packed.largest, dist.ReduceOp.MAX),
        )

    def gather(self, value: Any) -> list[Any]:
        """Return what each process has given."""
        values = [value]
        for group in self._groups:
            found: list[Any] = [None] * dist.get_world_size(group)
            self.collectives += 1
            dist.all_gather_object(found, values, group=group)
            values = [value for part in found for value in part]
        return values

    def _reduce(self, array: Values, operation: Any) -> Values:
        values = self._to_device(array)
        for group in self._groups:
            self._count(values)
            # Only the first process needs it, but gloo's reduce takes longer.
            dist.all_reduce(values, op=operation, group=group)
        reduced: Values = values.cpu().numpy()
        return reduced

    def _to_device(self, array: Values) -> Tensor:
        return to_device(array, self._device)

    def _count(self, values: Tensor) -> None:
        self.collectives += 1
        self.bytes += values.numel() * values.element_size()


@dataclass(frozen=True)
class Place:
    """What this process does of recording.

    Attributes:
        folder: Where it writes, below the user's folder.
        is_silent: Whether another process records all that there is here.
        ranks: The processes that it records together with, or None.
        shard_of: Tells, by its name, what of a parameter is here; None where all is.
        groups: Those of all processes' parameters, where the optimizer's own are fewer.
        may_have_copies: Whether other processes may have copies of the same parameters, which
            :class:`Copies` can tell.
    """

    folder: str = schema.RUN_FOLDER
    is_silent: bool = False
    ranks: Ranks | None = None
    shard_of: Callable[[str, Tensor], Shard] | None = None
    groups: Groups | None = None
    may_have_copies: bool = False


class Copies:
    """Tells whether an earlier rank records the same parameters.

    As where a model is trained by DistributedDataParallel, but the callback got the module inside
    of it. Each process leaves a note in the store that all of them share, and waits for none.

    Attributes:
        is_first: Whether there is no earlier rank.
    """

    def __init__(self, parameters: Sequence[tuple[str, torch.Size]], where: str) -> None:
        """Leave a note.

        Args:
            parameters: Names and shapes.
            where: Where this process is to write.
        """
        # Not public, but every rendezvous makes one.
        self._store = dist.distributed_c10d._get_default_store()
        key = schema.short_hash(repr((where, [(n, tuple(s)) for n, s in parameters])).encode())
        self._key = f"{schema.PLUGIN_NAME}/{key}/"
        self._rank = dist.get_rank()
        self.is_first = self._rank == 0
        self._store.set(f"{self._key}{self._rank}", "")

    def is_one(self) -> bool:
        """Look for notes of earlier ranks.

        Asked at a first step, when the gradients of all copies have been brought together.
        """
        return any(self._store.check([f"{self._key}{rank}"]) for rank in range(self._rank))


def is_alone() -> bool:
    """Whether there is no other process."""
    return not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1)


def find_place(model: object, given: object, optimizer: Optimizer) -> Place:
    """Find out what this process has to record. Takes part in no collective.

    Args:
        model: A module, or pairs of name and parameter.
        given: The optimizer as the user gave it.
        optimizer: The one of torch that takes the steps.

    Raises:
        ValueError: If the parameters are spread in a way that is not supported.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return Place()
    rank = dist.get_rank()
    folder = schema.RUN_FOLDER if rank == 0 else f"{schema.PART_FOLDER}{rank}"
    groups = _groups_of_all(given)
    parameters = [p for group in groups or optimizer.param_groups for p in group["params"]]
    if not parameters:
        return Place(folder)
    device = parameters[0].device
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    wrappers = [module for module in modules if _is_wrapper(module)]
    if groups is not None:
        here = {id(p) for group in optimizer.param_groups for p in group["params"]}
        ranks = Ranks([given.process_group], device)  # type: ignore[attr-defined]
        return Place(folder, False, ranks, lambda _, p: WholeShard(p.shape, id(p) in here), groups)
    if any(hasattr(p, "device_mesh") for p in parameters):
        return _of_meshes(folder, parameters, device)
    if any(getattr(p, "_is_flat_param", False) for p in parameters):
        raise ValueError(
            "the parameters of FullyShardedDataParallel are flattened into one: give it "
            "use_orig_params=True, or use torch.distributed.fsdp.fully_shard"
        )
    if wrappers:
        wrapper: Any = wrappers[0]
        flat = flat_shards(modules)
        between: Any = getattr(wrapper, "_inter_node_pg", None)
        if between is not None and dist.get_rank(between) > 0:
            return Place(folder, is_silent=True)
        if flat:
            ranks = Ranks([wrapper.process_group], device)
            first = ranks.is_first
            return Place(
                folder, False, ranks, lambda _, p: flat.get(id(p)) or WholeShard(p.shape, first)
            )
        return Place(folder, is_silent=dist.get_rank(wrapper.process_group) > 0)
    return Place(folder, may_have_copies=True)


def _of_meshes(folder: str, parameters: Sequence[Any], device: torch.device) -> Place:
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

    return Place(folder, False, Ranks(groups, device), shard_of)


def _groups_of_all(given: Any) -> Groups | None:
    """Return the groups of a ZeroRedundancyOptimizer, which shares them out among processes.

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
    """Whether a module spreads its parameters, or copies of them, over processes."""
    is_fsdp = any(base.__name__ == "FullyShardedDataParallel" for base in type(module).__mro__)
    return is_fsdp or isinstance(module, nn.parallel.DistributedDataParallel)


def _device_of(group: Any, wanted: torch.device) -> torch.device:
    """Return the device of the tensors that a process group can handle."""
    able: list[torch.device] = list(getattr(group, "_device_types", None) or [wanted])
    kinds = [device.type for device in able]
    return wanted if wanted.type in kinds else torch.device(kinds[0])


def _said(serial: int, number: int, numbers: Values) -> Said:
    first = len(SAID)
    squares, has_gradient, failed = numbers[first:].reshape(3, -1)
    return Said(
        serial,
        number,
        dict(zip(SAID, numbers[:first].tolist(), strict=True)),
        squares,
        has_gradient > 0,
        failed > 0,
    )
