"""Which moments an optimizer keeps, for how long, and beside which eps is felt."""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.arrays import Float64s

from .over_time import median
from .signals import Signals

# The optimizers' names for the decay of their first and of their second moment.
_FIRST = ("beta1", "momentum")
_SECOND = ("beta2", "alpha", "rho")


def has_moment(signals: Signals, name: str) -> bool:
    """Whether the main group's optimizer keeps exp_avg, or exp_avg_sq, as far as known."""
    run = signals.run
    return bool(run.groups) and name not in run.groups[run.main_group].undefined


def memory_of_first(signals: Signals) -> float:
    """Number of steps for which exp_avg carries a gradient on; NaN if unknown."""
    return _memory(signals, _FIRST)


def memory_of_second(signals: Signals) -> float:
    """Number of steps for which exp_avg_sq remembers a gradient; NaN if unknown."""
    return _memory(signals, _SECOND)


def _memory(signals: Signals, names: tuple[str, ...]) -> float:
    decays = (signals.hyperparameter_now(name) for name in names)
    return next((1 / (1 - decay) for decay in decays if 0 <= decay < 1), float("nan"))


def alive_share(signals: Signals, name: str) -> Float64s:
    """Median share of the elements with v > 0 whose √v̂ is small, float64 ``[records]``.

    Args:
        signals: The run.
        name: The statistic, which sets the multiple of eps to compare with.
    """
    matrices = signals.run.weights_or_matrices

    def compute(part: slice) -> Float64s:
        zero = signals.statistic("zero_second_moment_fraction")[part][:, matrices]
        zero = np.where(np.isnan(zero), 0, zero)
        share = (signals.statistic(name)[part][:, matrices] - zero) / (1 - zero)
        return median(share)

    return signals.by_record(("alive share", name), compute)
