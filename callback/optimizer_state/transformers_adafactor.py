"""Adafactor of transformers."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from tb_adam_plugin import schema

from .base import OptimizerState
from .coefficients import Coefficients, StepTable
from .factored import Factored
from .group_settings import GroupSettings, as_number
from .parameter_state import ParameterState


class TransformersAdafactorState(OptimizerState):
    """Shazeer & Stern 2018, algorithm 4.

    The step is ``g / √v``, clipped by its own RMS over the whole parameter, times a learning rate
    that may follow the RMS of the weight. With ``beta1`` exp_avg averages the steps and is then the
    update itself. Without it, the update of an element depends on the whole parameter and is only
    measured.
    """

    meanings: Mapping[str, str] = {
        "exp_avg": "average of updates, clipped and times the learning rate: what a step subtracts",
        "exp_avg_sq": "average of squared gradients; for a matrix estimated from averages of "
        "rows and columns",
    }
    lacks: tuple[schema.Need, ...] = (
        "exp_avg decay",
        "exp_avg_sq decay",
        "mean of gradients",
        "normalization",
        "eps",
    )

    def lacks_in(self, group: GroupSettings) -> tuple[schema.Need, ...]:
        """Without ``beta1``, no exp_avg and no requested update."""
        return (*self.lacks, "exp_avg", "update") if group["beta1"] is None else self.lacks

    def hyperparameters(self, group: GroupSettings) -> list[float]:
        """With ``relative_step``, the learning rate before it is scaled by the weight."""
        counts = (self.optimizer.state[p]["step"] for p in group["params"] if self._has_state(p))
        step = next(counts, 1)
        values = super().hyperparameters(group)
        values[self.hyperparameter_names.index("lr")] = _relative_lr(group, step)
        return values

    def state_of(self, parameter: Tensor, group: GroupSettings) -> ParameterState | None:
        """The parameter's state, or None before its first step."""
        if not self._has_state(parameter):
            return None
        state = self.optimizer.state[parameter]
        numbers: dict[str, Tensor | float] = {"lr": _relative_lr(group, state["step"])}
        if group["scale_parameter"]:
            numbers["lr"] = numbers["lr"] * _at_least(state["RMS"], group["eps"][1])
        first = state.get("exp_avg")
        if "exp_avg_sq" in state:
            return ParameterState(
                first, state["exp_avg_sq"], step=state["step"], numbers={**numbers, "factored": 0.0}
            )
        rows, columns = state["exp_avg_sq_row"], state["exp_avg_sq_col"]
        dtype = str(rows.dtype).removeprefix("torch.")
        return ParameterState(
            first,
            # The second moment represented by the averages of rows and columns.
            Factored(rows / rows.mean(dim=-1, keepdim=True), columns),
            step=state["step"],
            numbers={**numbers, "factored": 1.0},
            dtypes={"exp_avg_sq": f"{dtype}, rows and columns"},
        )

    def coefficients(self, table: StepTable) -> Coefficients:
        """See the class."""
        of_groups = [float(group["beta1"] is not None) for group in table.groups]
        averages = table.column(torch.tensor(of_groups, device="cpu")) > 0
        decay = 1 - table.steps ** table.number("decay_rate")
        # For a matrix, rows and columns are averaged, not elements.
        whole = table.state_number("factored") == 0
        nan = float("nan")
        lr = table.state_number("lr")
        return Coefficients.of(
            table,
            exp_avg_sq_decay=torch.where(whole, decay, nan),
            exp_avg_sq_weight=torch.where(whole, 1 - decay, nan),
            numerator_exp_avg=1.0,
            numerator_gradient=0.0,
            step_size=torch.where(averages, 1.0, nan),
            weight_decay=table.number("weight_decay") * lr,
        )

    def _has_state(self, parameter: Tensor) -> bool:
        return bool(self.optimizer.state.get(parameter))


def _relative_lr(group: GroupSettings, step: int) -> float:
    """The learning rate before it is scaled by the weight."""
    if not group["relative_step"]:
        return as_number(group["lr"])
    return min(1e-6 * step if group["warmup_init"] else 1e-2, 1 / math.sqrt(max(step, 1)))


def _at_least(value: Tensor | float, smallest: float) -> Tensor | float:
    return value.clamp_min(smallest) if isinstance(value, Tensor) else max(value, smallest)
