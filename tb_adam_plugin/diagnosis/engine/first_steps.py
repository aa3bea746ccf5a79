"""What the first steps say about the learning rate: the path of the weights, and the loss."""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.arrays import Float64s, Indices

from . import thresholds
from .over_time import sum_over_steps
from .signals import COSINE, RATIO, Signals

# Sum of the update-to-weight ratio over the first steps, as used for "too high", by the learning
# rate as a multiple of the usual one. If a rule asks about it, the reading is at least 2.5, and
# counts if the loss rose in these steps to this multiple of the first one (mean of five). Healthy,
# with such a sum: up to 1.03.
LOSS_ROSE = 1.1
PATHS = (0.45, 1.3, 2.8, 6.2)
PATH_FACTORS = (1.0, 10.0, 30.0, 100.0)


def loss_rose(signals: Signals) -> bool:
    """Whether the loss rose in the first steps, as it does if they were too long."""
    return highest_early_loss(signals) > 0


def highest_early_loss(signals: Signals) -> float:
    """The peak of the loss in the first steps, a mean of several; 0 if it did not rise."""
    early = signals.steps <= signals.warmup_end + thresholds.EARLY_STEPS
    loss = signals.column("loss")[early]
    later, steps = loss[1:][~np.isnan(loss[1:])], thresholds.EARLY_LOSS_STEPS
    if later.size < steps:
        return 0.0
    highest = float(np.lib.stride_tricks.sliding_window_view(later, steps).mean(axis=1).max())
    return highest if highest > LOSS_ROSE * loss[0] > 0 else 0.0


def factor_of_first_steps(signals: Signals) -> float:
    """How many times too high the learning rate is, judged by the first steps; NaN if unknown."""
    if not signals.is_known(COSINE) or not loss_rose(signals):
        return float("nan")
    factor = float(early_factors(signals, [signals.run.weights_or_matrices])[0])
    return rounded(factor) if factor > thresholds.ABOUT_RIGHT else float("nan")


def early_factors(signals: Signals, members: list[Indices]) -> Float64s:
    """Learning rate over the best one, from how far the first steps move the weights; 1 if unknown.

    Returns:
        float64 ``[blocks]``.
    """
    run = signals.run
    if not run.step.size or run.step[0] > thresholds.FIRST_STEP:
        return np.ones(len(members))
    early = run.step <= signals.warmup_end + thresholds.EARLY_STEPS
    if RATIO not in run.statistics or early.sum() < 2:
        return np.ones(len(members))
    started = [np.intersect1d(rows, signals.started_weights) for rows in members]
    ratio = signals.median_by_block(RATIO, started)[early]
    paths = sum_over_steps(run.step[early], ratio, thresholds.PATH_STEPS)
    logs = np.log(PATH_FACTORS)
    factors: Float64s = np.exp(np.interp(paths.max(axis=0), PATHS, logs))
    return factors


def off_by(factor: float) -> float:
    """Distance from the best learning rate as a factor, in either direction."""
    return max(factor, 1 / factor)


def rounded(factor: float) -> float:
    """The same, rounded as in the gauge."""
    return next((n for n in (3.0, 10.0, 30.0) if off_by(factor) < n * np.sqrt(3)), 100.0)
