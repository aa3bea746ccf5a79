"""AdaBelief of pytorch_optimizer."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from tb_adam_plugin import schema

from .adam import adam_moments
from .coefficients import Coefficients, StepTable
from .pytorch_optimizer import PytorchOptimizerState, nan_where, weight_decay_of

_NAN = float("nan")


class AdaBeliefState(PytorchOptimizerState):
    """Zhuang et al. 2020: Adam divided by the deviation of gradients from their average.

    With ``ams_bound`` exp_avg_sq means ``max_exp_avg_var``. With ``rectify`` its bias is not
    corrected. With ``adam_debias`` the bias of exp_avg is not corrected.
    """

    exp_avg_sq_key = "exp_avg_var"
    meanings: Mapping[str, str] = {
        "exp_avg": "average of gradients, rescaled with adanorm",
        "exp_avg_sq": "exp_avg_var: average of (gradient - exp_avg)², plus eps at every step",
    }
    # Statistics with these needs compare with squared gradients, but this does not average those.
    lacks: tuple[schema.Need, ...] = ("exp_avg_sq decay", "mean of squares")

    def coefficients(self, table: StepTable) -> Coefficients:
        """See the class."""
        moments = adam_moments(table)
        beta1, beta2, eps = (table.number(name) for name in ("beta1", "beta2", "eps"))
        scale = torch.where(table.flag("adam_debias"), 1.0, 1 / table.bias_correction(beta1))
        factor, divides = self.rectification(table)
        correction = table.bias_correction(beta2).rsqrt()
        moments |= {
            "exp_avg_decay": nan_where(table.flag("adanorm"), beta1),
            "exp_avg_scale": scale,
            "exp_avg_sq_decay": _NAN,
            "exp_avg_sq_weight": _NAN,
            "exp_avg_sq_scale": torch.where(table.flag("rectify"), 1.0, correction),
            "exp_avg_sq_scale_before": _NAN,
            "numerator_exp_avg": factor * scale,
            "denominator_root": divides.double(),
            "denominator_constant": torch.where(divides, eps, 1.0),
        }
        return Coefficients.of(
            table,
            **moments,
            gradient_sign=self.gradient_sign(),
            step_size=self.step_size(table),
            **weight_decay_of(table),
        )
