"""torch.optim.Adam and AdamW, with every flag."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor
from torch.optim import AdamW

from tb_adam_plugin import schema

from .base import OptimizerState
from .coefficients import Coefficients, Columns, StepTable
from .group_settings import GroupSettings, hyperparameter
from .parameter_state import NOTHING, ParameterState


class AdamState(OptimizerState):
    """State of Adam and AdamW, as torch/optim/adam.py keeps it.

    Under ``amsgrad`` exp_avg_sq means ``max_exp_avg_sq``, which the denominator uses.
    """

    def options(self, group: GroupSettings) -> dict[str, schema.Option]:
        """Settings of a group, with ``decoupled_weight_decay`` for every version of torch."""
        options = super().options(group)
        if "weight_decay" in group:
            options["decoupled_weight_decay"] = self._is_decoupled(group)
        return options

    def keeps_maximum(self, group: GroupSettings) -> bool:
        """Reddi et al. 2018."""
        return bool(group.get("amsgrad"))

    def state_of(self, parameter: Tensor, group: GroupSettings) -> ParameterState | None:
        """The parameter's state, or None before its first step."""
        state = self.optimizer.state.get(parameter)
        if not state:
            return None
        second = "max_exp_avg_sq" if group.get("amsgrad") else "exp_avg_sq"
        # By position, which is faster: there are thousands.
        return ParameterState(
            state["exp_avg"], state[second], NOTHING, NOTHING, state["step"], NOTHING, NOTHING
        )

    def coefficients(self, table: StepTable) -> Coefficients:
        """Kingma & Ba 2015, algorithm 1; weight decay as in Loshchilov & Hutter 2019."""
        columns = table.on_host()
        with np.errstate(all="ignore"):
            moments = adam_moments(columns)
        return Coefficients.of(
            table,
            **moments,
            **self.weight_decays(columns),
            gradient_sign=columns.gradient_sign(),
            step_size=columns.number("lr"),
        )

    def weight_decays(self, table: Columns) -> dict[str, Any]:
        """Return the coefficients of weight decay, one of them 0."""

        def weight_decay(group: GroupSettings, is_wanted: bool) -> float:
            return float(is_wanted) * hyperparameter(group, "weight_decay")

        return {
            "coupled_weight_decay": table.by_group(
                lambda group: weight_decay(group, not self._is_decoupled(group))
            ),
            "weight_decay": table.by_group(
                lambda group: weight_decay(group, self._is_decoupled(group))
            ),
        }

    def _is_decoupled(self, group: GroupSettings) -> bool:
        # In older versions of torch, only the class tells.
        return bool(group.get("decoupled_weight_decay", isinstance(self.optimizer, AdamW)))


def adam_moments(table: Columns) -> dict[str, Any]:
    """Return the coefficients of Adam's moments and direction, with bias correction.

    Needs the hyperparameters ``betas`` and ``eps``.
    """
    beta1, beta2, eps = (table.number(name) for name in ("beta1", "beta2", "eps"))
    scale = 1 / table.bias_correction(beta1)
    return {
        "exp_avg_decay": beta1,
        "exp_avg_weight": 1 - beta1,
        "exp_avg_scale": scale,
        "exp_avg_sq_decay": beta2,
        "exp_avg_sq_weight": 1 - beta2,
        "exp_avg_sq_scale": table.inverse_root(table.bias_correction(beta2)),
        "exp_avg_sq_scale_before": table.inverse_root(
            table.bias_correction(beta2, table.steps - 1)
        ),
        "eps": eps,
        "numerator_exp_avg": scale,
        "numerator_gradient": 0.0,
        "denominator_root": 1.0,
        "denominator_constant": eps,
    }
