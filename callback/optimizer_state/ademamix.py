"""AdEMAMix of pytorch_optimizer, and the formula shared with bitsandbytes' AdEMAMix."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping

import torch
from torch import Tensor

from .adam import adam_moments
from .base import OptimizerState, Rows
from .coefficients import Coefficients, StepTable
from .pytorch_optimizer import PytorchOptimizerState, weight_decay_of


class AdEMAMixFormula(OptimizerState, ABC):
    """Pagliardini et al. 2024, algorithm 1: Adam whose numerator is ``m̂ + alpha · slow m``.

    Needs ``alpha`` among the adapter's own coefficients.
    """

    meanings: Mapping[str, str] = {
        "exp_avg": "the fast average of gradients, with beta1; the step also uses the slow one",
        "exp_avg_slow": "the slow average of gradients, with beta3",
    }

    def direction(self, rows: Rows, c: Coefficients, root: Tensor | None, out: Tensor) -> Tensor:
        """Return the direction of each element, in ``out``."""
        assert rows.exp_avg is not None
        assert root is not None
        torch.mul(rows.others["exp_avg_slow"], c.own["alpha"], out=out)
        out.addcmul_(rows.exp_avg, c.numerator_exp_avg)
        return out.div_(torch.mul(root, c.denominator_root).add_(c.denominator_constant))


def warmed_up_alpha(table: StepTable, warmup: str) -> Tensor:
    """Return alpha at this step; a setting gives the number of steps over which it grows."""
    alpha, steps = table.number("alpha"), table.number(warmup)
    return torch.where(steps > 0, alpha * torch.clamp(table.steps / steps, max=1.0), alpha)


class AdEMAMixState(AdEMAMixFormula, PytorchOptimizerState):
    """AdEMAMix of pytorch_optimizer.

    Unknown element by element with ``cautious`` or ``stable_adamw``.
    """

    other_keys = ("exp_avg_slow",)
    whole_tensor_flags = ("cautious", "stable_adamw")

    def coefficients(self, table: StepTable) -> Coefficients:
        """See :class:`AdEMAMixFormula`."""
        return Coefficients.of(
            table,
            own={"alpha": warmed_up_alpha(table, "t_alpha_beta3")},
            **adam_moments(table),
            gradient_sign=self.gradient_sign(),
            step_size=self.step_size(table),
            **weight_decay_of(table),
        )
