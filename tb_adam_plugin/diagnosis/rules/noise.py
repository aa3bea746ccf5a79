"""Do the labels belong to the inputs? Gradients without a direction, and a stagnating loss."""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.arrays import Flags, Float64s
from tb_adam_plugin.languages.sentences import say

from ..engine import thresholds
from ..engine.conditions import RESUMED
from ..engine.over_time import recent_median
from ..engine.phases import is_loss_known
from ..engine.rule import Condition, Persistence, Rule
from ..engine.signals import Signals
from ..engine.wording import percent

# Largest magnitude of the cosine of exp_avg and the next gradient, median of AVERAGE_WINDOWS, at
# which gradients share no direction.
MOST_COSINE = 0.2
# The mean loss of the last quarter of the steps is below that of their second fifth by less than
# this. Healthy: by 2.1 % and more in 274 of 275 runs; random labels: by up to 0.9 % in five of six.
# The frequencies of random labels are learned early.
LEAST_FALL = 0.015
# More of the first loss is left than if labels had been learned.
LOSS_SHARE = 0.3
# The weights move: at a tiny learning rate, no loss falls.
LEAST_RATIO = 1e-4
# From this share of the run on, there are earlier steps to compare with.
START_SHARE = 0.4
AVERAGE_WINDOWS = 10
NOISE_POINTS = 8


def no_longer_falls(signals: Signals) -> Flags:
    """Records at which the loss is hardly below its much earlier value, and much of it is left.

    Returns:
        bool ``[records]``; False if the initial loss, or the earlier one, is unknown.
    """
    now, before = lately_and_before(signals)
    still: Flags = (
        (now > (1 - LEAST_FALL) * before)
        & (now > LOSS_SHARE * signals.starting_loss)
        & (now < thresholds.LOSS_GREW * signals.starting_loss)
        & is_loss_known(signals)
        & (signals.run.step > START_SHARE * signals.run.length)
    )
    return still


def _noise(signals: Signals) -> Condition | str:
    if np.isnan(signals.starting_loss):
        return RESUMED
    run = signals.run
    since = START_SHARE * run.length
    weights = run.weights_or_matrices
    cosine = signals.median("momentum_gradient_cosine", weights)
    smooth = recent_median(run.step, cosine, AVERAGE_WINDOWS)
    now, before = lately_and_before(signals)
    holds = (
        (np.abs(smooth) < MOST_COSINE)
        & no_longer_falls(signals)
        & (signals.median("update_to_weight_ratio", weights) > LEAST_RATIO)
    )
    known = ~np.isnan(smooth) & np.isfinite(now / before)
    return Condition(run.step, holds, now / before, 1 - LEAST_FALL, since=since, known=known)


def lately_and_before(signals: Signals) -> tuple[Float64s, Float64s]:
    """Mean loss of the last quarter of the steps so far, and that of their second fifth.

    Returns:
        float64 ``[records]`` twice.
    """
    loss = signals.column("loss")
    known = np.isfinite(loss)
    sums = np.append(0, np.cumsum(np.where(known, loss, 0)))
    counts = np.append(0, np.cumsum(known))
    end = np.searchsorted(signals.steps, signals.run.step, "right")

    def mean(first: float, last: float) -> Float64s:
        low, high = (np.round(share * end).astype(np.intp) for share in (first, last))
        found: Float64s = (sums[high] - sums[low]) / (counts[high] - counts[low])
        return found

    return mean(0.75, 1.0), mean(0.2, 0.4)


NOISE = Rule(
    id="noise_dominated",
    title="Do the labels belong to the inputs?",
    needs=("momentum_gradient_cosine", "update_to_weight_ratio", "loss"),
    condition=_noise,
    persistence=Persistence(NOISE_POINTS, thresholds.LASTING_STEPS),
    severity="info",
    message=lambda e: say(
        "The loss no longer falls (it is {share} of its value after a third of the steps), the "
        "weights move, and gradients share no direction from step to step, as when labels do not "
        "match inputs. The end of training looks the same.",
        share=percent(e.value),
    ),
    advice=lambda e: say(
        "Verify labels and inputs first; then try a batch four times as large, or lr / 3."
    ),
    reference="McCandlish et al. 2018, An empirical model of large-batch training",
    explains=("plateau",),
    moves_lr="down",
    joined=True,
    shows="loss",
)
