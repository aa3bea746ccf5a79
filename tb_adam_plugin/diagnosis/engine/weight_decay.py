"""What weight decay takes of a weight."""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.arrays import Float64s

from .signals import Signals


def decays_apart(signals: Signals, group: int) -> bool:
    """Whether the weight decay of a group does not pass through the gradient."""
    of = signals.run.groups[group]
    return bool(of.options.get("decoupled_weight_decay")) or "AdamW" in of.optimizer


def taken_at_a_step(signals: Signals) -> Float64s:
    """Lr · weight_decay, float64 ``[records, groups]``; NaN where decay is not decoupled."""
    run = signals.run
    lr, decay = run.hyperparameters.get("lr"), run.hyperparameters.get("weight_decay")
    if lr is None or decay is None or lr.shape != decay.shape:
        return np.full((run.step.size, len(run.groups)), np.nan)
    apart = [g < len(run.groups) and decays_apart(signals, g) for g in range(lr.shape[1])]
    return np.where(apart, lr * decay, np.nan)


def taken_so_far(signals: Signals) -> Float64s:
    """Σ lr · weight_decay up to each record, float64 ``[records, groups]``.

    Infinity where decay passes through the moments, which make a full step of it.
    """
    run = signals.run
    lr, decay = run.hyperparameters.get("lr"), run.hyperparameters.get("weight_decay")
    if lr is None or decay is None or lr.shape != decay.shape:
        return np.zeros((run.step.size, len(run.groups)))
    since = np.diff(run.step, prepend=min(run.first_step - 1, run.step[0]))[:, None]
    a_step = np.where(np.isfinite(lr * decay), lr * decay, 0.0)
    through = [
        g < len(run.groups)
        and "exp_avg_sq_root" not in run.groups[g].undefined
        and not decays_apart(signals, g)
        for g in range(lr.shape[1])
    ]
    taken: Float64s = np.cumsum(a_step * since, axis=0)
    return np.where(np.array(through) & (taken > 0), np.inf, taken)
