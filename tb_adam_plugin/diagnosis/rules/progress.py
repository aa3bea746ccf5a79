"""How far has training come? These explain more than they accuse."""

from __future__ import annotations

import numpy as np

from ..engine import thresholds
from ..engine.conditions import RESUMED, median_beyond
from ..engine.phases import has_converged, is_loss_known
from ..engine.rule import Condition, Persistence, Rule
from ..engine.signals import Signals
from ..engine.wording import number, percent

# Gradient against √v̂ before the step, where the loss is exhausted, too.
CONVERGED_SURPRISE = 0.1
CONVERGED_POINTS = 5
# From this share of the run on a loss above PLATEAU_LOSS_SHARE of the first one stands still.
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
    message=lambda e: (
        f"In the second half of the run the loss is still {percent(e.value)} of what it was at "
        f"first ({number(e.signals.starting_loss)}). Fine-tuning may look the same."
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


CONVERGED = Rule(
    id="converged",
    title="The training loss is exhausted",
    needs=("gradient_surprise", "loss"),
    condition=_converged,
    persistence=Persistence(CONVERGED_POINTS),
    severity="info",
    message=lambda e: (
        f"The loss is below {percent(thresholds.CONVERGED_LOSS_SHARE)} of what it was and "
        "gradients have faded against their past: further steps fit noise. Is the validation loss "
        "still falling?"
    ),
    advice=lambda e: (
        "Stop where the validation loss is best; for longer training a third to a tenth of the "
        "learning rate, more weight decay or augmentation."
    ),
    reference="",
    moves_lr="down",
    shows="loss",
)
