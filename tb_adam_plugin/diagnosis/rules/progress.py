"""Rules about how far training has come: they explain more than they accuse."""

from __future__ import annotations

import numpy as np

from ..engine import thresholds
from ..engine.conditions import RESUMED, median_beyond
from ..engine.rule import Condition, Persistence, Rule
from ..engine.signals import Signals, has_converged, is_loss_known
from ..engine.wording import decay, number, percent


def _plateau(signals: Signals) -> Condition | str:
    if np.isnan(signals.starting_loss):
        return RESUMED
    run = signals.run
    since = max(signals.settled, thresholds.PLATEAU_START_SHARE * run.length)
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
    persistence=Persistence(thresholds.PLATEAU_POINTS, thresholds.LASTING_STEPS),
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
        thresholds.CONVERGED_SURPRISE,
        signals.run.weights_or_matrices,
        has_converged(signals),
        below=True,
    )


CONVERGED = Rule(
    id="converged",
    title="The training loss is exhausted",
    needs=("gradient_surprise", "loss"),
    condition=_converged,
    persistence=Persistence(thresholds.CONVERGED_POINTS),
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
)


def _bimodal(signals: Signals) -> Condition | str:
    beta2 = signals.hyperparameter_now("beta2")
    if beta2 < thresholds.BIMODAL_LEAST_BETA2:
        return (
            f"beta2 is {decay(beta2)}: the size of an update does not say whether gradients agree"
        )
    return median_beyond(
        signals,
        "update_bimodality",
        thresholds.BIMODAL_SHARE,
        signals.run.weights_or_matrices,
        since=signals.settled,
    )


BIMODAL_UPDATE = Rule(
    id="bimodal_update",
    title="Updates are of one size",
    needs=("update_bimodality",),
    condition=_bimodal,
    persistence=Persistence(thresholds.BIMODAL_POINTS),
    severity="info",
    message=lambda e: (
        f"{percent(e.value)} of the elements have |m̂/(√v̂+ε)| near 1 (usual: below 8 %): their "
        "gradients agree from step to step. Is the learning rate too low, or do gradients add up?"
    ),
    advice=lambda e: "",
    reference="Molybog et al. 2023, A theory on Adam instability in large-scale machine learning",
)
