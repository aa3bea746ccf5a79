"""Where training is lost: a loss that blew up, a loss or a gradient norm that is not finite."""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.arrays import Flags, Float64s

from . import thresholds
from .signals import Signals


def nonfinite_steps(signals: Signals) -> Float64s:
    """Steps whose loss, or gradient norm if recorded, is not finite."""
    norm = signals.column("gradient_norm")
    bad = np.isinf(signals.given_loss) | is_loss_nan(signals) | np.isinf(norm)
    known = np.flatnonzero(np.isfinite(norm))
    if known.size:  # in older runs, also NaN without gradients
        bad |= np.isnan(norm) & (np.arange(norm.size) > known[0]) & _has_norm(signals)
    return signals.steps[bad]


def is_loss_nan(signals: Signals) -> Flags:
    """Steps with a recorded loss that is NaN, bool ``[steps]``; False without a loss."""
    return np.asarray(signals.column("loss_is_nan") == 1)


def _has_norm(signals: Signals) -> Flags:
    """Steps at which the gradient norm was computed, if not at all of them."""
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
    """The first step at which the loss or the norm shows that training was lost; else infinity.

    From there on, gradients say nothing about what they should be.
    """
    gone = signals.steps[signals.smooth_loss > signals.blowup_limit]
    bad = nonfinite_steps(signals)
    return float(min(gone.min(initial=np.inf), bad.min(initial=np.inf)))
