"""Stored data of one tag, decoded: arrays sorted by step, without damaged records.

Records superseded by a restart are left out, too: a training that continues from a step rewrites it
and all later ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tb_adam_plugin import schema
from tb_adam_plugin.arrays import Flags, Float32s, Float64s, Indices
from tb_adam_plugin.languages.sentences import say
from tb_adam_plugin.schema import Columns, Layout, Quantity


class Datum(Protocol):
    """One stored record, as TensorBoard's data provider returns it."""

    @property
    def step(self) -> int:
        """Step of the event."""

    @property
    def wall_time(self) -> float:
        """Seconds since the epoch."""


class ScalarDatum(Datum, Protocol):
    """A record of an ordinary scalar series."""

    @property
    def value(self) -> float:
        """The scalar."""


class TensorDatum(Datum, Protocol):
    """A record of one of our series."""

    @property
    def numpy(self) -> npt.NDArray[Any]:
        """The tensor."""


class Blocks(Protocol):
    """Packed histograms, one block for each step."""

    @property
    def nbytes(self) -> int:
        """Their memory size."""

    def only(self, kept: Flags) -> Blocks:
        """Return some of them, bool ``[steps]``."""

    def take(self, rows: Sequence[int]) -> list[bytes | None]:
        """Return some of them by index; None where a step has none."""


@dataclass(frozen=True, slots=True)
class PackedBlocks:
    """Blocks in memory."""

    blocks: tuple[bytes, ...]

    @property
    def nbytes(self) -> int:
        """Their memory size."""
        return sum(map(len, self.blocks))

    def only(self, kept: Flags) -> PackedBlocks:
        """Return some of them, bool ``[steps]``."""
        return PackedBlocks(tuple(b for b, stays in zip(self.blocks, kept, strict=True) if stays))

    def take(self, rows: Sequence[int]) -> list[bytes | None]:
        """Return some of them by index."""
        return [self.blocks[row] for row in rows]


class Rows(Protocol):
    """Records of statistics, each read when it is taken."""

    def only(self, kept: Flags) -> Rows:
        """Return some of them, bool ``[steps]``."""

    def take(self, names: Sequence[str], rows: Indices) -> Float32s:
        """Read some statistics of some records.

        Args:
            names: Of the statistics.
            rows: Indices of the records, ascending.

        Returns:
            float32 ``[names, rows, parameters]``.
        """


@dataclass(frozen=True, slots=True)
class RowsInMemory:
    """Records of statistics that are in memory.

    Attributes:
        names: Of the statistics.
        values: float32 ``[statistics, steps, parameters]``.
        kept: Indices of the records; None for all.
    """

    names: tuple[str, ...]
    values: Float32s
    kept: Indices | None = None

    def only(self, kept: Flags) -> RowsInMemory:
        """Return some of them, bool ``[steps]``."""
        chosen = np.flatnonzero(kept)
        return replace(self, kept=chosen if self.kept is None else self.kept[chosen])

    def take(self, names: Sequence[str], rows: Indices) -> Float32s:
        """Return some statistics of some records."""
        columns = np.array([self.names.index(name) for name in names], np.intp)
        chosen = rows if self.kept is None else self.kept[rows]
        return self.values[np.ix_(columns, chosen)]


@dataclass(frozen=True, slots=True)
class Series:
    """The records of one tag by step, each step once: of equal ones the last that was stored.

    Attributes:
        step: float64 ``[steps]``, ascending.
        wall_time: float64 ``[steps]``, seconds since the epoch.
        values: Of statistics float32 ``[statistics, steps, parameters]``, of hyperparameters
            float64 ``[columns, steps, groups]``, of steps float64 ``[columns, steps]``, of gradient
            norms float64 ``[parameters, steps]``, of an ordinary scalar float32 ``[1, steps]``.
        blocks: Of histograms, one packed block for each step; else None.
        rows: Of statistics that are read when they are taken, instead of values; else None.
        damage: What was left out, in one sentence, or "".
        written: float64 ``[steps]``, wall times of the events: for steps, the event that contains
            the row; else :attr:`wall_time`.
    """

    step: Float64s
    wall_time: Float64s
    values: npt.NDArray[Any]
    blocks: Blocks | None = None
    damage: str = ""
    written: Float64s = field(default_factory=lambda: np.empty(0))
    rows: Rows | None = None

    def __post_init__(self) -> None:
        """Use the wall times as those of the events, unless these are given."""
        if self.written.size != self.wall_time.size:
            object.__setattr__(self, "written", self.wall_time)

    def only(self, kept: Flags) -> Series:
        """Return some of the records, bool ``[steps]``; the series itself if all are kept."""
        if kept.all():
            return self
        return replace(
            self,
            step=self.step[kept],
            wall_time=self.wall_time[kept],
            values=self.values[:, kept] if self.values.ndim > 1 else self.values,
            blocks=None if self.blocks is None else self.blocks.only(kept),
            written=self.written[kept],
            rows=None if self.rows is None else self.rows.only(kept),
        )

    @property
    def nbytes(self) -> int:
        """Memory size, without small parts."""
        blocks = 0 if self.blocks is None else self.blocks.nbytes
        return self.step.nbytes + self.wall_time.nbytes + self.values.nbytes + blocks


def decode_statistics(data: Iterable[TensorDatum], layout: Layout) -> Series:
    """Decode float32 ``[parameters, statistics]`` records."""
    return _decode_matrices(data, "<f4", (len(layout.parameters), len(layout.statistics)))


def decode_hyperparameters(data: Iterable[TensorDatum], groups: int, columns: Columns) -> Series:
    """Decode float64 ``[groups, columns]`` records."""
    return _decode_matrices(data, "<f8", (groups, len(columns.names)))


def decode_steps(data: Iterable[TensorDatum], columns: Columns) -> Series:
    """Decode float64 ``[steps, columns]`` records, several steps each.

    Args:
        data: The records.
        columns: Their columns, including ``step`` and ``wall_time``.
    """
    kept, damage = _intact(data, "<f8", (None, len(columns.names)))
    rows, written = _rows(kept, columns)
    steps = columns.names.index("step")
    finite = np.isfinite(rows[:, steps])
    rows, written = rows[finite], written[finite]
    last = standing(rows[:, steps])
    values = np.ascontiguousarray(rows[last].T)
    wall_time = values[columns.names.index("wall_time")]
    return Series(values[steps], wall_time, values, None, damage, written[last])


def decode_gradient_norms(data: Iterable[TensorDatum], columns: Columns) -> Series:
    """Decode float64 ``[steps, 1 + parameters]`` records, several steps each.

    Args:
        data: The records. A step's wall time is taken to be that of its record.
        columns: ``step``, then the names of the parameters.
    """
    kept, damage = _intact(data, "<f8", (None, len(columns.names)))
    rows, wall_time = _rows(kept, columns)
    intact = np.isfinite(rows[:, 0])
    rows, wall_time = rows[intact], wall_time[intact]
    last = standing(rows[:, 0])
    values = np.ascontiguousarray(rows[last, 1:].T)
    return Series(rows[last, 0], wall_time[last], values, None, damage)


def decode_blocks(data: Iterable[TensorDatum]) -> Series:
    """Decode uint8 ``[bytes]`` records; the blocks stay packed."""
    kept, damage = _intact(data, "|u1", (None,))
    step, wall_time, last = _standing(kept)
    blocks = PackedBlocks(tuple(kept[i].numpy.tobytes() for i in last))
    return Series(step, wall_time, np.empty(0), blocks, damage)


def decode_scalars(data: Iterable[ScalarDatum]) -> Series:
    """Decode an ordinary scalar series to float32 ``[1, points]``."""
    kept = list(data)
    step = np.array([d.step for d in kept], np.float64)
    wall_time = np.array([d.wall_time for d in kept], np.float64)
    last = last_of_each_step(step)
    step, wall_time = step[last], wall_time[last]
    with np.errstate(over="ignore"):
        values = np.array([[kept[i].value for i in last]], np.float64).astype(np.float32)
    return Series(step, wall_time, values)


def decode_block(
    block: bytes,
    quantities: Sequence[Quantity],
    wanted: Sequence[Quantity],
    place: int = 0,
    parameters: int = 1,
) -> schema.Counts:
    """Unpack the histograms of one parameter from a block.

    Args:
        block: As stored.
        quantities: Quantities of each parameter in it.
        wanted: Quantities to return.
        place: Index of the parameter in the block.
        parameters: Number of parameters in it.

    Returns:
        int64 ``[wanted, BINS + len(SPECIAL)]``; zeros for quantities that the block does not have.

    Raises:
        FormatError: If the block is damaged.
    """
    of_all = schema.decode_histograms(block, len(quantities), parameters)
    counts = of_all[place * len(quantities) : (place + 1) * len(quantities)]
    if tuple(quantities) == tuple(wanted):
        return counts
    empty = np.zeros(schema.BINS + len(schema.SPECIAL), np.int64)
    stored = dict(zip(quantities, counts, strict=True))
    return np.stack([stored.get(quantity, empty) for quantity in wanted])


def last_of_each_step(step: Float64s) -> Indices:
    """Return indices that sort by step and keep the last of equal ones."""
    order = np.argsort(step, kind="stable")
    keep = np.ones(order.size, dtype=bool)
    keep[:-1] = step[order][1:] != step[order][:-1]
    return order[keep]


def standing(step: Float64s) -> Indices:
    """Return indices of the records that no later one supersedes, in storage order.

    A record supersedes the earlier stored records of its step and of all later steps.
    """
    lowest_from = np.minimum.accumulate(step[::-1])[::-1]
    return np.flatnonzero(step < np.append(lowest_from[1:], np.inf)[: step.size])


def damaged_records(steps: Sequence[int], reason: str) -> str:
    """Return one sentence about records that were left out, or "" for none."""
    if not steps:
        return ""
    named = ", ".join(map(str, steps[:5])) + (", …" if len(steps) > 5 else "")
    if len(steps) == 1:
        return say(
            "1 damaged record was left out (step {steps}): {reason}", steps=named, reason=reason
        )
    return say(
        "{count} damaged records were left out (step {steps}): {reason}",
        count=len(steps),
        steps=named,
        reason=reason,
    )


def _decode_matrices(
    data: Iterable[TensorDatum], dtype: str, shape: tuple[int | None, ...]
) -> Series:
    kept, damage = _intact(data, dtype, shape)
    step, wall_time, last = _standing(kept)
    rows, columns = shape
    # Every question needs one column of the matrix over all steps: keep it contiguous.
    values = np.empty((columns or 0, last.size, rows or 0), dtype)
    for position, index in enumerate(last):
        values[:, position, :] = kept[index].numpy.T
    return Series(step, wall_time, values, None, damage)


def _intact(
    data: Iterable[TensorDatum], dtype: str, shape: tuple[int | None, ...]
) -> tuple[list[TensorDatum], str]:
    kept: list[TensorDatum] = []
    damaged: list[int] = []
    reason = ""
    for datum in data:
        array = datum.numpy
        sizes = zip(array.shape, shape, strict=False)
        if (
            array.dtype == np.dtype(dtype)
            and array.ndim == len(shape)
            and all(expected in (None, size) for size, expected in sizes)
        ):
            kept.append(datum)
            continue
        damaged.append(int(datum.step))
        expected = "×".join("n" if size is None else str(size) for size in shape)
        found = "×".join(map(str, array.shape))
        reason = reason or say(
            "expected {expected}, got {found}",
            expected=f"{np.dtype(dtype)} {expected}",
            found=f"{array.dtype} {found}",
        )
    return kept, damaged_records(damaged, reason)


def _rows(kept: Sequence[TensorDatum], columns: Columns) -> tuple[Float64s, Float64s]:
    """Return the rows of all records, and the wall time of each row's record."""
    rows = np.concatenate([np.empty((0, len(columns.names))), *(d.numpy for d in kept)])
    sizes = [len(d.numpy) for d in kept]
    return rows, np.repeat(np.array([d.wall_time for d in kept], np.float64), sizes)


def _standing(kept: Sequence[Datum]) -> tuple[Float64s, Float64s, Indices]:
    step = np.array([d.step for d in kept], np.float64)
    wall_time = np.array([d.wall_time for d in kept], np.float64)
    last = standing(step)
    return step[last], wall_time[last], last
