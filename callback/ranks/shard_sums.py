"""The sums of a step of sharded parameters: packed, reduced over all processes, unpacked.

One process's results are two float64 arrays: one is reduced by addition, the other by maximum. Sums
of squares, counts and histograms are added; flags, and numbers that all processes know alike, use
the maximum. Small counts share a float64, which is exact up to 2^53.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tb_adam_plugin import schema
from tb_adam_plugin.arrays import Flags, Float64s, Int64s

from ..measure import histograms
from ..measure.measurement import Sums
from ..measure.parameter_sums import FLAGS, ParameterSums
from ..measure.row_ages import RowAges
from ..measure.row_value_table import MAXIMA, OVER_ALL, SUMS
from ..measure.sampling_error import SQUARES, SampledRows
from ..optimizer_state.coefficients import COEFFICIENTS
from ..read.rows import ROW
from ..read.sampling import chosen_elements
from ..shards.shards import Shard

_EXACT = tuple(OVER_ALL.values())
_ADDED_ROWS = len(SUMS) + len(_EXACT) + 6 + len(MAXIMA)
_LARGEST_ROWS = len(MAXIMA) + 1 + len(COEFFICIENTS) + len(FLAGS)
_EXACT_BITS = 53  # bits of the significand of a float64


class Packed(NamedTuple):
    """The results of a step, of one process or of all together.

    Attributes:
        added: To be reduced by addition, float64, 1-D.
        largest: To be reduced by maximum, float64, 1-D.
    """

    added: Float64s
    largest: Float64s


class ShardSums:
    """Packs the sums of the parameters of one :class:`..measure.measurement.Measurement`.

    All processes must have the same parameters in the same order.

    Attributes:
        elements_read: How many elements of each parameter all processes read, int64.
    """

    def __init__(self, of_name: Mapping[str, Shard], most: int | None, ranks: int) -> None:
        """Work out the whole parameters.

        Args:
            of_name: Shards of the parameters, by parameter name.
            most: See :class:`..read.panel.Panel`.
            ranks: Number of processes.
        """
        self._shards = shards = [*of_name.values()]
        self._here = np.array([shard.is_here for shard in shards])
        self._elements = np.array([shard.elements for shard in shards], np.int64)
        chosen = [chosen_elements(n, shard.elements, most) for n, shard in of_name.items()]
        self.elements_read = np.array(
            [n if c is None else len(c) for n, c in zip(self._elements, chosen, strict=True)],
            np.int64,
        )
        self._sampled = _rows_of([None if c is None else len(c) for c in chosen])
        self._shares_rows = [i for i, shard in enumerate(shards) if shard.cuts_rows]
        # Rows whose elements are spread over processes; each process counts its other rows itself.
        self._ages = RowAges(np.array([shards[i].shape[0] for i in self._shares_rows], np.int64))
        self._bits_of_count = int(self.elements_read.max()).bit_length()
        self._bits_of_rank = ranks.bit_length()

    def pack(self, sums: Sums, quantities: Sequence[str], names: Sequence[str]) -> Packed:
        """Pack this process's sums; pack NaN if that fails, because the others are waiting.

        Args:
            sums: The step's sums.
            quantities: Names of the histograms in ``sums``.
            names: Names of the histograms of all processes.
        """
        try:
            return self._pack(sums, quantities, names)
        except Exception:
            k = len(self._shards)
            added = _ADDED_ROWS * k + self._sampled.squares.size
            for i in self._shares_rows:
                added += _joined(self._shards[i].shape[0], self._bits_of_rank)
            if sums.counts is not None:
                added += _joined(k * len(names) * histograms.COUNTS, self._bits_of_count)
            return Packed(np.full(added, np.nan), np.full(_LARGEST_ROWS * k, np.nan))

    def _pack(self, sums: Sums, quantities: Sequence[str], names: Sequence[str]) -> Packed:
        p = sums.of
        largest = np.stack([p.total[name] for name in MAXIMA])
        lost = np.isnan(largest)
        rows_here = np.array([shard.rows_here for shard in self._shards])
        dead, idle = np.rint(np.stack([p.dead_row_fraction, p.idle_row_fraction]) * rows_here)
        table = np.stack(
            [
                *(p.total[name] for name in SUMS),
                *(p.exact[name] for name in _EXACT),
                p.gradient_fourth_powers,
                p.nonfinite,
                p.padding,
                np.nan_to_num(dead),
                np.nan_to_num(idle),
                np.isnan(idle) & (rows_here > 0),
                *lost,
            ]
        )
        parts = [np.where(self._here, table, 0.0).ravel(), sums.row_squares.ravel()]
        parts += [_join(alive, self._bits_of_rank) for alive in sums.alive]
        if sums.counts is not None:
            counts = np.zeros((len(self._shards), len(names), histograms.COUNTS), np.int64)
            places = [names.index(name) for name in quantities]
            counts[:, places] = sums.counts.dense()
            counts[~self._here] = 0
            parts.append(_join(counts.ravel(), self._bits_of_count))
        numbers = np.stack(
            [
                *np.where(lost, -np.inf, largest),
                p.state_step,
                *(p.coefficients[name] for name in COEFFICIENTS),
                *(getattr(p, name).astype(np.float64) for name in FLAGS),
            ]
        )
        known = self._here & ~np.isnan(numbers)
        return Packed(np.concatenate(parts), np.where(known, numbers, -np.inf).ravel())

    def unpack(
        self, reader: PackedReader, sums: Sums, quantities: int, number: int
    ) -> tuple[ParameterSums, schema.SparseHistograms | None]:
        """Return the sums of the whole parameters, and their histograms.

        Args:
            reader: The combined results of all processes, positioned at these parameters.
            sums: The step's sums, as found here.
            quantities: Number of histograms per parameter, if any.
            number: Step number.
        """
        k = len(self._shards)
        rows = iter(reader.added(_ADDED_ROWS, k))
        total = {name: next(rows) for name in SUMS}
        exact = {name: next(rows) for name in _EXACT}
        fourth_powers, nonfinite, padding, dead, idle, unknown = (next(rows) for _ in range(6))
        lost = {name: next(rows) > 0 for name in MAXIMA}
        squares = reader.added(*self._sampled.squares.shape)
        alive = {
            i: _split(reader.added(_joined(n, self._bits_of_rank)), self._bits_of_rank, n) > 0
            for i in self._shares_rows
            for n in (self._shards[i].shape[0],)
        }
        counts = None
        if sums.counts is not None:
            shape = (k, quantities, histograms.COUNTS)
            n = int(np.prod(shape))
            joined = reader.added(_joined(n, self._bits_of_count))
            dense = _split(joined, self._bits_of_count, n).reshape(shape)
            counts = schema.SparseHistograms.of(dense)
        numbers = iter(reader.largest(_LARGEST_ROWS, k))
        for name in MAXIMA:
            found = next(numbers)
            total[name] = np.where(lost[name], np.nan, np.where(found == -np.inf, 0.0, found))
        step, *columns = (
            np.where(values == -np.inf, np.nan, values)
            for values in (next(numbers) for _ in range(1 + len(COEFFICIENTS)))
        )
        flags = {name: next(numbers) > 0 for name in FLAGS}
        return ParameterSums(
            total=total,
            gradient_fourth_powers=fourth_powers,
            dead_row_fraction=self._dead_rows(dead, alive, flags["has_gradient"]),
            idle_row_fraction=self._idle_rows(idle, unknown, alive, flags["has_gradient"], number),
            loss=sums.of.loss,
            elements=self._elements,
            elements_read=self.elements_read,
            padding=padding.astype(np.int64),
            exact=exact,
            nonfinite=nonfinite,
            sampled=self._sampled._replace(squares=squares),
            state_step=step,
            coefficients=dict(zip(COEFFICIENTS, columns, strict=True)),
            **flags,
        ), counts

    def _dead_rows(self, dead: Float64s, alive: dict[int, Flags], has_gradient: Any) -> Float64s:
        fractions = np.full(len(self._shards), np.nan)
        for i, shard in enumerate(self._shards):
            if len(shard.shape) > 1 and shard.elements and has_gradient[i]:
                rows = shard.shape[0]
                fractions[i] = 1 - alive[i].sum() / rows if i in alive else dead[i] / rows
        return fractions

    def _idle_rows(
        self,
        idle: Float64s,
        unknown: Float64s,
        alive: dict[int, Flags],
        has_gradient: Flags,
        step: int,
    ) -> Float64s:
        """Return the share of idle rows; see :class:`..measure.row_ages.RowAges`.

        Args:
            idle: Number of idle rows among the rows that lie whole in one process, ``[K]``.
            unknown: Whether any of these processes does not know its number, ``[K]``.
            alive: Which rows of the other parameters have a gradient, in any process.
            has_gradient: ``[K]``.
            step: Step number.
        """
        rows = np.array(
            [s.shape[0] if len(s.shape) > 1 and s.elements else 0 for s in self._shards]
        )
        is_known = has_gradient & (unknown == 0) & (rows > 0)
        fractions = np.where(is_known, idle / np.maximum(rows, 1), np.nan)
        shared = np.array(self._shares_rows, np.int64)
        self._ages.begin(step, has_gradient[shared])
        counts = [
            self._ages.note(k, alive[i]) if has_gradient[i] else 0
            for k, i in enumerate(self._shares_rows)
        ]
        fractions[shared] = self._ages.idle_fractions(np.array(counts, np.int64))
        return fractions


def _rows_of(read: Sequence[int | None]) -> SampledRows:
    """Return the rows of the whole samples, with squares of 0.

    Args:
        read: How many elements are read of each parameter; None for all.
    """
    sampled = {i: n for i, n in enumerate(read) if n is not None}
    counts = np.array([-(-n // ROW) for n in sampled.values()], np.int64)
    lengths = np.full(int(counts.sum()), ROW, np.int64)
    lengths[np.cumsum(counts) - 1] -= counts * ROW - np.array([*sampled.values()], np.int64)
    return SampledRows(
        np.array([*sampled], np.int64),
        np.zeros((len(SQUARES), len(lengths))),
        np.cumsum(counts) - counts,
        lengths,
    )


def joined(parts: Sequence[Packed]) -> Packed:
    """Concatenate what was packed for several measurements, and mark it as complete."""
    is_intact = not any(np.isnan(part.largest).any() for part in parts)
    return Packed(
        np.concatenate([*(part.added for part in parts), [float(is_intact)]]),
        np.concatenate([part.largest for part in parts]),
    )


def check_intact(packed: Packed, ranks: int) -> None:
    """Check that all processes have packed something.

    Raises:
        RuntimeError: If one could not.
    """
    if packed.added[-1] != ranks:
        raise RuntimeError("a rank could not pack its measurements")


class PackedReader:
    """Reads two packed arrays piece by piece."""

    def __init__(self, packed: Packed) -> None:
        """Start at the beginning of both."""
        self._packed = packed
        self._at = [0, 0]

    def added(self, *shape: int) -> Float64s:
        """Return the next numbers of the added array."""
        return self._take(0, shape)

    def largest(self, *shape: int) -> Float64s:
        """Return the next numbers of the maximum array."""
        return self._take(1, shape)

    def _take(self, which: int, shape: tuple[int, ...]) -> Float64s:
        start = self._at[which]
        self._at[which] = end = start + int(np.prod(shape))
        return self._packed[which][start:end].reshape(shape)


def _joined(count: int, bits: int) -> int:
    """How many float64 are needed for ``count`` numbers of ``bits`` bits each."""
    return -(-count // (_EXACT_BITS // bits))


def _join(values: npt.NDArray[Any], bits: int) -> Float64s:
    """Pack several numbers into each float64, leaving room for their sums."""
    fields = _EXACT_BITS // bits
    padded = np.zeros((fields, _joined(len(values), bits)), np.int64)
    padded.reshape(-1)[: len(values)] = values
    together: Float64s = (padded << (bits * np.arange(fields))[:, None]).sum(0).astype(np.float64)
    return together


def _split(joined: Float64s, bits: int, count: int) -> Int64s:
    """Undo :func:`_join`."""
    fields = _EXACT_BITS // bits
    shifted = joined.astype(np.int64) >> (bits * np.arange(fields))[:, None]
    numbers: Int64s = (shifted & ((1 << bits) - 1)).reshape(-1)[:count]
    return numbers
