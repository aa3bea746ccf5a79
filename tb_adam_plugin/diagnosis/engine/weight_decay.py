"""How much weight decay removes from a weight."""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.arrays import Float64s

from .signals import Signals

# lr · weight_decay, the share of a weight that each step removes: weights forget within its
# inverse, 400 steps. Published: from 1,100 (vision transformers, lr 3e-3 · 0.3) to 100,000. 330,
# for a language model with 30 times its decay, cost 0.09 nats.
TAKEN_AT_A_STEP = 1 / 400
# Advice is the usual decay, within these factors of the current one.
USUAL_DECAY = 0.1
LEAST_FACTOR, MOST_FACTOR = 10.0, 5e3


def usual_instead_of(decay: float) -> float:
    """Return the usual weight decay, or the closest value within the factors to try."""
    return max(min(USUAL_DECAY, decay / LEAST_FACTOR), decay / MOST_FACTOR)


def decays_apart(signals: Signals, group: int) -> bool:
    """Whether a group's weight decay does not pass through the gradient."""
    of = signals.run.groups[group]
    return bool(of.options.get("decoupled_weight_decay")) or "AdamW" in of.optimizer


def taken_at_a_step(signals: Signals) -> Float64s:
    """Lr · weight_decay, float64 ``[records, groups]``; NaN if decay is not decoupled."""
    run = signals.run
    lr, decay = run.hyperparameters.get("lr"), run.hyperparameters.get("weight_decay")
    if lr is None or decay is None or lr.shape != decay.shape:
        return np.full((run.step.size, len(run.groups)), np.nan)
    apart = [g < len(run.groups) and decays_apart(signals, g) for g in range(lr.shape[1])]
    return np.where(apart, lr * decay, np.nan)


def taken_so_far(signals: Signals) -> Float64s:
    """Σ lr · weight_decay up to each record, float64 ``[records, groups]``.

    Infinity if decay passes through the moments, which normalize it to a full step.
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
