"""The processes that hold parts of the same parameters, and how they record together.

Processes that record together enter the same collectives even if one of them fails: at every step
they reduce one small message, which also says what each is about to do and what has failed. The
step's sums follow only if all processes have measured it. All decisions are based on these
messages.
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

# Fields of a message besides the step's gradients; the numbers are added up.
MESSAGE_FIELDS = (
    "knows_step",  # whether it knows how many steps were taken
    "step",  # how many, if so
    "real_step",  # whether this one was a training step
    "skipped",  # whether a gradient scaler skipped it
    "recording",  # whether to record it
    "histograms",  # with histograms
    "measured",  # whether it has been measured
    "changed",  # whether the optimizer's state tensors have changed
    "out_of_memory",  # what failed
    "records_failed",
    "norms_failed",
    "stopped",  # whether nothing more can be recorded
    "stretch",  # of the interval between records, from the first process
)  # fmt: skip
# On a device, a message is read this many steps later, when it has long arrived: at the same step
# in all processes, unlike the moment at which an event completes.
_DELAY_ON_DEVICE = 4


class ReducedMessage(NamedTuple):
    """The messages of all processes about one step, reduced to one.

    Attributes:
        serial: Serial number of the message.
        number: Step number, as counted by this process.
        total: The numbers of :data:`MESSAGE_FIELDS`, added up.
        squares: Σg² of each parameter of the optimizer, float64 ``[parameters]``.
        has_gradient: bool ``[parameters]``.
        failed: Which parameters could not be read by some process, bool ``[parameters]``.
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
    """The processes that hold parts of the same parameters.

    Attributes:
        size: Number of processes.
        is_first: Whether this is the one that writes.
        delay: Largest delay of a received message, in steps.
        sent: Number of messages this process has sent.
        collectives: Number of collective operations this process has entered.
        bytes: Number of bytes it has passed to them.
    """

    def __init__(self, groups: Sequence[Any], device: torch.device) -> None:
        """Take part.

        Args:
            groups: One process group, or one for each axis of a mesh.
            device: Device of the parameters.
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
        """Whether :meth:`receive` has also returned the last step's message."""
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

        A failure in here cannot be reported to the others.

        Args:
            number: Step number.
            message: Numbers of :data:`MESSAGE_FIELDS`; missing ones are 0.
            squares: Σg² of this process's part of each parameter, float64 ``[parameters]``.
            has_gradient: Which parameters have a gradient here, ``[parameters]``.
            failed: Which parameters could not be read here, ``[parameters]``.

        Returns:
            The norm of all gradients; and, on a device, how many processes skipped the step.

        Raises:
            RuntimeError: If the processes cannot be reached any more.
        """
        if not dist.is_initialized():  # a group may keep working for a while
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
            everything: Whether to wait for the last step's message; if not, only older ones on a
                device.
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
        """Add up the results of all processes. All must have packed the same layout."""
        return Packed(
            self._reduce(packed.added, dist.ReduceOp.SUM),
            self._reduce(packed.largest, dist.ReduceOp.MAX),
        )

    def gather(self, value: Any) -> list[Any]:
        """Return the value given by each process."""
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
            # Only the first process needs the result, but gloo's reduce is slower.
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
