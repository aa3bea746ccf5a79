"""Where training is gone: a loss that blew up, a loss or a gradient norm that is not finite."""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.arrays import Flags, Float64s

from . import thresholds
from .signals import Signals


def nonfinite_steps(signals: Signals) -> Float64s:
    """Steps of which the loss, or the gradient norm where it is recorded, is not finite."""
    norm = signals.column("gradient_norm")
    bad = np.isinf(signals.given_loss) | is_loss_nan(signals) | np.isinf(norm)
    known = np.flatnonzero(np.isfinite(norm))
    if known.size:  # in older runs it is NaN without gradients, too
        bad |= np.isnan(norm) & (np.arange(norm.size) > known[0]) & _has_norm(signals)
    return signals.steps[bad]


def is_loss_nan(signals: Signals) -> Flags:
    """Steps whose loss was given and is NaN, bool ``[steps]``; a step without a loss is none."""
    return np.asarray(signals.column("loss_is_nan") == 1)


def _has_norm(signals: Signals) -> Flags:
    """At which steps the gradient norm was computed, where that was not at all of them."""
    interval = signals.column("gradient_norm_every_n_steps")
    left_out = (interval > 1) & (np.mod(signals.steps, interval) != 0)
    has_norm: Flags = ~left_out | np.isin(signals.steps, signals.run.step)
    return has_norm


def blew_up(signals: Signals) -> Flags:
    """Where the averaged loss and most of the last losses are too high, bool ``[steps]``."""
    steps = thresholds.LOSS_AVERAGE_STEPS
    loss = signals.column("loss")
    high = np.cumsum(~(loss <= signals.blowup_limit))
    before = np.concatenate([np.zeros(min(steps, high.size), int), high[:-steps]])
    most = high - before > thresholds.BLOWUP_SHARE * steps
    return np.asarray((signals.smooth_loss > signals.blowup_limit) & most)


def blew_up_at(signals: Signals) -> float:
    """The first step of which the loss or the norm says that training had gone; else infinity.

    What gradients are like from there on is no measure of what they should be.
    """
    gone = signals.steps[signals.smooth_loss > signals.blowup_limit]
    bad = nonfinite_steps(signals)
    return float(min(gone.min(initial=np.inf), bad.min(initial=np.inf)))
