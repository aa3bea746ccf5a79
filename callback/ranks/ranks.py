"""The processes that have parts of the same parameters, and how they record together.

Processes that record together enter the same collectives whatever happens to one of them: at every
step they reduce one small message, which also says what each is about to do and what has failed.
Only where all of them have measured a step do the sums of that step follow. What they decide they
decide from this.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from tb_adam_plugin.arrays import Flags, Float64s

from ..memory.to_host import send_to_host, to_device
from ..read.norms import Squares
from ..write.step_rows import Scalar
from .shard_sums import Packed

# What a message holds beside the gradients of a step; the numbers are added up.
MESSAGE_FIELDS = (
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
    "stretch",  # of the interval between records, from the first process
)  # fmt: skip
# On a device, a message is read so many steps later, when it has arrived for long: at the same step
# in all processes, which an event that has arrived or not would not be.
_DELAY_ON_DEVICE = 4


class ReducedMessage(NamedTuple):
    """The messages of all processes about one step, reduced to one.

    Attributes:
        serial: Counts the messages.
        number: Of the step, as this process counts.
        total: The numbers of :data:`MESSAGE_FIELDS`, added up.
        squares: Σg² of each parameter of the optimizer, float64 ``[parameters]``.
        has_gradient: bool ``[parameters]``.
        failed: Which parameters could not be read somewhere, bool ``[parameters]``.
    """

    serial: int
    number: int
    total: Mapping[str, float]
    squares: Float64s
    has_gradient: Flags
    failed: Flags


class _Pending(NamedTuple):
    serial: int
    number: int
    numbers: Tensor
    arrived: torch.cuda.Event | None


class Ranks:
    """The processes that have parts of the same parameters.

    Attributes:
        size: Their number.
        is_first: Whether this is the one that writes.
        delay: How many steps later at most a message is received.
        sent: How many messages this process has sent.
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
        self._pending: deque[_Pending] = deque()
        self.delay = 0 if self._device.type == "cpu" else _DELAY_ON_DEVICE
        self.sent = 0
        self.collectives = 0
        self.bytes = 0

    @property
    def has_received_all(self) -> bool:
        """Whether :meth:`receive` has returned the message of the last step, too."""
        return not self._pending

    def send(
        self,
        number: int,
        message: Mapping[str, Scalar],
        squares: Squares,
        has_gradient: Sequence[bool],
        failed: Sequence[bool],
    ) -> tuple[Scalar, Tensor | None]:
        """Start to reduce the message about a step. All processes must send one at every step.

        The others cannot be told of what fails here.

        Args:
            number: Of the step.
            message: Numbers of :data:`MESSAGE_FIELDS`; those left out are 0.
            squares: Σg² of what is here of each parameter, float64 ``[parameters]``.
            has_gradient: Which parameters have a gradient here, ``[parameters]``.
            failed: Which could not be read here, ``[parameters]``.

        Returns:
            The norm of all gradients; and, on a device, how many processes skipped the step.

        Raises:
            RuntimeError: If the processes cannot be reached any more.
        """
        if not dist.is_initialized():  # a group may work on for a while
            raise RuntimeError("the process group was destroyed")
        numbers = [message.get(name, 0.0) for name in MESSAGE_FIELDS]
        on_host = np.array(
            [
                *(0.0 if isinstance(number, Tensor) else number for number in numbers),
                *(np.zeros(len(has_gradient)) if isinstance(squares, Tensor) else squares),
                *has_gradient,
                *failed,
            ],
            np.float64,
        )
        self.sent += 1
        vector = self._to_device(on_host)
        first, end = len(MESSAGE_FIELDS), len(MESSAGE_FIELDS) + len(has_gradient)
        for i, scalar in enumerate(numbers):
            if isinstance(scalar, Tensor):
                vector[i] = scalar.reshape(())
        if isinstance(squares, Tensor):
            vector[first:end] = squares
        for group in self._groups:
            self._count(vector)
            dist.all_reduce(vector, group=group)
        norm = vector[first:end].sum().sqrt()
        norm = torch.where(vector[MESSAGE_FIELDS.index("norms_failed")] > 0, torch.nan, norm)
        if vector.device.type == "cpu":
            self._pending.append(_Pending(self.sent, number, vector, None))
            return float(norm), None
        memory, arrived = send_to_host(vector)
        self._pending.append(_Pending(self.sent, number, memory, arrived))
        return norm, vector[MESSAGE_FIELDS.index("skipped")]

    def receive(self, everything: bool) -> list[ReducedMessage]:
        """Return the reduced messages, each step's once, in order.

        Args:
            everything: Whether to wait for the last step's; else on a device for an older one.
        """
        messages = []
        while self._pending:
            is_late = len(self._pending) > self.delay
            if not (everything or is_late):
                break
            serial, number, numbers, arrived = self._pending.popleft()
            if arrived is not None:
                arrived.synchronize()
            messages.append(_unpacked(serial, number, numbers.numpy()))
        return messages

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

    def _reduce(self, array: Float64s, operation: Any) -> Float64s:
        values = self._to_device(array)
        for group in self._groups:
            self._count(values)
            # Only the first process needs it, but gloo's reduce takes longer.
            dist.all_reduce(values, op=operation, group=group)
        reduced: Float64s = values.cpu().numpy()
        return reduced

    def _to_device(self, array: Float64s) -> Tensor:
        return to_device(array, self._device)

    def _count(self, values: Tensor) -> None:
        self.collectives += 1
        self.bytes += values.numel() * values.element_size()


def _device_of(group: Any, wanted: torch.device) -> torch.device:
    """Return the device of the tensors that a process group can handle."""
    able: list[torch.device] = list(getattr(group, "_device_types", None) or [wanted])
    kinds = [device.type for device in able]
    return wanted if wanted.type in kinds else torch.device(kinds[0])


def _unpacked(serial: int, number: int, numbers: Float64s) -> ReducedMessage:
    first = len(MESSAGE_FIELDS)
    squares, has_gradient, failed = numbers[first:].reshape(3, -1)
    return ReducedMessage(
        serial,
        number,
        dict(zip(MESSAGE_FIELDS, numbers[:first].tolist(), strict=True)),
        squares,
        has_gradient > 0,
        failed > 0,
    )
