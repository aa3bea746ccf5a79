"""One recorded step of the parameters of one device: read, reduce, count, finish."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tb_adam_plugin import schema

from . import histograms, norms, statistics
from .capture import ROW, Panel
from .optimizer_state.base import Formula, Moments, OptimizerState
from .to_host import to_host
from .watched_parameters import Watched

_EXACT = ("b²", "g²", "m²", "v", "w²")
# Below this a sum of float32 squares may have lost small ones.
_UNDERFLOW = 1e-30


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
        self._padding = np.add.reduceat(ROW - panel.row_elements, panel.first_rows)
        self._rows = torch.zeros(
            len(statistics.ROW_VALUES), panel.rows, dtype=self._dtype, device=self._device
        )
        most = max(block.rows for block in panel.blocks)
        self._scratch = torch.empty(4, most, ROW, dtype=self._dtype, device=self._device)
        self._codes = torch.empty(most, ROW, dtype=torch.int32, device=self._device)
        self._before: Tensor | None = None

    def before_step(self) -> None:
        """Read what the step is about to change."""
        panel = self.panel
        panel.read_before()
        moments = self._moments()
        second = [None if m is None else m.exp_avg_sq for m in moments]
        for block in panel.blocks if any(m is not None for m in moments) else ():
            rows = panel.read(block, "exp_avg_sq", second)
            end = block.first_row + block.rows
            statistics.row_second_moment_before(rows, self._rows[:, block.first_row : end])
        sampled = [self._parameters[i] for i in panel.sampled]
        self._before = norms.sum_of_squares(sampled, self._dtype) if sampled else None

    def after_step(self, with_histograms: bool) -> Measured:
        """Measure the step since :meth:`before_step`. Waits for the device once."""
        gradients = [_dense(parameter.grad) for parameter in self._parameters]
        moments = self._moments()
        formulas = self._formulas()
        steps = self._steps(moments)
        counts = self._reduce(gradients, moments, formulas, steps, with_histograms)
        exact = self._exact(gradients, moments)
        sent = [self._rows, steps.to(self._device), *exact, *([] if counts is None else [counts])]
        rows, taken, *arrays = to_host(sent)
        sums = self._parameter_sums(
            rows.astype(np.float64), taken, arrays[: len(exact)], gradients, moments, formulas
        )
        host_counts = None if counts is None else self._finish_counts(arrays[-1], sums)
        return Measured(statistics.finish(sums), host_counts, float(sums.exact["g²"].sum()))

    def _moments(self) -> list[Moments | None]:
        groups = self._state.optimizer.param_groups
        return [self._state.moments(w.parameter, groups[w.group]) for w in self._watched]

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
        gradients: list[Tensor | None],
        moments: list[Moments | None],
        formulas: list[Formula | None],
        steps: Tensor,
        with_histograms: bool,
    ) -> Tensor | None:
        """Fill the row values and count the histograms, block by block."""
        known = [formula for formula in formulas if formula is not None]
        table = None
        if len(known) == len(formulas) and any(m is not None for m in moments):
            by_parameter = statistics.coefficients(known, steps)
            table = by_parameter.to(self._device, self._dtype)[:, self._row_parameter, None]
        plain = all(f.gradient_sign == 1 and f.coupled_weight_decay == 0 for f in known)
        shape = (len(schema.QUANTITIES), len(self._parameters), histograms.COUNTS)
        counts = (
            torch.zeros(shape, dtype=torch.int64, device=self._device) if with_histograms else None
        )
        exp_avg = [None if m is None else m.exp_avg for m in moments]
        exp_avg_sq = [None if m is None else m.exp_avg_sq for m in moments]
        for index, block in enumerate(self.panel.blocks):
            rows = slice(block.first_row, block.first_row + block.rows)
            before = self.panel.before(block)
            weight = self.panel.read(block, "weight", self._parameters)
            scratch = self._scratch[:, : block.rows]
            elements = statistics.Block(
                before=before,
                weight=weight,
                gradient=self.panel.read(block, "gradient", gradients),
                update=torch.sub(weight, before, out=scratch[3]),
                exp_avg=None if table is None else self.panel.read(block, "exp_avg", exp_avg),
                exp_avg_sq=(
                    None if table is None else self.panel.read(block, "exp_avg_sq", exp_avg_sq)
                ),
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

    def _exact(self, gradients: list[Tensor | None], moments: list[Moments | None]) -> list[Tensor]:
        """Sums over all elements of the parameters that are not read whole, as _EXACT lists them.

        Each is float64 ``[sampled]``; a missing tensor counts as zeros.
        """
        sampled = self.panel.sampled
        if not sampled:
            return []
        assert self._before is not None
        nothing = torch.zeros(0, dtype=self._dtype, device=self._device)

        def squares(tensors: Sequence[Tensor | None]) -> Tensor:
            present = [nothing if tensors[i] is None else tensors[i] for i in sampled]
            return norms.sum_of_squares(present, self._dtype)

        second = [moments[i] for i in sampled]
        return [
            self._before,
            squares(gradients),
            squares([None if m is None else m.exp_avg for m in moments]),
            norms.sums([nothing if m is None else m.exp_avg_sq for m in second], self._dtype),
            squares(self._parameters),
        ]

    def _parameter_sums(
        self,
        rows: npt.NDArray[np.float64],
        steps: npt.NDArray[np.float64],
        exact: Sequence[npt.NDArray[Any]],
        gradients: list[Tensor | None],
        moments: list[Moments | None],
        formulas: list[Formula | None],
    ) -> statistics.ParameterSums:
        panel = self.panel
        total = statistics.add_up(rows, panel.first_rows)
        sums = {name: total[name].copy() for name in _EXACT}
        for name, values in zip(_EXACT, exact, strict=False):
            sums[name][panel.sampled] = values
        nonfinite = np.zeros(len(self._parameters))
        tensors = {
            "w²": self._parameters,
            "g²": gradients,
            "m²": [None if m is None else m.exp_avg for m in moments],
            "v": [None if m is None else m.exp_avg_sq for m in moments],
        }
        for name, of_parameter in tensors.items():
            largest = {"w²": "max|w|", "g²": "max|g|", "m²": "max|m|", "v": "max v"}[name]
            lost = (sums[name] < _UNDERFLOW) & (total[largest] > 0) & (name != "v")
            for i in np.flatnonzero(~np.isfinite(sums[name]) | lost).tolist():
                tensor = of_parameter[i]
                if tensor is None:
                    continue
                count = norms.count_nonfinite(tensor)
                nonfinite[i] += count
                if not count and name != "v":
                    sums[name][i] = norms.finite_sum_of_squares(tensor)
        return statistics.ParameterSums(
            rows=rows,
            first_rows=panel.first_rows,
            row_elements=panel.row_elements,
            elements=panel.elements,
            elements_read=panel.elements_read,
            padding=self._padding,
            exact=sums,
            nonfinite=nonfinite,
            has_gradient=np.array([g is not None for g in gradients]),
            has_moments=np.array([m is not None for m in moments]),
            steps=steps,
            formulas=formulas,
        )

    def _finish_counts(
        self, counts: npt.NDArray[np.int64], sums: statistics.ParameterSums
    ) -> npt.NDArray[np.int64]:
        """Separate zeros, and empty the histograms of what a parameter does not have."""
        total = statistics.add_up(sums.rows, sums.first_rows)
        present = {
            "gradient": sums.has_gradient,
            "exp_avg": sums.has_moments,
            "exp_avg_sq": sums.has_moments,
        }
        for q, quantity in enumerate(schema.QUANTITIES):
            zeros = total[statistics.ZEROS[quantity.name]].astype(np.int64)
            histograms.separate_zeros(counts[q], zeros, self._padding)
            if quantity.name in present:
                counts[q, ~present[quantity.name]] = 0
        return counts.transpose(1, 0, 2)


def _dense(gradient: Tensor | None) -> Tensor | None:
    return gradient.to_dense() if gradient is not None and gradient.is_sparse else gradient
