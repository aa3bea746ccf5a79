"""ADOPT of pytorch_optimizer."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from tb_adam_plugin import schema

from .coefficients import Coefficients, StepTable
from .pytorch_optimizer import PytorchOptimizerState, weight_decay_of


class AdoptState(PytorchOptimizerState):
    """Taniguchi et al. 2024, algorithm 2, with clipping: the step is exp_avg itself.

    Each gradient is divided by √exp_avg_sq of the previous step and clipped, then averaged. The
    first step initializes exp_avg_sq from its gradient and moves no weight. Unknown element by
    element with ``cautious`` or ``stable_adamw``.
    """

    meanings: Mapping[str, str] = {
        "exp_avg": "average of gradients divided by √exp_avg_sq of the previous step",
        "exp_avg_sq": "average of squared gradients, for the next step",
    }
    # exp_avg does not average gradients, and is not divided any more.
    lacks: tuple[schema.Need, ...] = ("exp_avg decay", "mean of gradients")
    whole_tensor_flags = ("cautious", "stable_adamw")

    def coefficients(self, table: StepTable) -> Coefficients:
        """See the class."""
        beta2 = table.number("beta2")
        return Coefficients.of(
            table,
            gradient_sign=self.gradient_sign(),
            exp_avg_sq_decay=beta2,
            exp_avg_sq_weight=torch.where(table.steps == 1, 1.0, 1 - beta2),
            eps=table.number("eps"),
            numerator_exp_avg=1.0,
            numerator_gradient=0.0,
            step_size=self.step_size(table),
            **weight_decay_of(table),
        )
