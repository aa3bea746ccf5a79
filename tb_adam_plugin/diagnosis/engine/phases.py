"""At which records a run is settled, near its peak, or done."""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.arrays import Flags, Float64s

from . import thresholds
from .signals import Signals


def is_settled(signals: Signals) -> Flags:
    """Which records come after the grace period at the start, bool ``[records]``."""
    return signals.run.step > signals.settled


def is_near_peak(signals: Signals) -> Flags:
    """Records at which the learning rate is at least half of its peak so far, bool ``[records]``.

    All of them if it is unknown.
    """
    lr = signals.at_records(signals.lr)
    return ~(lr < thresholds.NEAR_PEAK * signals.peak_lr)


def rectification(signals: Signals) -> Float64s:
    """RAdam's step factor, which acts as a warm-up; 1 for other optimizers.

    Liu et al. 2020, On the variance of the adaptive learning rate and beyond, algorithm 2.

    Returns:
        float64 ``[records]``.
    """
    step, beta2 = signals.run.step, signals.hyperparameter_now("beta2")
    if not 0 < beta2 < 1 or any(group.optimizer != "RAdam" for group in signals.run.groups):
        return np.ones(step.shape)
    end = 2 / (1 - beta2) - 1
    now = end - 2 * step * beta2**step / (1 - beta2**step)
    rectified = np.sqrt((now - 4) * (now - 2) * end / ((end - 4) * (end - 2) * now))
    return np.where(now > 5, rectified, 1.0)


def is_loss_known(signals: Signals) -> Flags:
    """Records near a finite loss, bool ``[records]``.

    The smoothed loss keeps its last value after a loss has become NaN.
    """
    loss_steps = signals.steps[np.isfinite(signals.column("loss"))]
    if not loss_steps.size:
        return np.zeros(signals.run.step.shape, bool)
    usual = float(np.median(np.diff(loss_steps))) if loss_steps.size > 1 else 0.0
    place = np.searchsorted(loss_steps, signals.run.step, "right") - 1
    since = signals.run.step - loss_steps[np.maximum(place, 0)]
    near = since <= max(thresholds.LASTING_STEPS, 2 * usual)
    return np.asarray((place >= 0) & near)


def has_converged(signals: Signals, start: float | None = None) -> Flags:
    """Records at which the loss is a tiny fraction of its initial value, bool ``[records]``.

    Args:
        signals: The run.
        start: The initial loss; by default the recorded one, NaN if the run was resumed.
    """
    # A loss far below 0 is not a small fraction of its initial value.
    now = np.abs(signals.at_records(signals.smooth_loss))
    began = signals.starting_loss if start is None else start
    converged: Flags = now < thresholds.CONVERGED_LOSS_SHARE * began
    return converged


def assumed_start(signals: Signals) -> float:
    """The loss before training; an estimate if the run was resumed; NaN without any loss."""
    if np.isnan(signals.starting_loss):
        return max(signals.first_loss, thresholds.USUAL_FIRST_LOSS)
    return signals.starting_loss
