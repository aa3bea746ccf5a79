"""Which part of a parameter this process has, where training is spread over several processes.

A :class:`Shard` turns a tensor of the optimizer (weight, gradient, state) into the plain tensor of
the elements that are here, and says which elements of the whole parameter these are. Where several
processes have the same elements one of them has them here, and for the others nothing is here: what
the processes add up counts every element once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..optimizer_state.parameter_state import ParameterState, Source
from ..read.memory_order import has_no_gaps
from ..read.rows import ROW, Part
from ..read.sampling import chosen_elements

Indices = npt.NDArray[np.int64]


class Sample(NamedTuple):
    """What of the sample of a whole parameter is here.

    Attributes:
        elements: Indices into the part that is here, in its memory order, int64.
        rows: In which row of 256 elements of the whole sample each of them is, ascending, int64.
        total_rows: Number of rows of the whole sample.
    """

    elements: Indices
    rows: Indices
    total_rows: int

    def as_part(self) -> Part:
        """Return how these elements lie in rows: each row holds those of one row of the whole."""
        numbers, starts, of = np.unique(self.rows, return_index=True, return_inverse=True)
        if not len(numbers):
            return Part(self.elements, self.elements, 1)
        return Part(self.elements, of * ROW + np.arange(len(of)) - starts[of], len(numbers))

    @property
    def row_numbers(self) -> Indices:
        """Which rows of the whole the rows of :meth:`as_part` are, ascending."""
        return np.unique(self.rows)


class Shard(ABC):
    """The part of one parameter that is here.

    Attributes:
        shape: Of the whole parameter.
        is_here: Whether any element is.
        cuts_rows: Whether a row along the first dimension may lie in several processes.
    """

    shape: torch.Size
    is_here: bool
    cuts_rows: bool

    @property
    def elements(self) -> int:
        """Number of elements of the whole parameter."""
        return self.shape.numel()

    @property
    def rows_here(self) -> int:
        """How many rows along the first dimension are here, where they are not cut."""
        return self.shape[0] if self.is_here and len(self.shape) > 1 else 0

    def local(self, tensor: Tensor) -> Tensor:
        """Return the elements of a tensor of the parameter's shape that are here, plain."""
        return self._local(tensor) if self.is_here else _nothing(tensor)

    def sample(self, part: Tensor, most: int | None) -> Sample | None:
        """Return what is here of the sample of the whole parameter; None where all is read.

        Args:
            part: From :meth:`local`.
            most: See :class:`..read.panel.Panel`.
        """
        elements = chosen_elements(self.elements, most)
        if elements is None:
            return None
        here = self._find(elements, part) if self.is_here else np.full(len(elements), -1)
        found = here >= 0
        return Sample(
            here[found],
            np.flatnonzero(found) // ROW,
            -(-len(elements) // ROW),
        )

    def rows_with_gradient(self, gradient: Tensor | None) -> npt.NDArray[np.bool_]:
        """Return for each row of the whole parameter whether it has a gradient here.

        Args:
            gradient: From :meth:`local`.
        """
        alive = np.zeros(self.shape[0], bool)
        if self.is_here and gradient is not None:
            self._mark_rows(gradient, alive)
        return alive

    def state(self, state: ParameterState | None) -> ParameterState | None:
        """Return a state with plain tensors; None where nothing is here, or it is in other parts.

        What has to be made on demand of a whole tensor cannot be made of a part.
        """
        if state is None or not self.is_here:
            return None
        sources = [state.exp_avg, state.exp_avg_sq, *state.others.values(), *state.masks.values()]
        if any(source is not None and not self._fits(source) for source in sources):
            return None
        return replace(
            state,
            exp_avg=self._of(state.exp_avg),
            exp_avg_sq=self._of(state.exp_avg_sq),
            others={key: self._local(source) for key, source in state.others.items()},  # type: ignore[arg-type]
            masks={key: self._local(source) for key, source in state.masks.items()},  # type: ignore[arg-type]
            step=_plain(state.step),
            numbers={key: _plain(number) for key, number in state.numbers.items()},
        )

    def _of(self, source: Source | None) -> Tensor | None:
        return self._local(source) if isinstance(source, Tensor) else None

    def _fits(self, source: Source) -> bool:
        """Whether a tensor of the state is cut up as its parameter is."""
        return isinstance(source, Tensor)

    @abstractmethod
    def _local(self, tensor: Tensor) -> Tensor: ...

    @abstractmethod
    def _find(self, elements: Indices, part: Tensor) -> Indices:
        """Where elements of the whole parameter are in ``part``; -1 for those that are not."""

    @abstractmethod
    def _mark_rows(self, gradient: Tensor, alive: npt.NDArray[np.bool_]) -> None: ...


class DTensorShard(Shard):
    """A part of a DTensor: ``fully_shard``, tensor parallelism, both, and with replicas."""

    def __init__(self, name: str, parameter: Any, first_rank: int) -> None:
        """Find out which elements are here.

        Args:
            name: Of the parameter, for messages.
            parameter: A DTensor.
            first_rank: The first one of all processes that take part: of several meshes that have
                the parameter, the one of this process counts.

        Raises:
            ValueError: If the parameter is cut up in a way that is not known here.
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
                f"parameter {name} is cut up in a way that is not known here: "
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
        """Whether a gradient is placed otherwise than its parameter, such as not yet added up."""
        return tuple(gradient.placements) != self._placements

    def redistributed(self, gradient: Any) -> Tensor:
        """Return a gradient as its parameter is placed. All processes of the mesh must call it."""
        placed: Tensor = gradient.redistribute(placements=self._placements)
        return placed

    @torch.no_grad()
    def _local(self, tensor: Any) -> Tensor:
        part = tensor.to_local()
        # The result of a redistribution may be on its way.
        arrived: Tensor = part.wait() if hasattr(part, "wait") else part
        return arrived

    def _fits(self, source: Any) -> bool:
        return (
            hasattr(source, "placements")
            and tuple(source.placements) == self._placements
            and source.shape == self.shape
        )

    def _find(self, elements: Indices, part: Tensor) -> Indices:
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

    def _mark_rows(self, gradient: Tensor, alive: npt.NDArray[np.bool_]) -> None:
        alive[self._indices[0]] = _nonzero_rows(gradient)


class FlatShard(Shard):
    """Consecutive elements of a parameter: FullyShardedDataParallel with ``use_orig_params``."""

    def __init__(self, shape: torch.Size, start: int, count: int) -> None:
        """Say which elements are here.

        Args:
            shape: Of the whole parameter.
            start: The first one, in the order of the indices.
            count: How many.
        """
        self.shape = shape
        self.is_here = count > 0
        self.cuts_rows = len(shape) > 1
        self._start = start
        self._count = count

    def _local(self, tensor: Tensor) -> Tensor:
        return tensor

    def _find(self, elements: Indices, part: Tensor) -> Indices:
        at = elements - self._start
        return np.where((at >= 0) & (at < self._count), at, -1)

    def _mark_rows(self, gradient: Tensor, alive: npt.NDArray[np.bool_]) -> None:
        length = self.elements // self.shape[0]
        first, before = divmod(self._start, length)
        after = -(before + self._count) % length
        rows = nn.functional.pad(gradient, (before, after)).view(-1, length)
        alive[first : first + len(rows)] = _nonzero_rows(rows)


class WholeShard(Shard):
    """A parameter that is whole in each process, or in one: then this says whether it is this."""

    def __init__(self, shape: torch.Size, is_here: bool) -> None:
        """Say which of the processes counts it."""
        self.shape = shape
        self.is_here = is_here and shape.numel() > 0
        self.cuts_rows = False

    def _local(self, tensor: Tensor) -> Tensor:
        return tensor

    def _fits(self, source: Source) -> bool:
        return True

    def _of(self, source: Source | None) -> Any:
        return source

    def state(self, state: ParameterState | None) -> ParameterState | None:
        """Return a state as it is; None where nothing is here."""
        return state if self.is_here else None

    def _find(self, elements: Indices, part: Tensor) -> Indices:
        return elements

    def _mark_rows(self, gradient: Tensor, alive: npt.NDArray[np.bool_]) -> None:
        alive[:] = _nonzero_rows(gradient)


class LocalGradients:
    """The gradients of some parameters as they are here, fetched once a step.

    A gradient that tensor parallelism has not added up yet is added up here, in an operation that
    all processes of its mesh take part in: so they must all ask at the same steps.
    """

    def __init__(self, parameters: Sequence[Tensor], shards: Sequence[Shard]) -> None:
        """Look at the gradients of ``parameters``."""
        self._parameters = parameters
        self._shards = shards
        self._index = {id(parameter): i for i, parameter in enumerate(parameters)}
        self._known: list[Tensor | None] | None = None

    def forget(self) -> None:
        """Fetch them anew the next time."""
        self._known = None

    def fetch(self) -> list[Tensor | None]:
        """Return them, one a parameter."""
        if self._known is None:
            self._known = [
                None if parameter.grad is None else self._fetch(parameter.grad, shard)
                for parameter, shard in zip(self._parameters, self._shards, strict=True)
            ]
        return self._known

    def of(self, parameter: Tensor) -> Tensor | None:
        """Return that of one parameter."""
        return self.fetch()[self._index[id(parameter)]]

    @staticmethod
    def _fetch(gradient: Tensor, shard: Shard) -> Tensor:
        if isinstance(shard, DTensorShard) and shard.is_partial(gradient):
            gradient = shard.redistributed(gradient)
        return shard.local(gradient)


def flat_shards(modules: Iterable[nn.Module]) -> dict[int, FlatShard]:
    """Return the shards of FullyShardedDataParallel modules by the id of the parameter.

    Only those with ``use_orig_params=True`` have parameters that an optimizer can be given one by
    one; torch/distributed/fsdp/_flat_param.py says which elements they are.
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


def _cut(size: int, cuts: Sequence[tuple[Any, int, int]]) -> Indices:
    """Return the indices along one dimension that are here.

    Args:
        size: Of the dimension.
        cuts: Placements, the number of parts, and which one is here, in the order of the mesh.
    """
    indices = torch.arange(size, device="cpu")
    for placement, parts, at in cuts:
        # Cut up by another axis of the mesh before: of each of those pieces a part.
        pieces = indices.chunk(getattr(placement, "split_factor", 1))
        taken = [chunks[at] for p in pieces if at < len(chunks := p.chunk(parts))]
        indices = torch.cat(taken) if taken else indices[:0]
    return indices.numpy()


def _nonzero_rows(rows: Tensor) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = (rows != 0).flatten(1).any(1).cpu().numpy()
    return found


def _nothing(tensor: Tensor) -> Tensor:
    return torch.empty(0, dtype=tensor.dtype, device=tensor.device)


def _plain(number: Any) -> Any:
    """Return a number that an optimizer keeps; NaN where no process has it whole."""
    if not hasattr(number, "placements"):
        return number
    is_whole = all(placement.is_replicate() for placement in number.placements)
    return number.to_local() if is_whole else float("nan")
