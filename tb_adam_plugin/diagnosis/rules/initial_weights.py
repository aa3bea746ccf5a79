"""Do the initial weights have the usual scale?"""

from __future__ import annotations

import math

import numpy as np

from tb_adam_plugin.languages.sentences import joined, say

from ..engine import thresholds
from ..engine.conditions import RESUMED
from ..engine.over_time import median_of_all
from ..engine.rule import Condition, Evidence, Persistence, Rule
from ..engine.signals import Signals
from ..engine.wording import number

# RMS of the initial weights times √fan-in. PyTorch's default is 0.58, Xavier 1, He 1.41.
LEAST_SCALE = 0.1
# Median elasticity of the first step above which signals arrive nevertheless, as in networks of
# sines. Weights that are too small: up to 5e-5; healthy: from 0.03; sines: 1.4.
ARRIVES_ELASTICITY = 0.01
# Weights above this that train only get a question. Harmed: up to 0.02.
MAY_TRAIN_SCALE = 0.03
MOST_SCALE = 2.0
# The usual start of large language models, 0.02, whatever the fan-in: not too large by itself.
USUAL_STD = 0.03
# Largest weight relative to the RMS: above it, the weights were trained before.
LARGEST_OF_UNTRAINED = 6.5


def _first_scale(signals: Signals, threshold: float, *, below: bool) -> Condition | str | None:
    scales = signals.first_scales
    if scales is None or np.isnan(scales).all():
        resumed = signals.run.first_step > thresholds.FIRST_STEP
        return RESUMED if resumed and signals.run.weights.size else None
    middle = np.array([median_of_all(scales)])
    chosen = scales < threshold if below else scales > threshold
    return Condition(
        signals.run.step[:1],
        middle < threshold if below else middle > threshold,
        middle,
        threshold,
        lowest_is_worst=below,
        blame=lambda _: signals.run.weights[chosen],
    )


def _arrives(e: Evidence) -> bool:
    """Whether the loss is as sensitive to the initial weights as usual, however small they are."""
    first = e.signals.median("elasticity", e.signals.run.weights_or_matrices)[:1]
    return bool((first > ARRIVES_ELASTICITY).any())


def _trains(e: Evidence) -> bool:
    """Whether weights that are not far too small train: the loss has clearly fallen."""
    loss = e.signals.smooth_loss[-1:]
    fell = loss < thresholds.PLATEAU_LOSS_SHARE * e.signals.starting_loss
    return e.value > MAY_TRAIN_SCALE and bool(fell.any())


def _init_too_small_message(e: Evidence) -> str:
    scale = number(e.value)
    if _arrives(e):
        return say(
            "A typical weight matrix starts with RMS · √fan-in = {scale}, where 0.6 to 1.4 is "
            "usual, yet the loss responds to it as usual. Is this intended, as in networks with "
            "sine activations?",
            scale=scale,
        )
    if _trains(e):
        return say(
            "A typical weight matrix starts with RMS · √fan-in = {scale}, where 0.6 to 1.4 is "
            "usual, yet the loss falls. Is this intended, as in a narrow network initialized like "
            "GPT-2 (std 0.02, less at the end of residual branches)?",
            scale=scale,
        )
    return say(
        "A typical weight matrix starts with RMS · √fan-in = {scale}, where 0.6 to 1.4 is usual: "
        "signals and gradients shrink from layer to layer.",
        scale=scale,
    )


INIT_TOO_SMALL = Rule(
    id="init_too_small",
    title="Initial weights too small",
    question="Are the initial weights meant to be small?",
    needs=("weight_rms",),
    uses=("elasticity", "loss"),
    condition=lambda s: _first_scale(s, LEAST_SCALE, below=True),
    persistence=Persistence(),
    severity=lambda e: "info" if _arrives(e) or _trains(e) else "error",
    message=_init_too_small_message,
    advice=lambda e: (
        ""
        if _arrives(e) or _trains(e)
        else say(
            "Initialize with std = gain / √fan-in (He: gain 1.4 for ReLU; Xavier: 1). Only the "
            "last layer of a residual branch may start at zero."
        )
    ),
    reference="He et al. 2015, Delving deep into rectifiers",
    explains=(
        "lr_too_high", "vanishing_gradient", "dead_units", "plateau", "layer_imbalance",
        "eps_dominates", "eps_influences", "noise_dominated", "gradient_spike", "lr_too_low",
    ),
    silences_compass=True,
)  # fmt: skip


def _init_too_large(signals: Signals) -> Condition | str | None:
    run = signals.run
    found = _first_scale(signals, MOST_SCALE, below=False)
    if not isinstance(found, Condition):
        return found
    # With a large fan-in, the product is large at the usual standard deviation.
    first = signals.statistic("weight_rms")[0, run.weights]
    if not median_of_all(first) > USUAL_STD:
        return None
    # Trained weights have a few that are far larger than the rest; random ones do not.
    outliers = median_of_all(
        signals.statistic("weight_absmax")[0, run.weights]
        / signals.statistic("weight_rms")[0, run.weights]
    )
    return None if outliers > LARGEST_OF_UNTRAINED else found


def _init_too_large_message(e: Evidence) -> str:
    loss = e.signals.first_loss
    scale = say(
        "A typical weight matrix starts with RMS · √fan-in = {scale}, where 0.6 to 1.4 is usual: "
        "signals grow from layer to layer.",
        scale=number(e.value),
    )
    starts = say("The loss starts at {loss}.", loss=number(loss))
    return joined([scale, "" if math.isnan(loss) else starts])


INIT_TOO_LARGE = Rule(
    id="init_too_large",
    title="Initial weights too large",
    needs=("weight_rms",),
    condition=_init_too_large,
    persistence=Persistence(),
    severity="error",
    message=_init_too_large_message,
    advice=lambda e: (
        say(
            "Divide the initial weights by {factor}: std = gain / √fan-in (He: gain 1.4 for ReLU; "
            "Xavier: 1). A different learning rate does not fix this.",
            factor=number(e.value),
        )
        if math.isfinite(e.value)
        else say("Initialize with std = gain / √fan-in (He: gain 1.4 for ReLU; Xavier: 1).")
    ),
    reference="Hanin & Rolnick 2018, How to start training",
    explains=(
        "loss_blowup", "nonfinite", "gradient_scale", "dead_units", "gradient_spike", "lr_too_low",
        "vanishing_gradient", "layer_imbalance", "stale_second_moment", "plateau",
    ),
    uses=("weight_absmax",),
    silences_compass=True,
)  # fmt: skip
