"""torch.optim.NAdam, with every flag."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from .adam import AdamState, adam_moments
from .coefficients import Coefficients, StepTable
from .group_settings import GroupSettings
from .parameter_state import ParameterState


class NAdamState(AdamState):
    """State of NAdam, as torch/optim/nadam.py keeps it.

    exp_avg is Adam's. The direction looks one step ahead: it includes a share of the gradient
    itself.
    """

    def state_of(self, parameter: Tensor, group: GroupSettings) -> ParameterState | None:
        """The parameter's state, or None before its first step."""
        found = super().state_of(parameter, group)
        if found is None:
            return None
        product = self.optimizer.state[parameter]["mu_product"]
        return replace(found, numbers={"mu_product": product})

    def coefficients(self, table: StepTable) -> Coefficients:
        """Dozat 2016, with its momentum schedule."""
        beta1, decay = table.number("beta1"), table.number("momentum_decay")
        momentum, next_momentum = (
            beta1 * (1 - 0.5 * 0.96 ** (steps * decay)) for steps in (table.steps, table.steps + 1)
        )
        product = table.state_number("mu_product")
        return Coefficients.of(
            table,
            **{
                **adam_moments(table),
                "numerator_exp_avg": next_momentum / (1 - product * next_momentum),
                "numerator_gradient": (1 - momentum) / (1 - product),
            },
            **self.weight_decays(table),
            gradient_sign=table.gradient_sign(),
            step_size=table.number("lr"),
        )
