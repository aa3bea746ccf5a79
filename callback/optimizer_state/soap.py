"""SOAP of pytorch_optimizer."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from tb_adam_plugin import schema

from .coefficients import Coefficients, StepTable
from .group_settings import GroupSettings
from .pytorch_optimizer import PytorchOptimizerState


class SoapState(PytorchOptimizerState):
    """Vyas et al. 2024: Adam in the eigenbasis of Shampoo's preconditioners.

    The update of an element mixes those of its row and column, so it is only measured. exp_avg is
    stored in the basis of the weight, exp_avg_sq in the eigenbasis: its elements do not correspond
    to those of the weight. The first step only initializes the preconditioners and moves no weight.
    """

    meanings: Mapping[str, str] = {
        "exp_avg": "average of gradients, in the basis of the weight",
        "exp_avg_sq": "average of squared gradients in the eigenbasis, not per element of the "
        "weight",
    }
    update_is_known = False
    lacks: tuple[schema.Need, ...] = ("exp_avg_sq decay", "elements of exp_avg_sq")

    def coefficients(self, table: StepTable) -> Coefficients:
        """Only those of the moments."""
        beta1, beta2 = table.number("beta1"), table.number("beta2")
        steps = table.steps - 1  # the first one averages nothing
        corrects = table.flag("correct_bias")
        scale = torch.where(corrects, 1 / table.bias_correction(beta1, steps), 1.0)
        root_scale = torch.where(corrects, table.bias_correction(beta2, steps).rsqrt(), 1.0)
        return Coefficients.of(
            table,
            gradient_sign=self.gradient_sign(),
            exp_avg_decay=beta1,
            exp_avg_weight=torch.where(steps > 0, 1 - beta1, 0.0),
            exp_avg_scale=scale,
            exp_avg_sq_scale=root_scale,
            eps=table.number("eps"),
        )

    def overwrites_gradient(self, group: GroupSettings) -> bool:
        """Only under ``maximize``: weight decay is always decoupled."""
        return self._maximizes()
