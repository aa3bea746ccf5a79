"""torch.optim.RAdam, with every flag."""

from __future__ import annotations

import torch

from .adam import AdamState, adam_moments
from .coefficients import Coefficients, StepTable


class RAdamState(AdamState):
    """State of RAdam, as torch/optim/radam.py keeps it.

    In the first steps (five with beta2 = 0.999) the direction is m̂, without a division. After that
    it is Adam's, except that eps is added to √v instead of √v̂.
    """

    def coefficients(self, table: StepTable) -> Coefficients:
        """Liu et al. 2020, algorithm 2; the rectification is part of the step size."""
        moments = adam_moments(table)
        beta2 = table.number("beta2")
        correction = table.bias_correction(beta2)
        eps = table.number("eps") * correction.rsqrt()
        limit = 2 / (1 - beta2) - 1
        length = limit - 2 * table.steps * beta2**table.steps / correction
        is_rectified = length > 5
        ratio = (length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length)
        rectification = torch.where(is_rectified, ratio, 1.0).sqrt()
        decays = self.weight_decays(table)
        return Coefficients.of(
            table,
            **{
                **moments,
                "eps": eps,
                "denominator_root": is_rectified.double(),
                "denominator_constant": torch.where(is_rectified, eps, 1.0),
            },
            gradient_sign=table.gradient_sign(),
            coupled_weight_decay=decays["coupled_weight_decay"],
            step_size=table.number("lr") * rectification,
            weight_decay=decays["weight_decay"] / rectification,
        )
