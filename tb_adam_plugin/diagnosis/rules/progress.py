"""How far has training progressed? These rules explain rather than accuse."""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.languages.sentences import joined, say

from ..engine import thresholds
from ..engine.conditions import RESUMED, median_beyond
from ..engine.over_time import median_of_all
from ..engine.phases import has_converged, is_loss_known
from ..engine.rule import Condition, Evidence, Persistence, Rule
from ..engine.signals import Signals
from ..engine.wording import number, percent

# Gradient relative to √v̂ before the step, if the loss is exhausted, too.
CONVERGED_SURPRISE = 0.1
CONVERGED_POINTS = 5
# Further steps fit noise if gradients share no direction (median cosine of exp_avg and the next
# one, in magnitude), and the loss at the end of the stretch is hardly below that at its start.
NO_DIRECTION = 0.2
STILL_FALLS = 0.9
# From this share of the run on, a loss above PLATEAU_LOSS_SHARE of the first one is stagnating.
PLATEAU_START_SHARE = 0.5
PLATEAU_POINTS = 8


def _plateau(signals: Signals) -> Condition | str:
    if np.isnan(signals.starting_loss):
        return RESUMED
    run = signals.run
    since = max(signals.settled, PLATEAU_START_SHARE * run.length)
    loss = signals.at_records(signals.smooth_loss)
    holds = (
        (loss > thresholds.PLATEAU_LOSS_SHARE * signals.starting_loss)
        & (loss < thresholds.LOSS_GREW * signals.starting_loss)
        & (signals.starting_loss > 0)
        & is_loss_known(signals)
        & (run.step > since)
    )
    value = loss / signals.starting_loss
    return Condition(run.step, holds, value, thresholds.PLATEAU_LOSS_SHARE, since=since)


PLATEAU = Rule(
    id="plateau",
    title="The loss hardly falls",
    needs=("loss", "step"),
    condition=_plateau,
    persistence=Persistence(PLATEAU_POINTS, thresholds.LASTING_STEPS),
    severity="info",
    message=lambda e: say(
        "In the second half of the run the loss is still {share} of its initial value ({loss}). "
        "Fine-tuning may look the same.",
        share=percent(e.value),
        loss=number(e.signals.starting_loss),
    ),
    advice=lambda e: "",
    reference="",
)


def _converged(signals: Signals) -> Condition | str:
    if np.isnan(signals.starting_loss):
        return RESUMED
    return median_beyond(
        signals,
        "gradient_surprise",
        CONVERGED_SURPRISE,
        signals.run.weights_or_matrices,
        has_converged(signals),
        below=True,
    )


def _fits_noise(e: Evidence) -> bool:
    """Whether the loss has stagnated since, and gradients share no direction."""
    signals = e.signals
    inside = (signals.steps >= e.first_step) & (signals.steps <= e.last_step)
    loss = signals.column("loss")[inside]
    loss = loss[np.isfinite(loss)]
    third = loss.size // 3
    records = (signals.run.step >= e.first_step) & (signals.run.step <= e.last_step)
    cosine = signals.median("momentum_gradient_cosine", signals.run.weights_or_matrices)[records]
    if not third or not abs(median_of_all(cosine)) < NO_DIRECTION:
        return False
    return float(np.median(loss[-third:])) > STILL_FALLS * float(np.median(loss[:third]))


def _converged_message(e: Evidence) -> str:
    share = percent(thresholds.CONVERGED_LOSS_SHARE)
    seen = say(
        "Less than {share} of the first loss is left, and gradients are far smaller than they "
        "were.",
        share=share,
    )
    if not _fits_noise(e):
        offset = say(
            "The first loss may be mostly an offset: is the validation loss still falling?"
        )
        return joined([seen, offset])
    noise = say(
        "The loss no longer changes and gradients share no direction: further steps fit noise. "
        "Is the validation loss still falling?"
    )
    return joined([seen, noise])


def _converged_advice(e: Evidence) -> str:
    if not _fits_noise(e):
        return say(
            "Continue while the validation loss falls; if the training loss oscillates, use a "
            "third to a tenth of the learning rate."
        )
    return say(
        "Stop where the validation loss is best. To train longer, use a third to a tenth of the "
        "learning rate, more weight decay or augmentation."
    )


CONVERGED = Rule(
    id="converged",
    title="Little of the first loss is left",
    needs=("gradient_surprise", "loss"),
    uses=("momentum_gradient_cosine",),
    condition=_converged,
    persistence=Persistence(CONVERGED_POINTS),
    severity="info",
    message=_converged_message,
    advice=_converged_advice,
    reference="",
    moves_lr="down",
    shows="loss",
)
