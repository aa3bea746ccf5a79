"""Any optimizer whose formula is not known: what it did is measured, its state is not explained."""

from __future__ import annotations

from torch import Tensor
from torch.optim import Optimizer

from .base import Formula, GroupSettings, Moments, OptimizerState


class MeasuredOnly(OptimizerState):
    """Weight, gradient and the measured update; no moments."""

    undefined = (
        "exp_avg_rms",
        "exp_avg_absmax",
        "exp_avg_sq_root",
        "exp_avg_sq_max",
        "normalized_update_rms",
        "gradient_surprise",
        "rms_t",
        "signal_to_noise",
        "momentum_gradient_cosine",
        "gradient_exp_avg_cosine",
        "epsilon_fraction",
        "epsilon_10_fraction",
        "zero_second_moment_fraction",
        "weight_decay_ratio",
        "exp_avg",
        "exp_avg_sq",
    )

    def __init__(self, optimizer: Optimizer) -> None:
        """Read what every optimizer has; its own numbers become hyperparameter columns."""
        super().__init__(optimizer)
        self.notice = (
            f"{type(optimizer).__name__} has no Adam moments that are known here: updates, "
            "weights and gradients are recorded, exp_avg and exp_avg_sq are not"
        )
        standard = OptimizerState.hyperparameter_names
        own = [
            name
            for name, value in optimizer.defaults.items()
            if isinstance(value, int | float)
            and not isinstance(value, bool)
            and name not in standard
        ]
        self.hyperparameter_names = (*standard, *own)

    def formula(self, group: GroupSettings) -> Formula | None:
        """Not known."""
        return None

    def moments(self, parameter: Tensor, group: GroupSettings) -> Moments | None:
        """Not known."""
        return None
