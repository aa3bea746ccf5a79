"""Lion of pytorch_optimizer and timm, and the formula shared with bitsandbytes' Lion."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping

from torch import Tensor

from tb_adam_plugin import schema

from .base import OptimizerState, Rows
from .coefficients import Coefficients, StepTable
from .group_settings import GroupSettings
from .parameter_state import ParameterState
from .pytorch_optimizer import PytorchOptimizerState, nan_where, weight_decay_of
from .timm import TimmState, timm_weight_decay


class LionFormula(OptimizerState, ABC):
    """Chen et al. 2023, algorithm 2: the sign of an average that differs from the stored one.

    The step takes the sign of ``beta1 · m_before + (1 - beta1) · g'`` and stores ``beta2 · m_before
    + (1 - beta2) · g'``, so the former is ``beta1/beta2 · m + (1 - beta1/beta2) · g'``. If the two
    parts cancel to less than the rounding error of the stored exp_avg, the sign may be wrong.
    Unknown for beta2 = 0.
    """

    lacks: tuple[schema.Need, ...] = ("exp_avg_sq",)
    meanings: Mapping[str, str] = {
        "exp_avg": "average of gradients with beta2; the next step combines it with its gradient "
        "by beta1"
    }

    def direction(self, rows: Rows, c: Coefficients, root: Tensor | None, out: Tensor) -> Tensor:
        """Return the sign, in ``out``."""
        return super().direction(rows, c, root, out).sign_()


def lion_moments(table: StepTable) -> dict[str, Tensor | float]:
    """Return the coefficients of exp_avg and of the average whose sign is taken."""
    beta1, beta2 = table.number("beta1"), table.number("beta2")
    return {
        "exp_avg_decay": beta2,
        "exp_avg_weight": 1 - beta2,
        "numerator_exp_avg": beta1 / beta2,
        "numerator_gradient": 1 - beta1 / beta2,
    }


class LionState(LionFormula, PytorchOptimizerState):
    """Lion of pytorch_optimizer.

    Unknown element by element with centralized gradients, adanorm or cautious updates.
    """

    exp_avg_sq_key = None
    whole_tensor_flags = ("use_gc", "adanorm", "cautious")

    def overwrites_gradient(self, group: GroupSettings) -> bool:
        """Also if it centralizes the gradient."""
        return bool(group.get("use_gc")) or super().overwrites_gradient(group)

    def coefficients(self, table: StepTable) -> Coefficients:
        """See the class."""
        moments = lion_moments(table)
        # With these, exp_avg averages a gradient other than g'.
        rescales = table.flag("use_gc") | table.flag("adanorm")
        moments["exp_avg_decay"] = nan_where(rescales, table.number("beta2"))
        return Coefficients.of(
            table,
            **moments,
            gradient_sign=self.gradient_sign(),
            step_size=self.step_size(table),
            **weight_decay_of(table),
        )


class TimmLionState(LionFormula, TimmState):
    """Lion of timm, which has no step count. Unknown element by element with ``caution``."""

    lacks: tuple[schema.Need, ...] = (*LionFormula.lacks, "step count")
    whole_tensor_flags = ("caution",)

    def state_of(self, parameter: Tensor, group: GroupSettings) -> ParameterState | None:
        """The parameter's state, or None before its first step."""
        state = self.optimizer.state.get(parameter)
        return ParameterState(state["exp_avg"], step=float("nan")) if state else None

    def coefficients(self, table: StepTable) -> Coefficients:
        """See the class."""
        return Coefficients.of(
            table,
            **lion_moments(table),
            gradient_sign=table.gradient_sign(),
            step_size=self.step_size(table),
            weight_decay=timm_weight_decay(table),
        )
