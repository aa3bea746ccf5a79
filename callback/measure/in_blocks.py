"""A step reduced block by block, with torch's operations: the way that works for every step."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tb_adam_plugin import schema
from tb_adam_plugin.arrays import Flags, Float64s

from ..memory import lasting
from ..memory.to_host import on_device, to_device, to_host
from ..optimizer_state.base import OptimizerState
from ..optimizer_state.coefficients import COEFFICIENTS, Coefficients, StepTable
from ..optimizer_state.parameter_state import ParameterState
from ..read import gradient_sums, norms
from ..read.memory_order import require_memory
from ..read.panel import Panel
from ..read.real_numbers import as_real
from ..read.rows import ROW, Block, Total
from . import row_values
from .block_histograms import BlockHistograms
from .dead_rows import DeadRows
from .kept_gradients import KeptGradient, keep_rows, kept_among, others_than, put_kept_rows
from .parameter_sums import add_up
from .reduced import Reduced
from .row_value_table import NAMES, OVER_ALL
from .tensors import Sources, StepTensors, Tensors, as_read, present

_NUMPY = {torch.float32: np.float32, torch.float64: np.float64}
_MOST_SENT = 8


class BlockReduction:
    """Reduces the rows of a panel, for any optimizer, device and tensors.

    Attributes:
        row_ages: Ages of the rows along the first dimension, maintained by whatever reduces a step.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        state: OptimizerState,
        panel: Panel,
        quantities: Sequence[schema.Quantity],
        dtype: torch.dtype,
    ) -> None:
        """Lay out the elements to read, and allocate the memory for a block.

        Args:
            parameters: Parameters on one device.
            state: The optimizer's adapter.
            panel: The elements read of the parameters.
            quantities: Quantities to make histograms of, besides additional state tensors.
            dtype: Type in which elements are read: float32 or float64.
        """
        self._state = state
        self._panel = panel
        self._device = parameters[0].device
        self._dtype = dtype
        self._is_complex = [parameter.is_complex() for parameter in parameters]
        self._counts_direction = any(q.name == "normalized_update" for q in quantities)
        self._dead_rows = DeadRows([as_real(p) for p in parameters], panel)
        self.row_ages = self._dead_rows.ages
        self._row_parameter = to_device(panel.row_parameter, self._device)
        self._before: dict[str, Tensor] = {}  # rows of the moments that are stored rounded
        self._sent: dict[tuple[str, bytes], Tensor] = {}  # values by row, keyed by what was sent
        most = max(block.rows for block in panel.blocks)
        self._scratch = self._lasting(row_values.SCRATCH + 1, most, ROW)
        self._masks = lasting.zeros((row_values.MASKS, most, ROW), torch.bool, self._device)
        # Codes are computed after the block is reduced: the first scratch is free by then.
        self._histograms = BlockHistograms(panel, quantities, self._device, self._scratch[0])

    @functools.cached_property
    def _rows(self) -> Tensor:
        """Row values, ``[len(ROW_VALUES), rows]``."""
        return self._lasting(len(NAMES), self._panel.rows)

    def keep(self, weights: Sequence[Tensor], moments: Mapping[str, Sources]) -> bool:
        """Keep weights and moments before the step, as rows; see :class:`.reduced.Reduction`."""
        require_memory(weights)
        self._panel.read_before(norms.partial_norms, as_read(weights, self._is_complex))
        self._before = {
            quantity: self._all_rows(quantity, as_read(found, self._is_complex))
            for quantity, found in moments.items()
        }
        self.take_over(self._before)
        return True

    def keep_gradients(self, gradients: Mapping[int, Tensor]) -> dict[int, KeptGradient]:
        """Keep what a record needs of sampled gradients before the step overwrites them.

        Args:
            gradients: The gradients, in the form in which they are read, by parameter.
        """
        return keep_rows(self._panel, gradients, self._dtype)

    def take_over(self, before: dict[str, Tensor]) -> None:
        """Continue from a panel that already has the weights before the step.

        Args:
            before: Copies of the moments, as rows, ``[rows, ROW]``; overwritten.
        """
        self._before = before
        if "exp_avg_sq" in before:
            row_values.row_second_moment_before(before["exp_avg_sq"], self._rows)

    def formula(self, step: StepTensors) -> tuple[Tensor, Coefficients]:
        """Return each parameter's step count, float64 ``[K]``, and its coefficients."""
        steps = self._steps(step.states)
        return steps, self._state.coefficients(StepTable(step.groups, step.states, steps))

    def reduce(self, step: StepTensors) -> Reduced:
        """Reduce the step since :meth:`keep`; see :class:`.reduced.Reduction`."""
        for sources in step.by_quantity.values():
            require_memory(sources)
        self._dead_rows.begin(step.step, step.gradients)
        steps, coefficients = self.formula(step)
        zeros = torch.zeros(
            (len(step.others), self._panel.rows), dtype=self._dtype, device=self._device
        )
        if step.with_histograms:
            quantities = self._histograms.quantities(step.others)
            is_there = np.stack([self._has(step, q) for q in quantities])
            self._histograms.begin(step.others, is_there)
        self._reduce(step, coefficients, zeros)
        self._before = {}  # copies that may be as large as the model
        numbers = torch.stack([steps, *(getattr(coefficients, name) for name in COEFFICIENTS)])
        return self._on_host(step, numbers, zeros)

    def _on_host(self, step: StepTensors, numbers: Tensor, zeros: Tensor) -> Reduced:
        """Copy the results to the host at once, add them up and complete the counts.

        Args:
            step: The reduced step.
            numbers: Step counts, then the coefficients, float64, on the device of the step counts.
            zeros: Number of zeros in each row of the additional state tensors.
        """
        panel = self._panel
        parts = [self._totals(q, step) for q in OVER_ALL] if panel.sampled else []
        sent = [
            self._rows,
            zeros,
            numbers if numbers.device.type == "cpu" else numbers.to(self._device),
            *self._dead_rows.counts(step.gradients),
            *(part for part, _ in parts),
            *(self._histograms.on_device if step.with_histograms else []),
        ]
        rows, other_zeros, host_numbers, counts, flags, *rest = to_host(sent)
        exact, dead = self._over_all(rest, [starts for _, starts in parts], step)
        dead_rows, idle_rows = self._dead_rows.fractions(counts, flags, step.gradients, dead)
        return Reduced(
            rows=rows,
            first_rows=panel.first_rows,
            row_elements=panel.row_elements,
            padding=self._histograms.padding,
            total=add_up(rows, panel.first_rows),
            exact=exact,
            numbers=host_numbers,
            dead_row_fraction=dead_rows,
            idle_row_fraction=idle_rows,
            counts=(
                self._histograms.take(rest[len(parts) :], rows, other_zeros)
                if step.with_histograms
                else None
            ),
        )

    def _totals(self, quantity: str, step: StepTensors) -> tuple[Tensor, list[int]]:
        """Return the sums over all elements of the sampled tensors; see :meth:`Panel.totals`."""
        if quantity != "gradient":
            return self._panel.totals(quantity)
        length = len(gradient_sums.SUMS)
        found, starts = self._panel.totals(quantity, length)
        found = found.double()  # if all of them are zeros
        for i, gradient in kept_among(step.gradients).items():
            at = starts[self._panel.sampled.index(i)]
            found[at : at + length] = gradient.sums
        return found, starts

    def _over_all(
        self, parts: Sequence[npt.NDArray[Any]], starts: Sequence[Sequence[int]], step: StepTensors
    ) -> tuple[dict[str, Float64s], Float64s]:
        """Combine the parts of sampled tensors: add up sums, or the squares of norms.

        Args:
            parts: Parts of each quantity, on the host; there may be extra ones.
            starts: Index of each tensor's first part; empty if no tensor is sampled.
            step: The reduced step.

        Returns:
            The sums by row value, and each tensor's number of rows without gradient.
        """
        exact, dead = {}, np.zeros(0)
        for quantity, of_all, at in zip(OVER_ALL, parts, starts, strict=False):
            if quantity == "gradient":
                gradients = [step.gradients[i] for i in self._panel.sampled]
                note = self._dead_rows.note_norms
                summed, dead = gradient_sums.added_up(of_all, at, gradients, note).T
            else:
                wide = of_all.astype(np.float64)
                is_sum = self._total_of(quantity) is norms.partial_sums
                summed = np.add.reduceat(wide if is_sum else wide**2, at)
            exact[OVER_ALL[quantity]] = summed
        return exact, dead

    def _lasting(self, *shape: int) -> Tensor:
        return lasting.zeros(shape, self._dtype, self._device)

    def _all_rows(self, quantity: str, sources: Sources) -> Tensor:
        rows = torch.zeros((self._panel.rows, ROW), dtype=self._dtype, device=self._device)
        for block in self._panel.blocks:
            part = self.second_moment(quantity, self._panel.read(block, quantity, sources))
            rows[block.first_row : block.first_row + block.rows] = part
        return rows

    def second_moment(self, quantity: str, rows: Tensor) -> Tensor:
        """Square in place what the optimizer stores as a root."""
        is_root = quantity == "exp_avg_sq" and self._state.exp_avg_sq_is_root
        return rows.mul_(rows) if is_root else rows

    def _total_of(self, quantity: str) -> Total:
        """How to sum a quantity over all elements."""
        if quantity == "gradient":
            return self._dead_rows.total
        is_sum = quantity == "exp_avg_sq" and not self._state.exp_avg_sq_is_root
        return norms.partial_sums if is_sum else norms.partial_norms

    def _steps(self, states: Sequence[ParameterState | None]) -> Tensor:
        """Return each parameter's step count: float64 ``[K]``, on the device that stores it."""
        counts = [0.0 if s is None else s.step for s in states]
        device = next(
            (c.device for c in counts if isinstance(c, Tensor) and c.device.type != "cpu"), None
        )
        if device is None:
            numbers = [float(count) for count in counts]
            return torch.tensor(numbers, dtype=torch.float64, device="cpu")
        tensors = [
            on_device(c, device)
            if isinstance(c, Tensor)
            else torch.full((), c, dtype=torch.float64, device=device)
            for c in counts
        ]
        if len({(c.dtype, c.shape) for c in tensors}) == 1:  # two launches for all of them
            return torch.stack(tensors).to(torch.float64).view(-1)
        return torch.stack([c.to(torch.float64).view(()) for c in tensors])

    def _knows_update(self, step: StepTensors) -> bool:
        """Whether the formula can be used: before any state exists, tensors are missing."""
        return self._state.update_is_known and bool(present(step.states).any())

    def _plan(self, c: Coefficients, step: StepTensors) -> row_values.Plan:
        plain, decays = False, True  # correct for any values: a device is not asked
        if c.weight_decay.device.type == "cpu":
            decays = bool((c.weight_decay != 0).any())
            plain = bool((c.gradient_sign == 1).all() and (c.coupled_weight_decay == 0).all())
        rounded_after = {}
        if self._state.rounds_after_step:
            rounded_after = {
                "exp_avg": self._by_row(step.stored.makes_exp_avg),
                "exp_avg_sq": self._by_row(step.stored.makes_exp_avg_sq),
            }
        half = {
            dtype: self._by_row(step.stored.stores_exp_avg_sq_as(dtype))
            for dtype in (torch.bfloat16, torch.float16)
            if step.stored.stores_exp_avg_sq_as(dtype).any()
        }
        return row_values.Plan(
            plain_gradient=plain,
            has_weight_decay=decays,
            knows_update=self._knows_update(step),
            counts_direction=self._counts_direction,
            half_precision=half,
            rounded_after=rounded_after,
        )

    def _by_row(self, of_parameters: npt.NDArray[Any]) -> Tensor:
        """Spread a value of each parameter over its rows, ``[rows, 1]``."""
        if self._device.type == "cpu":
            return torch.from_numpy(of_parameters)[self._row_parameter, None]
        key = (of_parameters.dtype.str, of_parameters.tobytes())
        if key not in self._sent:  # usually equal to the previous record's values
            if len(self._sent) > _MOST_SENT:
                self._sent.clear()
            sent = to_device(of_parameters, self._device)
            self._sent[key] = torch.index_select(sent, 0, self._row_parameter)[:, None]
        return self._sent[key]

    def _reduce(self, step: StepTensors, coefficients: Coefficients, zeros: Tensor) -> None:
        """Fill in the row values and count the codes of the histograms, block by block."""
        numbers = row_values.RowCoefficients(coefficients, self._row_parameter, self._dtype)
        plan = self._plan(coefficients, step)
        smallest = self._by_row(step.stored.smallest_normal.astype(_NUMPY[self._dtype]))
        there = {q for q in ("exp_avg", "exp_avg_sq") if present(step.by_quantity[q]).any()}
        kept = kept_among(step.gradients)
        tensors = {**step.by_quantity, "gradient": others_than(kept, step.gradients)}
        for block in self._panel.blocks:
            rows = slice(block.first_row, block.first_row + block.rows)
            scratch = self._scratch[:, : block.rows]
            elements = self._elements(block, step, tensors, there, scratch[-1])
            put_kept_rows(self._panel, block, kept, elements.gradient)
            out, c = self._rows[:, rows], numbers.of(rows)
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
                row_values.compare_with_exact(elements, entering, c, out)
            for i, key in enumerate(step.others):
                torch.sum(elements.others[key] == 0, 1, out=zeros[i, rows])
            if step.with_histograms:
                counted = self._counted(elements, direction, step.others)
                self._histograms.count(block, counted, self._rows, zeros)

    def _elements(
        self, block: Block, step: StepTensors, tensors: Tensors, there: set[str], update: Tensor
    ) -> row_values.BlockValues:
        """Read a block.

        Args:
            block: The block.
            step: Tells which tensors exist.
            tensors: The step's tensors, without gradients that were kept before it.
            there: Which moments any parameter has.
            update: Where the update goes, ``[rows, ROW]``.
        """
        panel = self._panel
        rows = slice(block.first_row, block.first_row + block.rows)
        before = panel.before(block)
        weight = panel.read(block, "weight", tensors["weight"])
        read = functools.partial(self._read, block, tensors=tensors)
        return row_values.BlockValues(
            before=before,
            weight=weight,
            gradient=read("gradient"),
            update=torch.sub(weight, before, out=update),
            exp_avg=read("exp_avg") if "exp_avg" in there else None,
            exp_avg_sq=read("exp_avg_sq") if "exp_avg_sq" in there else None,
            others={
                **{key: self._read_other(block, key, tensors) for key in step.others},
                **{key: panel.read(block, key, tensors[key]) for key in step.masks},
            },
            moments_before={key: kept[rows] for key, kept in self._before.items()},
        )

    def _counted(
        self, elements: row_values.BlockValues, direction: Tensor | None, others: Sequence[str]
    ) -> list[Tensor | None]:
        """Return the elements that are counted in histograms, by quantity."""
        counted = [
            direction if q.name == "normalized_update" else getattr(elements, q.name)
            for q in self._histograms.quantities(())
        ]
        return [*counted, *(elements.others[key] for key in others)]

    def _read(self, block: Block, quantity: str, tensors: Tensors) -> Tensor:
        rows = self._panel.read(block, quantity, tensors[quantity], self._total_of(quantity))
        return self.second_moment(quantity, rows)

    def _read_other(self, block: Block, key: str, tensors: Tensors) -> Tensor:
        name = schema.state_quantity(key).name
        return self._panel.read(block, name, tensors[name])

    def _has(self, step: StepTensors, quantity: schema.Quantity) -> Flags:
        """Which parameters have a quantity, ``[K]``."""
        sources = step.by_quantity.get(quantity.name)
        if sources is not None:
            return present(sources)
        # The update always exists; the others need the moments.
        is_known = quantity.name != "normalized_update" or self._knows_update(step)
        return np.full(len(self._is_complex), is_known)
