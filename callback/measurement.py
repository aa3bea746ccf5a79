"""One recorded step of the parameters of one device: read, reduce, count, finish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tb_adam_plugin import schema

from . import histograms, norms, statistics
from .capture import ROW, Block, Panel
from .optimizer_state.base import Formula, Moments, OptimizerState
from .to_host import to_host
from .watched_parameters import Watched

# Quantities that are added up over all elements: how, and the row values that do it for parameters
# read whole.
_EXACT = {
    "before": (norms.partial_norms, "b²"),
    "gradient": (norms.partial_norms, "g²"),
    "exp_avg": (norms.partial_norms, "m²"),
    "exp_avg_sq": (norms.partial_sums, "v"),
}
# Below this a sum of float32 squares may have lost small ones.
_UNDERFLOW = 1e-30

Values = npt.NDArray[np.float64]
# By quantity, one tensor a parameter or None.
Tensors = dict[str, Sequence[Tensor | None]]


class Measured(NamedTuple):
    """A recorded step of ``K`` parameters.

    Attributes:
        statistics: float32 ``[K, len(schema.STATISTICS)]``.
        counts: int64 ``[K, len(schema.QUANTITIES), histograms.COUNTS]``, or None.
        squared_gradients: Σg² over all elements of all parameters.
    """

    statistics: npt.NDArray[np.float32]
    counts: npt.NDArray[np.int64] | None
    squared_gradients: float


class Measurement:
    """Measures the parameters of one device and precision. Holds the memory that this needs."""

    def __init__(
        self, watched: Sequence[Watched], state: OptimizerState, max_sampled_elements: int | None
    ) -> None:
        """Choose what to read.

        Args:
            watched: Parameters on one device, either all or none of them float64.
            state: Of their optimizer.
            max_sampled_elements: See :class:`.capture.Panel`.
        """
        self._watched = watched
        self._state = state
        self._parameters = [w.parameter for w in watched]
        self._device = self._parameters[0].device
        double = self._parameters[0].dtype == torch.float64
        # Half precision is read as float32, which holds its values and their differences exactly.
        self._dtype = torch.float64 if double else torch.float32
        names = [w.name for w in watched]
        self.panel = Panel(self._parameters, names, self._dtype, max_sampled_elements)
        panel = self.panel
        self._row_parameter = torch.from_numpy(panel.row_parameter).to(self._device)
        self._offsets = [
            histograms.code_offsets(torch.from_numpy(b.row_parameter).to(self._device))
            for b in panel.blocks
        ]
        self._read_second_moment_before = False
        self._padding = np.add.reduceat(ROW - panel.row_elements, panel.first_rows)
        self._rows = torch.zeros(
            len(statistics.ROW_VALUES), panel.rows, dtype=self._dtype, device=self._device
        )
        most = max(block.rows for block in panel.blocks)
        self._scratch = torch.empty(4, most, ROW, dtype=self._dtype, device=self._device)
        self._codes = torch.empty(most, ROW, dtype=torch.int32, device=self._device)

    def before_step(self) -> None:
        """Read what the step is about to change."""
        panel = self.panel
        panel.read_before(norms.partial_norms)
        self._read_second_moment_before = self._must_read_second_moment_before()
        if self._read_second_moment_before:
            second = [None if m is None else m.exp_avg_sq for m in self._moments()]
            for block in panel.blocks:
                rows = panel.read(block, "exp_avg_sq", second)
                end = block.first_row + block.rows
                statistics.row_second_moment_before(rows, self._rows[:, block.first_row : end])

    def after_step(self, with_histograms: bool) -> Measured:
        """Measure the step since :meth:`before_step`. Waits for the device once."""
        moments = self._moments()
        tensors: Tensors = {
            "before": self._parameters,
            "weight": self._parameters,
            "gradient": [_dense(parameter.grad) for parameter in self._parameters],
            "exp_avg": [None if m is None else m.exp_avg for m in moments],
            "exp_avg_sq": [None if m is None else m.exp_avg_sq for m in moments],
        }
        formulas = self._formulas()
        steps = self._steps(moments)
        counts = self._reduce(tensors, formulas, steps, with_histograms)
        sent = [self._rows, steps.to(self._device), *([] if counts is None else [counts])]
        parts = [self.panel.totals(q) for q in _EXACT] if self.panel.sampled else []
        rows, taken, *others = to_host([*sent, *(part for part, _ in parts)])
        total = statistics.add_up(rows, self.panel.first_rows)
        exact = {name: total[name].copy() for _, name in _EXACT.values()}
        for (how, name), values, (_, starts) in zip(
            _EXACT.values(), others[counts is not None :], parts, strict=False
        ):
            numbers = values.astype(np.float64)
            squares = numbers if how is norms.partial_sums else numbers**2
            exact[name][self.panel.sampled] = np.add.reduceat(squares, starts)
        nonfinite = self._look_closer(tensors, total, exact)
        sums = statistics.ParameterSums(
            total=total,
            update_spread=statistics.update_spread(
                rows, self.panel.first_rows, self.panel.row_elements
            ),
            rows=np.diff(np.append(self.panel.first_rows, self.panel.rows)),
            elements=self.panel.elements,
            elements_read=self.panel.elements_read,
            padding=self._padding,
            exact=exact,
            nonfinite=nonfinite,
            has_gradient=np.array([g is not None for g in tensors["gradient"]]),
            has_moments=np.array([m is not None for m in moments]),
            steps=taken,
            formulas=formulas,
            second_moment_before_is_known=self._read_second_moment_before,
        )
        host_counts = None if counts is None else self._finish_counts(others[0], sums)
        return Measured(statistics.finish(sums), host_counts, float(exact["g²"].sum()))

    def _moments(self) -> list[Moments | None]:
        groups = self._state.optimizer.param_groups
        return [self._state.moments(w.parameter, groups[w.group]) for w in self._watched]

    def _must_read_second_moment_before(self) -> bool:
        """Whether exp_avg_sq before the step cannot be told from that after it.

        The maximum does not say what it was, and in half precision the average is rounded.
        """
        return any(
            m is not None and f is not None and (f.keeps_maximum or m.exp_avg_sq.dtype.itemsize < 4)
            for m, f in zip(self._moments(), self._formulas(), strict=True)
        )

    def _formulas(self) -> list[Formula | None]:
        by_group = [self._state.formula(group) for group in self._state.optimizer.param_groups]
        return [by_group[w.group] for w in self._watched]

    def _steps(self, moments: list[Moments | None]) -> Tensor:
        """Steps that each parameter has taken: float64 ``[K]``, where the optimizer keeps them."""
        counts = [0.0 if m is None else m.step for m in moments]
        on_device = next((c.device for c in counts if isinstance(c, Tensor) and c.is_cuda), None)
        if on_device is None:
            return torch.tensor([float(count) for count in counts], dtype=torch.float64)
        return torch.stack(
            [torch.as_tensor(c, dtype=torch.float64, device=on_device) for c in counts]
        )

    def _reduce(
        self,
        tensors: Tensors,
        formulas: list[Formula | None],
        steps: Tensor,
        with_histograms: bool,
    ) -> Tensor | None:
        """Fill the row values and count the histograms, block by block."""
        known = [formula for formula in formulas if formula is not None]
        table = None
        if len(known) == len(formulas) and any(m is not None for m in tensors["exp_avg"]):
            by_parameter = statistics.coefficients(known, steps)
            table = by_parameter.to(self._device, self._dtype)[:, self._row_parameter, None]
        plain = all(f.gradient_sign == 1 and f.coupled_weight_decay == 0 for f in known)
        shape = (len(schema.QUANTITIES), len(self._parameters), histograms.COUNTS)
        counts = (
            torch.zeros(shape, dtype=torch.int64, device=self._device) if with_histograms else None
        )
        for index, block in enumerate(self.panel.blocks):
            rows = slice(block.first_row, block.first_row + block.rows)
            before = self.panel.before(block)
            weight = self.panel.read(block, "weight", self._parameters)
            scratch = self._scratch[:, : block.rows]
            elements = statistics.Block(
                before=before,
                weight=weight,
                gradient=self._read(block, "gradient", tensors),
                update=torch.sub(weight, before, out=scratch[3]),
                exp_avg=None if table is None else self._read(block, "exp_avg", tensors),
                exp_avg_sq=None if table is None else self._read(block, "exp_avg_sq", tensors),
            )
            c = None if table is None else statistics.Coefficients(*table[:, rows])
            statistics.row_sums(elements, c, plain, self._rows[:, rows], scratch[:3])
            if counts is not None:
                owners = slice(block.first_parameter, block.first_parameter + block.parameters)
                for q, quantity in enumerate(schema.QUANTITIES):
                    values = getattr(elements, quantity.name)
                    if values is not None:
                        counts[q, owners] += histograms.count_rows(
                            values.float(),
                            self._offsets[index],
                            block.parameters,
                            quantity,
                            self._codes[: block.rows],
                        )
        return counts

    def _read(self, block: Block, quantity: str, tensors: Tensors) -> Tensor:
        return self.panel.read(block, quantity, tensors[quantity], _EXACT[quantity][0])

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
        nonfinite = np.zeros(len(self._parameters))
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
                unusual |= (sums < _UNDERFLOW) & (total[largest] > 0)
            for i in np.flatnonzero(unusual).tolist():
                tensor = tensors[quantity][i]
                if tensor is not None:
                    count = norms.count_nonfinite(tensor)
                    nonfinite[i] += count
                    if not count and name in exact and quantity != "exp_avg_sq":
                        exact[name][i] = norms.sum_of_squares_in_double(tensor)
        return nonfinite

    def _finish_counts(
        self, counts: npt.NDArray[np.int64], sums: statistics.ParameterSums
    ) -> npt.NDArray[np.int64]:
        """Separate zeros, and empty the histograms of what a parameter does not have."""
        present = {
            "gradient": sums.has_gradient,
            "exp_avg": sums.has_moments,
            "exp_avg_sq": sums.has_moments,
        }
        for q, quantity in enumerate(schema.QUANTITIES):
            zeros = sums.total[statistics.ZEROS[quantity.name]].astype(np.int64)
            histograms.separate_zeros(counts[q], zeros, self._padding)
            if quantity.name in present:
                counts[q, ~present[quantity.name]] = 0
        by_parameter: npt.NDArray[np.int64] = counts.transpose(1, 0, 2)
        return by_parameter


def _dense(gradient: Tensor | None) -> Tensor | None:
    return gradient.to_dense() if gradient is not None and gradient.is_sparse else gradient
