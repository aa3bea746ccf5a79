"""One recorded step of the parameters of one device: read, reduce, look closer, finish."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, SupportsFloat

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tb_adam_plugin import schema
from tb_adam_plugin.arrays import Flags, Float64s

from ..attach.watched_parameters import Watched
from ..optimizer_state.base import OptimizerState
from ..optimizer_state.coefficients import COEFFICIENTS
from ..optimizer_state.group_settings import GroupSettings
from ..optimizer_state.parameter_state import Source, read
from ..optimizer_state.storage import storage_of, stored_state
from ..read.panel import Panel
from ..read.real_numbers import as_real
from ..shards.local_gradients import LocalGradients
from . import native_pass, tensors
from .closer_look import look_closer
from .formulas import finish
from .gpu import single_pass
from .in_blocks import BlockReduction
from .kept_gradients import KeptGradient
from .parameter_sums import ParameterSums, gradient_fourth_powers
from .reduced import Reduced, Reduction
from .row_ages import RowAges
from .row_value_table import OVER_ALL
from .sampled_rows import SampleRows
from .tensors import States, StepTensors, present


class Measured(NamedTuple):
    """A recorded step of ``K`` parameters.

    Attributes:
        statistics: float32 ``[K, len(schema.STATISTICS)]``.
        counts: Histograms of all quantities, or None.
        squared_gradients: Σg² over all elements of each parameter, float64 ``[K]``.
        has_gradient: bool ``[K]``.
        requested_rms: RMS of the nonzero weight changes that the formula requests, float64 ``[K]``;
            NaN if there are none.
    """

    statistics: npt.NDArray[np.float32]
    counts: schema.SparseHistograms | None
    squared_gradients: Float64s
    has_gradient: Flags
    requested_rms: Float64s


class Sums(NamedTuple):
    """A recorded step of ``K`` parameters before the formulas are evaluated.

    Attributes:
        of: Sums of this process's part of the parameters.
        counts: See :class:`Measured`.
        row_squares: :data:`.sampling_error.SQUARES` of each row of
            :class:`..shards.shards.Sample` of the whole parameters, one parameter after the other,
            ``[len(SQUARES), rows]``; no rows if nothing is sharded.
        alive: Which rows along the first dimension have a gradient here, for each parameter whose
            rows are shared by several processes.
    """

    of: ParameterSums
    counts: schema.SparseHistograms | None
    row_squares: Float64s
    alive: Sequence[Flags]


class Measurement:
    """Measures the parameters of one device and precision, and owns the memory for it."""

    def __init__(
        self,
        watched: Sequence[Watched],
        state: OptimizerState,
        max_sampled_elements: int | None,
        quantities: Sequence[schema.Quantity] = schema.QUANTITIES,
        gradients: LocalGradients | None = None,
        grown: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """Choose the elements to read.

        Args:
            watched: Parameters on one device, either all or none of them float64.
            state: The optimizer's adapter.
            max_sampled_elements: See :class:`..read.panel.Panel`.
            quantities: Quantities to make histograms of, besides additional state tensors.
            gradients: Finds the gradients of sharded parameters; either all or none are sharded.
            grown: See :class:`..read.panel.Panel`; not for sharded parameters.
        """
        self._watched = watched
        self._state = state
        self._local_gradients = gradients
        parameters = self._weights()
        double = parameters[0].dtype.to_real() == torch.float64
        # Half precision is read as float32, which represents its values and differences exactly.
        dtype = torch.float64 if double else torch.float32
        self._samples = {
            i: sample
            for i, (w, part) in enumerate(zip(watched, parameters, strict=True))
            if w.shard is not None
            and (sample := w.shard.sample(w.name, part, max_sampled_elements)) is not None
        }
        self._is_complex = [p.is_complex() for p in parameters]
        self.panel = Panel(
            [as_real(p) for p in parameters],
            [w.name for w in watched],
            dtype,
            None if gradients is not None else max_sampled_elements,
            {i: sample.as_part() for i, sample in self._samples.items()},
            grown,
        )
        self._sample_rows = SampleRows(self.panel, self._samples)
        self._in_blocks = BlockReduction(parameters, state, self.panel, quantities, dtype)
        self._reduction = self._best_reduction(parameters, quantities)
        self._compared: frozenset[str] = frozenset()  # moments to keep before a step
        self._gradients: Sequence[Tensor | KeptGradient | None] = ()  # overwritten by the step
        self._had_state = np.zeros(len(watched), bool)

    def _best_reduction(
        self, parameters: Sequence[Tensor], quantities: Sequence[schema.Quantity]
    ) -> Reduction:
        """Return the fastest reduction: a kernel, if one fits."""
        if self._samples:
            return self._in_blocks
        on_gpu = single_pass.for_parameters(
            parameters, self._state, self.panel, quantities, self._in_blocks
        )
        if on_gpu is not None:
            return on_gpu
        native = native_pass.for_parameters(
            parameters, self._state, self.panel, quantities, self._in_blocks
        )
        return self._in_blocks if native is None else native

    @property
    def row_ages(self) -> RowAges:
        """For how many records each row has had no gradient."""
        return self._in_blocks.row_ages

    def _weights(self) -> list[Tensor]:
        """This process's part of each parameter; not stored, because training may replace it."""
        return [w.local() for w in self._watched]

    def _groups(self) -> list[GroupSettings]:
        """The parameter group of each parameter."""
        groups = self._state.optimizer.param_groups
        return [groups[w.group] for w in self._watched]

    def states(self) -> States:
        """Return the optimizer's current state of each parameter."""
        groups = self._state.optimizer.param_groups
        states = [self._state.state_of(w.parameter, groups[w.group]) for w in self._watched]
        if self._local_gradients is not None:
            states = [
                s if w.shard is None else w.shard.state(s)
                for w, s in zip(self._watched, states, strict=True)
            ]
        return States(states, storage_of(states))

    def _found_gradients(self) -> list[Tensor | None]:
        """The current gradients."""
        if self._local_gradients is None:
            return [w.parameter.grad for w in self._watched]
        return [self._local_gradients.of(w.parameter) for w in self._watched]

    def _values(self, parameter: int, gradient: Tensor | None) -> Tensor | None:
        """Return a gradient in the form in which it is read: dense, or sparse and coalesced."""
        if gradient is None or (not gradient.is_sparse and not self._is_complex[parameter]):
            return gradient
        if gradient.is_sparse:
            if self.panel.can_read_sparse(parameter, gradient):
                return gradient.coalesce()
            gradient = gradient.to_dense()
        return as_real(gradient)

    def _by_group(self, of_group: Callable[[GroupSettings], bool]) -> Flags:
        """Evaluate a property of each parameter's group, ``[K]``, once per group."""
        by_group = [of_group(group) for group in self._state.optimizer.param_groups]
        if len(set(by_group)) == 1:
            return np.full(len(self._watched), by_group[0])
        return np.array([by_group[w.group] for w in self._watched])

    def before_step(self) -> None:
        """Read what the step is about to change."""
        self.keep_gradients()
        states, storage = self.states()
        self._had_state = present(states)
        stored = stored_state(storage)
        maximum = self._by_group(self._state.keeps_maximum)
        wanted = {
            "exp_avg": stored.rounds_exp_avg.any(),
            "exp_avg_sq": (stored.rounds_exp_avg_sq | maximum).any(),
        }
        moments = {q: tensors.moments(states, q) for q, is_wanted in wanted.items() if is_wanted}
        self._compared = frozenset(moments)
        weights = self._weights()
        if not self._reduction.keep(weights, moments):
            self._reduction = self._in_blocks
            self._reduction.keep(weights, moments)

    def keep_gradients(self) -> None:
        """Read the gradients that the step overwrites, again if a closure has computed new ones."""
        overwritten = self._by_group(self._state.overwrites_gradient)
        self._gradients = [None] * len(self._watched)
        if overwritten.any():
            self._gradients = self._kept_gradients(overwritten)

    def _kept_gradients(self, overwritten: Flags) -> list[Tensor | KeptGradient | None]:
        """Keep the parts of some parameters' gradients that a record needs."""
        found = [
            gradient if is_overwritten else None
            for gradient, is_overwritten in zip(self._found_gradients(), overwritten, strict=True)
        ]
        sampled = {
            i: gradient
            for i in self.panel.sampled
            if (gradient := self._values(i, found[i])) is not None
        }
        rows = self._in_blocks.keep_gradients(sampled) if sampled else {}
        for i, kept in rows.items():
            kept.alive = self._rows_with_gradient(self._watched[i], sampled[i])
        return [
            rows[i] if i in rows else None if gradient is None else gradient.clone()
            for i, gradient in enumerate(found)
        ]

    @staticmethod
    def _rows_with_gradient(watched: Watched, gradient: Source | None) -> Flags | None:
        """Which rows of a whole parameter have a gradient here, if several processes share them."""
        if watched.shard is None or not watched.shard.cuts_rows:
            return None
        if isinstance(gradient, KeptGradient):
            return gradient.alive
        return watched.shard.rows_with_gradient(None if gradient is None else read(gradient))

    def after_step(
        self,
        with_histograms: bool,
        others: Sequence[str] = (),
        found: States | None = None,
        loss: SupportsFloat = float("nan"),
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
        loss: SupportsFloat = float("nan"),
        step: int = 0,
    ) -> Sums:
        """Measure this process's part of the step since :meth:`before_step`, without the formulas.

        Args:
            with_histograms: Whether to count histograms.
            others: Keys of additional state tensors: their histograms follow the others.
            found: From :meth:`states`, if the caller already has it.
            loss: The loss of this step, if known; read after the device has been waited for.
            step: The step number: predicts step counts that are on a device, and determines which
                records a window of steps has.
        """
        found = self.states() if found is None else found
        taken = self._taken(with_histograms, others, found, step)
        reduced = self._reduced(taken)
        self._gradients = ()
        exact = {name: reduced.total[name].copy() for name in OVER_ALL.values()}
        for name, squares in reduced.exact.items():
            exact[name][self.panel.sampled] = squares
        nonfinite = look_closer(taken.by_quantity, reduced.total, exact)
        return Sums(
            self._parameter_sums(taken, reduced, exact, nonfinite, float(loss)),
            reduced.counts,
            self._sample_rows.of_whole_samples(reduced),
            [
                alive
                for w, gradient in zip(self._watched, taken.gradients, strict=True)
                if (alive := self._rows_with_gradient(w, gradient)) is not None
            ],
        )

    def _taken(
        self, with_histograms: bool, others: Sequence[str], found: States, step: int
    ) -> StepTensors:
        """Return the step's tensors."""
        gradients: list[Source | None] = [
            kept
            if isinstance(kept, KeptGradient)
            else self._values(i, gradient if kept is None else kept)
            for i, (gradient, kept) in enumerate(
                zip(self._found_gradients(), self._gradients, strict=True)
            )
        ]
        weights = self._weights()
        states = found.of
        return StepTensors(
            weights=weights,
            gradients=gradients,
            states=states,
            groups=self._groups(),
            stored=stored_state(found.storage),
            by_quantity=tensors.by_quantity(weights, gradients, states, others, self._is_complex),
            others=others,
            masks=tensors.masks_of(states),
            with_histograms=with_histograms,
            step=step,
        )

    def _reduced(self, step: StepTensors) -> Reduced:
        reduced = self._reduction.reduce(step)
        if reduced is None:
            self._reduction = self._in_blocks
            reduced = self._in_blocks.reduce(step)
        return reduced

    def _parameter_sums(
        self,
        step: StepTensors,
        reduced: Reduced,
        exact: dict[str, Float64s],
        nonfinite: Float64s,
        loss: float,
    ) -> ParameterSums:
        """Collect the inputs of the formulas."""
        stored, has_gradient, has_state = step.stored, present(step.gradients), present(step.states)
        maximum = self._by_group(self._state.keeps_maximum)
        taken = reduced.numbers[0]
        return ParameterSums(
            total=reduced.total,
            gradient_fourth_powers=gradient_fourth_powers(reduced.rows, reduced.first_rows),
            dead_row_fraction=reduced.dead_row_fraction,
            idle_row_fraction=reduced.idle_row_fraction,
            loss=loss,
            elements=self.panel.elements,
            elements_read=self.panel.elements_read,
            padding=reduced.padding,
            exact=exact,
            nonfinite=nonfinite,
            sampled=self._sample_rows.here(reduced),
            has_gradient=has_gradient,
            has_exp_avg=present(step.by_quantity["exp_avg"]),
            has_exp_avg_sq=present(step.by_quantity["exp_avg_sq"]),
            knows_update=has_state & has_gradient & self._state.update_is_known,
            state_step=np.where(has_state, taken, np.nan),
            begun=self._had_state & ~(taken <= 1),
            coefficients=dict(zip(COEFFICIENTS, reduced.numbers[1:], strict=True)),
            second_moment_before_is_known=np.full(
                len(self._watched), "exp_avg_sq" in self._compared
            ),
            rounds_exp_avg=stored.rounds_exp_avg & ("exp_avg" in self._compared),
            rounds_exp_avg_sq=stored.rounds_exp_avg_sq
            & ~maximum
            & ("exp_avg_sq" in self._compared),
            halves_exp_avg_sq=stored.halves_exp_avg_sq & ~maximum,
        )


def finished(sums: ParameterSums, counts: schema.SparseHistograms | None) -> Measured:
    """Evaluate the formulas of a step."""
    squares, changes = sums.total["r²"], sums.total["r≠0"]
    with np.errstate(all="ignore"):  # in a step whose formula is unknown
        requested = np.sqrt(np.where(changes > 0, squares / changes, np.nan))
    return Measured(finish(sums), counts, sums.exact["g²"], sums.has_gradient, requested)
