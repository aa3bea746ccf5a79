"""One recorded step of the parameters of one device: read, reduce, count, finish."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tb_adam_plugin import schema

from ..attach.watched_parameters import Watched
from ..memory import lasting
from ..memory.to_host import on_device, to_device, to_host
from ..optimizer_state.base import OptimizerState
from ..optimizer_state.coefficients import COEFFICIENTS, Coefficients, StepTable
from ..optimizer_state.parameter_state import ParameterState, Source, read
from ..optimizer_state.storage import Storage, StoredState, storage_of, stored_state
from ..read import norms, sparse_rows
from ..read.panel import ROW, Block, Panel, Total
from ..read.real_numbers import as_real, real_source
from ..shards.shards import LocalGradients
from . import histograms, row_values
from .dead_rows import DeadRows
from .gpu import single_pass
from .gpu.single_pass import Reduced

# Quantities that are added up over all elements, with the row values that do it for parameters
# read whole.
_EXACT = {"before": "b²", "gradient": "g²", "exp_avg": "m²", "exp_avg_sq": "v"}
_NUMPY = {torch.float32: np.float32, torch.float64: np.float64}

Values = npt.NDArray[np.float64]
# By quantity, one tensor a parameter or None.
Tensors = dict[str, Sequence[Source | None]]


class Measured(NamedTuple):
    """A recorded step of ``K`` parameters.

    Attributes:
        statistics: float32 ``[K, len(schema.STATISTICS)]``.
        counts: Of all quantities, or None.
        squared_gradients: Σg² over all elements of each parameter, float64 ``[K]``.
        has_gradient: bool ``[K]``.
    """

    statistics: npt.NDArray[np.float32]
    counts: schema.SparseHistograms | None
    squared_gradients: Values
    has_gradient: npt.NDArray[np.bool_]


class Sums(NamedTuple):
    """A recorded step of ``K`` parameters before the formulas are completed.

    Attributes:
        of: What is here of each of them.
        counts: See :class:`Measured`.
        row_squares: Σd² of each row of :class:`..shards.shards.Sample` of the whole parameters, one
            parameter after the other; empty where nothing is sharded.
        alive: Which rows along the first dimension have a gradient here, for each parameter whose
            rows the processes share.
    """

    of: row_values.ParameterSums
    counts: schema.SparseHistograms | None
    row_squares: Values
    alive: Sequence[npt.NDArray[np.bool_]]


class States(NamedTuple):
    """The optimizer's state of ``K`` parameters.

    Attributes:
        of: Each parameter's, or None before its first step.
        storage: How it is stored.
    """

    of: list[ParameterState | None]
    storage: tuple[Storage | None, ...]


class Measurement:
    """Measures the parameters of one device and precision. Holds the memory that this needs."""

    def __init__(
        self,
        watched: Sequence[Watched],
        state: OptimizerState,
        max_sampled_elements: int | None,
        quantities: Sequence[schema.Quantity] = schema.QUANTITIES,
        gradients: LocalGradients | None = None,
    ) -> None:
        """Choose what to read.

        Args:
            watched: Parameters on one device, either all or none of them float64.
            state: Of their optimizer.
            max_sampled_elements: See :class:`..read.panel.Panel`.
            quantities: Those to make histograms of, beside further tensors of the state.
            gradients: Where those of sharded parameters are; either all or none are sharded.
        """
        self._watched = watched
        self._quantities = quantities
        self._state = state
        self._local_gradients = gradients
        parameters = self._weights()
        self._device = parameters[0].device
        double = parameters[0].dtype.to_real() == torch.float64
        # Half precision is read as float32, which holds its values and their differences exactly.
        self._dtype = torch.float64 if double else torch.float32
        names = [w.name for w in watched]
        samples = {
            i: sample
            for i, (w, part) in enumerate(zip(watched, parameters, strict=True))
            if w.shard is not None
            and (sample := w.shard.sample(part, max_sampled_elements)) is not None
        }
        self._is_complex = [p.is_complex() for p in parameters]
        weights = [as_real(p) for p in parameters]
        self.panel = Panel(
            weights,
            names,
            self._dtype,
            None if gradients is not None else max_sampled_elements,
            {i: sample.as_part() for i, sample in samples.items()},
        )
        self._samples = samples
        panel = self.panel
        self._dead_rows = DeadRows(weights, panel)
        self._single_pass = (
            None if samples else single_pass.for_parameters(parameters, state, panel, quantities)
        )
        self._row_parameter = torch.from_numpy(panel.row_parameter).to(self._device)
        self._cuts = [histograms.cuts(b.row_parameter, self._device) for b in panel.blocks]
        self._before: dict[str, Tensor] = {}  # rows of the moments that are stored rounded
        self._compared: frozenset[str] = frozenset()  # which moments those are
        self._gradients: Sequence[Tensor | None] = ()  # that the step overwrites
        self._second_moment_before_is_known = False
        self._had_state = np.zeros(len(watched), bool)
        self._padding = np.add.reduceat(ROW - panel.row_elements, panel.first_rows)
        self._ends = np.append(panel.first_rows[1:], panel.rows)  # of their rows
        most = max(block.rows for block in panel.blocks)
        self._scratch = self._lasting(row_values.SCRATCH + 1, most, ROW)
        self._masks = lasting.zeros((row_values.MASKS, most, ROW), torch.bool, self._device)
        # Codes are made of what has been reduced: the first scratch is free by then.
        codes = self._scratch[0].view(torch.int32).view(-1)
        self._codes = codes[: most * ROW].view(most, ROW)
        self._counts: histograms.HistogramCounts | None = None

    @functools.cached_property
    def _rows(self) -> Tensor:
        """Row values, ``[len(row_values.ROW_VALUES), rows]``."""
        return self._lasting(len(row_values.ROW_VALUES), self.panel.rows)

    def _weights(self) -> list[Tensor]:
        """What is here of each parameter now; not kept, because training may replace it."""
        return [w.local() for w in self._watched]

    def states(self) -> States:
        """Return the optimizer's state of each parameter as it is now."""
        groups = self._state.optimizer.param_groups
        states = [self._state.state_of(w.parameter, groups[w.group]) for w in self._watched]
        if self._local_gradients is not None:
            states = [
                s if w.shard is None else w.shard.state(s)
                for w, s in zip(self._watched, states, strict=True)
            ]
        return States(states, storage_of(states))

    def _found_gradients(self) -> list[Tensor | None]:
        """The gradients as they are now."""
        if self._local_gradients is None:
            return [w.parameter.grad for w in self._watched]
        return [self._local_gradients.of(w.parameter) for w in self._watched]

    def _values(self, parameter: int, gradient: Tensor | None) -> Tensor | None:
        """Return the numbers of a gradient as they are read: dense, or sparse and coalesced."""
        if gradient is None:
            return None
        if gradient.is_sparse:
            if self.panel.can_read_sparse(parameter, gradient):
                return gradient.coalesce()
            gradient = gradient.to_dense()
        return as_real(gradient)

    def before_step(self) -> None:
        """Read what the step is about to change."""
        groups = self._state.optimizer.param_groups
        overwritten = [self._state.overwrites_gradient(groups[w.group]) for w in self._watched]
        self._gradients = [None] * len(self._watched)
        if any(overwritten):
            self._gradients = [
                gradient.clone() if gradient is not None and is_overwritten else None
                for gradient, is_overwritten in zip(
                    self._found_gradients(), overwritten, strict=True
                )
            ]
        states, storage = self.states()
        self._had_state = _present(states)
        stored = stored_state(storage)
        maximum = self._keeps_maximum()
        self._second_moment_before_is_known = bool((stored.rounds_exp_avg_sq | maximum).any())
        wanted = {
            "exp_avg": stored.rounds_exp_avg.any(),
            "exp_avg_sq": self._second_moment_before_is_known,
        }
        moments = {q: _sources(states, q) for q, is_wanted in wanted.items() if is_wanted}
        self._compared = frozenset(moments)
        weights = self._weights()
        if self._single_pass is None or not self._single_pass.keep(weights, moments):
            self._single_pass = None
            self._keep_rows(weights, moments)

    def after_step(
        self,
        with_histograms: bool,
        others: Sequence[str] = (),
        found: States | None = None,
        loss: float | Tensor = float("nan"),
        step: int = 0,
    ) -> Measured:
        """Measure the step since :meth:`before_step`. Waits for the device once.

        The arguments are those of :meth:`sums`.
        """
        sums = self.sums(with_histograms, others, found, loss, step)
        return finished(sums.of, sums.counts)

    def sums(
        self,
        with_histograms: bool,
        others: Sequence[str] = (),
        found: States | None = None,
        loss: float | Tensor = float("nan"),
        step: int = 0,
    ) -> Sums:
        """Measure what is here of the step since :meth:`before_step`, without the last formulas.

        Args:
            with_histograms: Whether to count them.
            others: Keys of further state tensors: their histograms follow the others.
            found: From :meth:`states`, if the caller has it already.
            loss: Of this step, if it is known; a tensor is read when the device is waited for.
            step: Number of the step, from which step counts are guessed that lie on a device.
        """
        states, storage = self.states() if found is None else found
        stored = stored_state(storage)
        gradients = [
            self._values(i, gradient if kept is None else kept)
            for i, (gradient, kept) in enumerate(
                zip(self._found_gradients(), self._gradients, strict=True)
            )
        ]
        weights = self._weights()
        tensors: Tensors = {
            "weight": weights,
            "exp_avg": _sources(states, "exp_avg"),
            "exp_avg_sq": _sources(states, "exp_avg_sq"),
            **{
                # Under the quantity's name: an unknown optimizer may have a key "exp_avg", too.
                schema.state_quantity(key).name: [
                    None if s is None else s.others.get(key) for s in states
                ]
                for key in others
            },
        }
        masks = {key for s in states if s is not None for key in s.masks}
        tensors.update(
            {key: [None if s is None else s.masks.get(key) for s in states] for key in masks}
        )
        tensors = {quantity: self._real(sources) for quantity, sources in tensors.items()}
        tensors["gradient"] = gradients
        reduced = self._in_single_pass(
            weights, gradients, states, stored, others, with_histograms, step
        )
        if reduced is None:
            reduced = self._in_blocks(
                tensors, gradients, states, stored, others, masks, with_histograms
            )
        # Copies from before the step: they may be as large as the model.
        self._before, self._gradients = {}, ()
        total = reduced.total
        exact = {name: total[name].copy() for name in _EXACT.values()}
        for name, squares in reduced.exact.items():
            exact[name][self.panel.sampled] = squares
        nonfinite = self._look_closer(tensors, total, exact)
        maximum = self._keeps_maximum()
        has_gradient = _present(gradients)
        sums = row_values.ParameterSums(
            total=total,
            update_spread=row_values.update_spread(
                row_values.update_squares(reduced.rows), reduced.first_rows, reduced.row_elements
            ),
            gradient_fourth_powers=row_values.gradient_fourth_powers(
                reduced.rows, reduced.first_rows
            ),
            dead_row_fraction=reduced.dead_row_fraction,
            loss=float(loss),
            rows=np.diff(np.append(reduced.first_rows, reduced.rows.shape[1])),
            elements=self.panel.elements,
            elements_read=self.panel.elements_read,
            padding=reduced.padding,
            exact=exact,
            nonfinite=nonfinite,
            has_gradient=has_gradient,
            has_exp_avg=_present(tensors["exp_avg"]),
            has_exp_avg_sq=_present(tensors["exp_avg_sq"]),
            knows_update=_present(states) & has_gradient & self._state.update_is_known,
            state_step=np.where(_present(states), reduced.numbers[0], np.nan),
            begun=self._had_state & ~(reduced.numbers[0] <= 1),
            coefficients=dict(zip(COEFFICIENTS, reduced.numbers[1:], strict=True)),
            second_moment_before_is_known=np.full(
                len(self._watched), self._second_moment_before_is_known
            ),
            rounds_exp_avg=stored.rounds_exp_avg & ("exp_avg" in self._compared),
            rounds_exp_avg_sq=stored.rounds_exp_avg_sq
            & ~maximum
            & ("exp_avg_sq" in self._compared),
            halves_exp_avg_sq=stored.halves_exp_avg_sq & ~maximum,
        )
        return Sums(
            sums,
            reduced.counts,
            self._row_squares(reduced),
            [
                w.shard.rows_with_gradient(gradient)
                for w, gradient in zip(self._watched, gradients, strict=True)
                if w.shard is not None and w.shard.cuts_rows
            ],
        )

    def _row_squares(self, reduced: Reduced) -> Values:
        """Σd² of the rows of the whole parameters' samples, as far as they are here."""
        squares = np.zeros(sum(sample.total_rows for sample in self._samples.values()))
        first = 0
        for i, sample in self._samples.items():
            numbers = sample.row_numbers
            if len(numbers):
                start = int(reduced.first_rows[i])
                here = row_values.update_squares(reduced.rows[:, start : start + len(numbers)])
                squares[first + numbers] = here
            first += sample.total_rows
        return squares

    def _in_single_pass(
        self,
        weights: Sequence[Tensor],
        gradients: Sequence[Tensor | None],
        states: Sequence[ParameterState | None],
        stored: StoredState,
        others: Sequence[str],
        with_histograms: bool,
        step: int,
    ) -> Reduced | None:
        """Let one kernel reduce all tensors, where that is the way; None where it is not."""
        if self._single_pass is None:
            return None
        groups = self._state.optimizer.param_groups
        reduced = self._single_pass.reduce(
            weights,
            gradients,
            states,
            [groups[w.group] for w in self._watched],
            stored.smallest_normal,
            others,
            with_histograms,
            step,
        )
        if reduced is None:
            self._keep_rows(self._single_pass.weights, self._single_pass.moments)
            self._single_pass = None
        return reduced

    def _in_blocks(
        self,
        tensors: Tensors,
        gradients: Sequence[Tensor | None],
        states: Sequence[ParameterState | None],
        stored: StoredState,
        others: Sequence[str],
        masks: Iterable[str],
        with_histograms: bool,
    ) -> Reduced:
        """Reduce the rows block by block, with torch's operations."""
        groups = self._state.optimizer.param_groups
        steps = self._steps(states)
        table = StepTable([groups[w.group] for w in self._watched], states, steps)
        coefficients = self._state.coefficients(table)
        zeros = self._zeros(len(others), self.panel.rows)
        counts = self._begin_counts(others) if with_histograms else None
        is_there = np.ones((0, len(self._watched)), bool)
        if counts is not None:
            is_there = np.stack([self._has(tensors, q) for q in counts.quantities])
        self._reduce(tensors, coefficients, stored, others, masks, zeros, counts, is_there)
        numbers = torch.stack([steps, *(getattr(coefficients, name) for name in COEFFICIENTS)])
        parts = [self.panel.totals(q) for q in _EXACT] if self.panel.sampled else []
        sent = [
            self._rows,
            zeros,
            numbers if numbers.device.type == "cpu" else numbers.to(self._device),
            self._dead_rows.counts(),
            *(part for part, _ in parts),
            *([] if counts is None else counts.on_device),
        ]
        rows, other_zeros, host_numbers, alive, *rest = to_host(sent)
        totals = dict(zip(_EXACT, rest[: len(parts)], strict=False))
        total = row_values.add_up(rows, self.panel.first_rows)
        exact = {}
        for (quantity, values), (_, starts) in zip(totals.items(), parts, strict=True):
            wide = values.astype(np.float64)
            squares = wide if self._total_of(quantity) is norms.partial_sums else wide**2
            exact[_EXACT[quantity]] = np.add.reduceat(squares, starts)
        if counts is not None and counts.on_device:
            counts.take_codes(
                rest[len(parts)],
                self._zero_counts(rows, other_zeros, slice(0, len(self._watched))),
                self._padding,
                is_there,
            )
        return Reduced(
            rows=rows,
            first_rows=self.panel.first_rows,
            row_elements=self.panel.row_elements,
            padding=self._padding,
            total=total,
            exact=exact,
            numbers=host_numbers,
            dead_row_fraction=self._dead_rows.fractions(
                alive,
                gradients,
                np.split(totals["gradient"], parts[list(_EXACT).index("gradient")][1][1:])
                if parts
                else (),
            ),
            counts=None if counts is None else counts.take(),
        )

    def _keep_rows(
        self, weights: Sequence[Tensor], moments: Mapping[str, Sequence[Source | None]]
    ) -> None:
        """Keep weights and moments before the step, as rows."""
        self.panel.read_before(norms.partial_norms, self._real(weights))
        self._before = {q: self._all_rows(q, self._real(found)) for q, found in moments.items()}
        if self._second_moment_before_is_known:
            row_values.row_second_moment_before(self._before["exp_avg_sq"], self._rows)

    def _real(self, tensors: Sequence[Source | None]) -> Sequence[Source | None]:
        if not any(self._is_complex):
            return tensors
        return [real_source(t, c) for t, c in zip(tensors, self._is_complex, strict=True)]

    def _lasting(self, *shape: int) -> Tensor:
        return lasting.zeros(shape, self._dtype, self._device)

    def _zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=self._dtype, device=self._device)

    def _all_rows(self, quantity: str, sources: Sequence[Source | None]) -> Tensor:
        rows = self._zeros(self.panel.rows, ROW)
        for block in self.panel.blocks:
            part = self._second_moment(quantity, self.panel.read(block, quantity, sources))
            rows[block.first_row : block.first_row + block.rows] = part
        return rows

    def _second_moment(self, quantity: str, rows: Tensor) -> Tensor:
        """Square in place what the optimizer keeps as a root."""
        is_root = quantity == "exp_avg_sq" and self._state.exp_avg_sq_is_root
        return rows.mul_(rows) if is_root else rows

    def _total_of(self, quantity: str) -> Total:
        """How a quantity is added up over all elements."""
        if quantity == "gradient":
            return _gradient_norms
        is_sum = quantity == "exp_avg_sq" and not self._state.exp_avg_sq_is_root
        return norms.partial_sums if is_sum else norms.partial_norms

    def _keeps_maximum(self) -> npt.NDArray[np.bool_]:
        by_group = [self._state.keeps_maximum(g) for g in self._state.optimizer.param_groups]
        return np.array([by_group[w.group] for w in self._watched])

    def _steps(self, states: Sequence[ParameterState | None]) -> Tensor:
        """Steps that each parameter has taken: float64 ``[K]``, where the optimizer keeps them."""
        counts = [0.0 if s is None else s.step for s in states]
        device = next(
            (c.device for c in counts if isinstance(c, Tensor) and c.device.type != "cpu"), None
        )
        if device is None:
            numbers = [float(count) for count in counts]
            return torch.tensor(numbers, dtype=torch.float64, device="cpu")
        return torch.stack(
            [
                on_device(c, device).to(torch.float64)
                if isinstance(c, Tensor)
                else torch.full((), c, dtype=torch.float64, device=device)
                for c in counts
            ]
        )

    def _plan(self, c: Coefficients, stored: StoredState) -> row_values.Plan:
        plain, decays = False, True  # which is right for any numbers: a device is not asked
        if c.weight_decay.device.type == "cpu":
            decays = bool((c.weight_decay != 0).any())
            plain = bool((c.gradient_sign == 1).all() and (c.coupled_weight_decay == 0).all())
        rounded_after = {}
        if self._state.rounds_after_step:
            rounded_after = {
                "exp_avg": self._by_row(stored.makes_exp_avg),
                "exp_avg_sq": self._by_row(stored.makes_exp_avg_sq),
            }
        half = {
            dtype: self._by_row(stored.stores_exp_avg_sq_as(dtype))
            for dtype in (torch.bfloat16, torch.float16)
            if stored.stores_exp_avg_sq_as(dtype).any()
        }
        return row_values.Plan(
            plain_gradient=plain,
            has_weight_decay=decays,
            knows_update=self._state.update_is_known,
            counts_direction=any(q.name == "normalized_update" for q in self._quantities),
            half_precision=half,
            rounded_after=rounded_after,
        )

    def _by_row(self, of_parameters: npt.NDArray[Any]) -> Tensor:
        """Spread a value of each parameter over its rows, ``[rows, 1]``."""
        return to_device(of_parameters, self._device)[self._row_parameter, None]

    def _reduce(
        self,
        tensors: Tensors,
        coefficients: Coefficients,
        stored: StoredState,
        others: Sequence[str],
        masks: Iterable[str],
        zeros: Tensor,
        counts: histograms.HistogramCounts | None,
        is_there: npt.NDArray[np.bool_],
    ) -> None:
        """Fill the row values and count the codes of the histograms, block by block."""
        numbers = row_values.RowCoefficients(coefficients, self._row_parameter, self._dtype)
        plan = self._plan(coefficients, stored)
        smallest = self._by_row(stored.smallest_normal.astype(_NUMPY[self._dtype]))
        present = {q for q in ("exp_avg", "exp_avg_sq") if _present(tensors[q]).any()}
        for index, block in enumerate(self.panel.blocks):
            rows = slice(block.first_row, block.first_row + block.rows)
            before = self.panel.before(block)
            weight = self.panel.read(block, "weight", tensors["weight"])
            scratch = self._scratch[:, : block.rows]
            elements = row_values.Block(
                before=before,
                weight=weight,
                gradient=self._read(block, "gradient", tensors),
                update=torch.sub(weight, before, out=scratch[-1]),
                exp_avg=self._read(block, "exp_avg", tensors) if "exp_avg" in present else None,
                exp_avg_sq=(
                    self._read(block, "exp_avg_sq", tensors) if "exp_avg_sq" in present else None
                ),
                others={
                    **{key: self._read_other(block, key, tensors) for key in others},
                    **{key: self.panel.read(block, key, tensors[key]) for key in masks},
                },
                moments_before={key: kept[rows] for key, kept in self._before.items()},
            )
            out = self._rows[:, rows]
            c = numbers.of(rows)
            entering, direction = row_values.row_sums(
                elements,
                self._state,
                c,
                smallest[rows],
                plan.of_rows(rows),
                out,
                scratch[: row_values.SCRATCH],
                self._masks[:, : block.rows],
            )
            self._dead_rows.look_at(block, elements.gradient, self._masks[0, : block.rows])
            if self._before:
                self._compare_with_exact(elements, entering, c, rows, out)
            for i, key in enumerate(others):
                torch.sum(elements.others[key] == 0, 1, out=zeros[i, rows])
            if counts is not None:
                standard = (
                    direction if q.name == "normalized_update" else getattr(elements, q.name)
                    for q in self._quantities
                )
                counted = [*standard, *(elements.others[key] for key in others)]
                for cut in self._cuts[index]:
                    self._count(counts, block, cut, counted)
                    if not counts.on_device:
                        ended = self._ended_in(block, cut)
                        counts.end_cut(
                            self._zero_counts(self._rows.numpy(), zeros.numpy(), ended),
                            self._padding[ended],
                            is_there[:, ended],
                        )

    def _count(
        self,
        counts: histograms.HistogramCounts,
        block: Block,
        cut: histograms.Cut,
        counted: Sequence[Tensor | None],
    ) -> None:
        """Count the codes of the elements of each quantity in a cut of a block."""
        parameters = _shifted(cut.parameters, block.first_parameter)
        counts.begin_cut(parameters)
        for q, values in enumerate(counted):
            if values is not None:
                table = histograms.count_rows(
                    values[cut.rows].float(),
                    cut.offsets,
                    parameters.stop - parameters.start,
                    self._codes[cut.rows],
                    counts.table,
                )
                counts.add(q, parameters, table)

    def _ended_in(self, block: Block, cut: histograms.Cut) -> slice:
        """Which parameters of a cut have their last row in its block."""
        parameters = _shifted(cut.parameters, block.first_parameter)
        end = block.first_row + block.rows
        stop = int(np.searchsorted(self._ends, end, side="right"))
        return slice(parameters.start, min(max(parameters.start, stop), parameters.stop))

    def _zero_counts(
        self, rows: npt.NDArray[Any], others: npt.NDArray[Any], parameters: slice
    ) -> list[schema.Counts]:
        """How many elements of some parameters are zero, padding included, by quantity.

        Args:
            rows: Row values, on the host.
            others: Zeros of the rows of further quantities.
            parameters: Which.
        """
        firsts = self.panel.first_rows[parameters]
        if not len(firsts):
            return []
        here = slice(int(firsts[0]), int(self._ends[parameters][-1]))
        names = [row_values.ZEROS[q.name] for q in self._quantities]
        found = [*(rows[row_values.ROW_VALUES.index(name)] for name in names), *others]
        starts = firsts - firsts[0]
        return [
            np.add.reduceat(zeros[here], starts, dtype=np.float64).astype(np.int64)
            for zeros in found
        ]

    def _compare_with_exact(
        self,
        elements: row_values.Block,
        gradient: Tensor,
        c: Coefficients,
        rows: slice,
        out: Tensor,
    ) -> None:
        """How much the moments that are stored rounded lost at this step.

        Args:
            elements: A block's.
            gradient: g' of each of them.
            c: The numbers of its rows.
            rows: The block.
            out: Its row values.
        """
        moments = (
            ("exp_avg", elements.exp_avg, gradient, c.exp_avg_decay, c.exp_avg_weight, "m"),
            (
                "exp_avg_sq",
                elements.exp_avg_sq,
                gradient * gradient,
                c.exp_avg_sq_decay,
                c.exp_avg_sq_weight,
                "v",
            ),
        )
        for quantity, after, added, decay, weight, symbol in moments:
            if quantity in self._before and after is not None:
                names = (f"({symbol}-exact)²", f"exact {symbol}²")
                before = elements.moments_before[quantity]
                row_values.row_rounding(before, after, added, decay, weight, names, out)

    def _read(self, block: Block, quantity: str, tensors: Tensors) -> Tensor:
        rows = self.panel.read(block, quantity, tensors[quantity], self._total_of(quantity))
        return self._second_moment(quantity, rows)

    def _read_other(self, block: Block, key: str, tensors: Tensors) -> Tensor:
        name = schema.state_quantity(key).name
        return self.panel.read(block, name, tensors[name])

    def _look_closer(
        self, tensors: Tensors, total: Mapping[str, Values], exact: Mapping[str, Values]
    ) -> Values:
        """Go once more through the tensors whose sums say that something is unusual.

        A sum that is not finite, because of an element or because float32 squares overflow, or one
        that is so small that squares underflow. The former are counted; where all elements are
        finite after all, ``exact`` gets the sum in float64.

        Returns:
            How many elements of weight, gradient, exp_avg and exp_avg_sq are not finite, ``[K]``.
        """
        nonfinite = np.zeros(len(self._watched))
        for quantity, name, largest in (
            ("gradient", "g²", "max|g|"),
            ("exp_avg", "m²", "max|m|"),
            ("exp_avg_sq", "v", "max v"),
            # The largest is NaN where one is, and only the weights before the step were gone
            # through as a whole.
            ("weight", "max|w|", "max|w|"),
        ):
            sums = exact.get(name, total[name])
            unusual = ~np.isfinite(sums)
            if quantity == "weight":
                unusual |= ~np.isfinite(exact["b²"]) | (nonfinite > 0)
            elif quantity != "exp_avg_sq":
                unusual |= (sums < norms.UNDERFLOW) & (total[largest] > 0)
            for i in np.flatnonzero(unusual).tolist():
                source = tensors[quantity][i]
                if source is not None:
                    tensor = read(source)
                    if tensor.is_sparse:
                        tensor = tensor.values()
                    count = norms.count_nonfinite(tensor)
                    nonfinite[i] += count
                    if not count and name in exact and quantity != "exp_avg_sq":
                        exact[name][i] = norms.sum_of_squares_in_double(tensor)
        return nonfinite

    def _begin_counts(self, others: Sequence[str]) -> histograms.HistogramCounts:
        """Return the memory of the histograms, empty."""
        quantities = (*self._quantities, *(schema.state_quantity(key) for key in others))
        if self._counts is None or self._counts.quantities != quantities:
            read = self.panel.elements_read + self._padding
            self._counts = histograms.HistogramCounts(quantities, read, self._device)
        self._counts.begin()
        return self._counts

    def _has(self, tensors: Tensors, quantity: schema.Quantity) -> npt.NDArray[np.bool_]:
        """Which parameters have a quantity, ``[K]``."""
        sources = tensors.get(quantity.name)
        if sources is not None:
            return _present(sources)
        # The update, which all have, or what the moments make.
        is_known = quantity.name != "normalized_update" or self._state.update_is_known
        return np.full(len(self._watched), is_known)


def finished(sums: row_values.ParameterSums, counts: schema.SparseHistograms | None) -> Measured:
    """Complete the formulas of a step."""
    return Measured(row_values.finish(sums), counts, sums.exact["g²"], sums.has_gradient)


def _sources(states: Sequence[ParameterState | None], name: str) -> list[Source | None]:
    return [None if state is None else getattr(state, name) for state in states]


def _shifted(indices: slice, by: int) -> slice:
    return slice(indices.start + by, indices.stop + by)


def _present(values: Sequence[object]) -> npt.NDArray[np.bool_]:
    return np.array([value is not None for value in values])


def _gradient_norms(gradient: Tensor, dtype: torch.dtype) -> Tensor:
    if gradient.is_sparse:
        return sparse_rows.row_norms(gradient, dtype)
    return norms.row_norms(gradient, dtype)
