"""Whether gradients are clipped already."""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.arrays import Float64s

from .signals import Signals

# At least this share of the steps, or of the records if it is only known for these.
CLIPPED_SHARE = 0.05
# Clipping changes a norm by more than rounding does.
CLIPPED_BELOW = 1 - 1e-3
# If neither a norm before clipping nor a factor is known: the largest norms are the limit.
SAME_NORM = 1e-3
LEAST_STEPS = 50


def is_clipped(signals: Signals) -> bool:
    """Whether clipping has reduced some gradients, as far as the records show."""
    norm = signals.column("gradient_norm")
    factor = norm / signals.column("gradient_norm_before_clip")
    if not np.isfinite(factor).any():
        factor = _without_scaler(signals.column("gradient_rescaling"))
    factor = factor[np.isfinite(factor)]
    if factor.size:
        return bool((factor < CLIPPED_BELOW).mean() >= CLIPPED_SHARE)
    known = norm[np.isfinite(norm) & (norm > 0)]
    if known.size < LEAST_STEPS:
        return False
    return bool((known > (1 - SAME_NORM) * known.max()).mean() >= CLIPPED_SHARE)


def _without_scaler(factor: Float64s) -> Float64s:
    """The factor without a gradient scaler's, which are powers of two."""
    powers = np.log2(np.where(factor > 0, factor, np.nan))
    scaler = (np.abs(powers - np.round(powers)) < 1e-4) & (factor < 1)
    return np.where(scaler, np.nan, factor)
