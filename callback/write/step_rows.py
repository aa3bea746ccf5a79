"""Scalars of every optimizer step, kept on the device until the next record is written."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, SupportsFloat

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tb_adam_plugin import schema

from ..memory.to_host import Copy
from .scalar_names import ScalarNames

Scalar = float | Tensor

_LOSSES = {schema.LOSS, schema.SURROGATE_LOSS}


class StepRows(NamedTuple):
    """Rows of the steps taken.

    Attributes:
        columns: Names of the columns.
        table: float64 ``[steps, columns]``, without skipped steps and renumbered accordingly.
        skipped: Number of steps that turned out to be skipped since they were added.
    """

    columns: schema.Columns
    table: npt.NDArray[np.float64]
    skipped: int


class StepScalars:
    """One row per step: :data:`tb_adam_plugin.schema.STEP_COLUMNS`, then the recorded scalars."""

    def __init__(self) -> None:
        """Start without rows."""
        self._names: dict[str, None] = {}
        self._names_of_user = ScalarNames()
        self._next: dict[str, Scalar] = {}
        self._rows: list[tuple[tuple[Scalar, ...], Scalar, dict[str, Scalar]]] = []
        self._skipped_steps = 0
        self._had_nan_loss = False
        self._sent: dict[int, Sent] = {}  # by the identity of the kept object

    def record(self, scalars: dict[str, object]) -> str | None:
        """Keep scalars for the row of the next step; the last of several values of a name counts.

        Returns:
            A message for the user about the names, once.

        Raises:
            ValueError: If a name is reserved, or a tensor does not have exactly one element.
            TypeError: If a value is not a real number.
        """
        checked = {name: _checked(name, value) for name, value in scalars.items()}
        refused, notice = self._names_of_user.refused(checked)
        self._next.update({n: value for n, value in checked.items() if n not in refused})
        return notice

    def add(self, name: str, value: Scalar) -> None:
        """Keep one of :data:`tb_adam_plugin.schema.OPTIONAL_STEP_COLUMNS` for the next row.

        A tensor must not change until :meth:`take`.
        """
        self._next[name] = value

    def add_row(
        self,
        *,
        step: int,
        wall_time: float,
        gradient_norm: Scalar,
        lr: Scalar,
        callback_milliseconds: float,
        dropped_records: int,
        every_n_steps: int,
        skipped: Scalar = 0.0,
    ) -> None:
        """End a step. Tensors are only read in :meth:`take`, so they must not change until then.

        Args:
            step: Step number, assuming that no step since the last :meth:`take` was skipped.
            wall_time: Seconds since the epoch.
            gradient_norm: Norm over all parameters.
            lr: Learning rate of the first group.
            callback_milliseconds: The callback's own time.
            dropped_records: Number of dropped records so far.
            every_n_steps: Interval between records.
            skipped: 1 if the optimizer skipped this step, which only the device may know yet.
        """
        columns = (
            step, wall_time, gradient_norm, lr, callback_milliseconds, dropped_records,
            self._skipped_steps, every_n_steps,
        )  # fmt: skip
        self._names.update(dict.fromkeys(self._next))
        self._names_of_user.end_step()
        self._rows.append((columns, skipped, self._next))
        self._next = {}

    def upcoming(self, name: str) -> Scalar:
        """Return a scalar recorded for the row of the next step; NaN if there is none."""
        return self._next.get(name, float("nan"))

    def send(self) -> None:
        """Start to copy values on devices to the host, without waiting for them.

        If something else waits for the devices before :meth:`take`, that one need not wait.
        """
        cells = [cell for *_, recorded in self._rows for cell in recorded.values()]
        cells += [cell for fixed, skipped, _ in self._rows for cell in (*fixed, skipped)]
        cells += self._next.values()
        self._sent |= _send(cell for cell in cells if id(cell) not in self._sent)

    def upcoming_number(self, name: str) -> SupportsFloat:
        """Like :meth:`upcoming`, as a number; if its copy was started, it waits only for that."""
        cell = self.upcoming(name)
        return self._sent.get(id(cell), cell)

    @property
    def waiting(self) -> int:
        """Number of rows since the last :meth:`take`."""
        return len(self._rows)

    def skip_step(self) -> None:
        """Count a skipped step; the scalars recorded for it count for the next one."""
        self._skipped_steps += 1

    def take(self) -> StepRows:
        """Return the rows since the last call and forget them.

        A scalar that was recorded once stays a column, so columns rarely change. Waits for the
        device if rows hold tensors on it.
        """
        columns = schema.Columns((*schema.STEP_COLUMNS, *self._names))
        rows, self._rows = self._rows, []
        cells = [
            [*fixed, *(recorded.get(name, float("nan")) for name in self._names), skipped]
            for fixed, skipped, recorded in rows
        ]
        flat = _on_host([cell for row in cells for cell in row], self._sent)
        self._sent = {}
        table = np.array(flat, np.float64).reshape(len(rows), len(columns.names) + 1)
        is_skipped = table[:, -1] != 0
        so_far = np.cumsum(is_skipped)
        table[:, schema.STEP_COLUMNS.index("step")] -= so_far
        table[:, schema.STEP_COLUMNS.index("skipped_steps")] += so_far
        skipped = int(is_skipped.sum())
        self._skipped_steps += skipped
        found = StepRows(columns, table[~is_skipped, :-1], skipped)
        losses = sorted(_LOSSES.intersection(columns.names))
        if not losses:
            return found
        given = [[name in recorded for name in losses] for _, _, recorded in rows]
        was_given = np.array(given, bool).reshape(len(rows), len(losses))[~is_skipped]
        return self._with_nan_losses(found, losses, was_given)

    def _with_nan_losses(
        self, rows: StepRows, losses: Sequence[str], given: npt.NDArray[np.bool_]
    ) -> StepRows:
        """Mark the steps whose given loss is NaN, once there has been one.

        Args:
            rows: Rows, in which a missing loss is NaN, too.
            losses: Names of the losses given at any of the steps.
            given: Which of them was given, bool ``[steps, losses]``.
        """
        names = rows.columns.names
        values = rows.table[:, [names.index(name) for name in losses]]
        is_nan = (given & np.isnan(values)).any(axis=1)
        self._had_nan_loss = self._had_nan_loss or bool(is_nan.any())
        if not self._had_nan_loss:
            return rows
        column = np.where(given.any(axis=1), is_nan, np.nan)
        columns = schema.Columns((*names, "loss_is_nan"))
        return rows._replace(columns=columns, table=np.column_stack([rows.table, column]))


def _checked(name: str, value: object) -> Scalar:
    taken = (*schema.STEP_COLUMNS, *schema.OPTIONAL_STEP_COLUMNS)
    if name in taken:
        raise ValueError(
            f"record({name}=...): that name is taken, as are {', '.join(taken)}; choose another"
        )
    return as_scalar(f"record({name}=...)", value)


def as_scalar(what: str, value: object) -> Scalar:
    """Return a number in the form in which it is kept: a tensor as a 0-dim copy on its device.

    Args:
        what: Origin of the value, for the message.
        value: Any object.

    Raises:
        ValueError: If a tensor does not have exactly one real element.
        TypeError: If the value is not a real number.
    """
    if isinstance(value, Tensor):
        if value.numel() != 1 or value.is_complex():
            raise ValueError(
                f"{what}: expected one real number, got a tensor of shape "
                f"{tuple(value.shape)} and type {value.dtype}; reduce it, for example with .mean()"
            )
        if value.is_meta:
            raise ValueError(f"{what}: expected one real number, got a tensor without data (meta)")
        if value.layout != torch.strided:
            value = value.to_dense()
        # A copy, because a running sum would change before it is written.
        return value.detach().reshape(()).clone()
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    if not isinstance(value, numbers.Real | np.number | np.bool_):
        raise TypeError(
            f"{what}: expected a number or a tensor of one element, got {type(value).__name__}"
        )
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{what}: expected a number that fits into a 64-bit float") from None


class Sent:
    """A number on its way from a device to the host, together with others."""

    def __init__(self, cell: Tensor, copy: Copy, index: int) -> None:
        """Remember where to find it.

        Args:
            cell: The copied tensor; kept so its identity is not reused.
            copy: Copy of several cells.
            index: Index of this cell in the copy.
        """
        self._cell = cell
        self._copy = copy
        self._index = index

    def __float__(self) -> float:
        """Return the number; wait for the copy if it has not arrived."""
        return float(self._copy.array()[self._index])


def _send(cells: Iterable[Scalar]) -> dict[int, Sent]:
    """Start to copy all cells that are on a device; return the copies by the cells' identity."""
    found = {id(cell): cell for cell in cells if isinstance(cell, Tensor)}
    kinds: dict[torch.device, dict[torch.dtype, list[Tensor]]] = {}
    for cell in found.values():
        if cell.device.type != "cpu":
            kinds.setdefault(cell.device, {}).setdefault(cell.dtype, []).append(cell)
    sent: dict[int, Sent] = {}
    for by_type in kinds.values():  # an operation for each type, for any number of cells
        stacked = [torch.stack(alike).to(torch.float64) for alike in by_type.values()]
        copy = Copy(stacked[0] if len(stacked) == 1 else torch.cat(stacked))
        in_order = [cell for alike in by_type.values() for cell in alike]
        sent |= {id(cell): Sent(cell, copy, i) for i, cell in enumerate(in_order)}
    return sent


def _on_host(cells: Sequence[Scalar], sent: Mapping[int, Sent]) -> list[float]:
    """Values of all cells; those not sent yet are copied, once per device."""
    arrived = {**sent, **_send(cell for cell in cells if id(cell) not in sent)}
    return [float(arrived.get(id(cell), cell)) for cell in cells]
