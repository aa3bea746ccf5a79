"""Do gradients vanish towards the first layers?"""

from __future__ import annotations

import re

import numpy as np

from tb_adam_plugin.arrays import Float64s
from tb_adam_plugin.languages.sentences import joined, say

from ..engine import thresholds
from ..engine.moments import has_moment
from ..engine.phases import is_settled
from ..engine.rule import Condition, Evidence, Persistence, Rule, Severity
from ..engine.signals import Signals
from ..engine.wording import number, step
from .learning_rate_too_low import steps_look_short

# Elasticity of the first weight relative to the last one, in decades, and rank correlation with
# depth. Healthy: up to 1.8 for this many points except in two runs; all sigmoids: from 2.2.
LEAST_DECADES = 1.8
LEAST_CORRELATION = 0.85
LEAST_WEIGHTS = 4
# The largest step from a weight to the next one, as a share of all decades: if a single weight
# stands apart, like the output matrix of a language model while it learns word frequencies, nothing
# vanishes layer by layer. All sigmoids, median of the records: up to 0.43; language models: from
# 0.66.
LARGEST_STEP = 0.55
# The loss at the end of the stretch relative to the first one: below it, training progresses
# anyway. All sigmoids: from 0.91; healthy: up to 0.62, in LSTMs, in whose first layers gradients
# grow slowly.
TRAINS_LOSS_SHARE = 0.8
# A profile that the steps made this many decades steeper than initially did no harm if it has ended
# within this share of the run and the loss has clearly fallen since. All sigmoids: by up to 0.6; a
# language model whose first steps were long: by 3.3.
GROWN_DECADES = 1.0
EARLY_SHARE = 0.1
# At this share of the records gradients agree and weights hardly move: the profile is still the
# initial weights', because the learning rate is too low. All sigmoids: up to 0.38.
SLOW_SHARE = 0.5
VANISHING_POINTS = 4


def _vanishing(signals: Signals) -> Condition | None:
    weights = signals.run.weights
    if weights.size < LEAST_WEIGHTS:
        return None

    def compute(part: slice) -> Float64s:
        profile = np.log10(signals.sensitivity(weights)[part].astype(np.float64))
        profile[~np.isfinite(profile)] = np.nan
        decades = profile[:, -1] - profile[:, 0]
        correlation = _rank_correlation(profile)
        whole = ~np.isnan(profile).any(axis=1)
        largest = np.diff(profile, axis=1).max(axis=1)
        gradual = largest < LARGEST_STEP * decades
        found = whole & gradual & (correlation > LEAST_CORRELATION)
        return np.where(found, decades, np.nan)

    decades = signals.by_record("vanishing", compute)
    return Condition(
        signals.run.step,
        decades > LEAST_DECADES,
        decades,
        LEAST_DECADES,
        blame=lambda record: weights[: max(1, weights.size // 2)],
        known=np.ones(decades.shape, bool),
    )


def _rank_correlation(rows: Float64s) -> Float64s:
    """Spearman's rank correlation of each row with the order of its columns."""
    n = rows.shape[1]
    ranks = np.argsort(np.argsort(rows, axis=1), axis=1)
    squares = ((ranks - np.arange(n)) ** 2).sum(axis=1)
    correlation: Float64s = 1 - 6 * squares / (n * (n**2 - 1))
    return correlation


def _losses_of(e: Evidence) -> tuple[float, float]:
    """The initial loss, and the averaged one at the end of a stretch; NaN if unknown.

    If the stretch ended early, the averaged loss at the end of the run.
    """
    signals = e.signals
    until = np.inf if _ended_early(e) else e.last_step
    known = signals.smooth_loss[signals.steps <= until]
    known = known[np.isfinite(known)]
    return signals.first_loss, float(known[-1]) if known.size else float("nan")


def _ended_early(e: Evidence) -> bool:
    """Whether the first steps caused the profile, and it has passed."""
    run = e.signals.run
    early = run.first_step + EARLY_SHARE * (run.length - run.first_step)
    grown = float(e.value - e.course[0, 1]) if len(e.course) else 0.0
    return e.is_over and e.last_step <= early and grown > GROWN_DECADES


def _is_slow(e: Evidence) -> bool:
    """Whether the learning rate looks too low for the initial profile to change."""
    if e.is_over:
        return False
    run = e.signals.run
    short, known = steps_look_short(e.signals)
    inside = (run.step >= e.first_step) & is_settled(e.signals) & known
    return bool(inside.any() and short[inside].mean() > SLOW_SHARE)


def _vanishing_severity(e: Evidence) -> Severity:
    """A question if the loss falls anyway, or if the steps are too short to tell."""
    first, last = _losses_of(e)
    share = thresholds.PLATEAU_LOSS_SHARE if _ended_early(e) else TRAINS_LOSS_SHARE
    falls = 0 < last < share * first
    return "info" if falls or _is_slow(e) else "warning"


def _vanishing_message(e: Evidence) -> str:
    times = number(10**e.value)
    if e.is_over:
        if _vanishing_severity(e) == "warning":
            return say(
                "From the last layer to the first one the loss became {times} times less "
                "sensitive to a relative change of the weights, layer by layer, until step "
                "{step}.",
                times=times,
                step=step(e.last_step),
            )
        return joined([_vanished_for_a_while(e), _fell(e)])
    seen = say(
        "From the last layer to the first one the loss becomes {times} times less sensitive to a "
        "relative change of the weights, layer by layer.",
        times=times,
    )
    if _vanishing_severity(e) == "warning":
        return seen
    if _is_slow(e):
        slow = say(
            "Steps are short and gradients agree, so the weights are still close to their initial "
            "values: a healthy run may start like this."
        )
        return joined([seen, slow])
    return joined([seen, _fell(e)])


def _vanished_for_a_while(e: Evidence) -> str:
    return say(
        "Up to step {step} the loss was up to {times} times less sensitive to a relative change "
        "of the weights, the more so the closer they are to the input. This has ended.",
        step=step(e.last_step),
        times=number(10**e.value),
    )


def _fell(e: Evidence) -> str:
    """Say that the loss falls, or fell, anyway."""
    first, last = map(number, _losses_of(e))
    if not e.is_over:
        return say("It still falls, from {first} to {last}.", first=first, last=last)
    if _ended_early(e):
        return say("The loss has fallen from {first} to {last} since.", first=first, last=last)
    return say("Meanwhile the loss fell from {first} to {last}.", first=first, last=last)


def _vanishing_advice(e: Evidence) -> str:
    if _is_slow(e):
        return say("First find out whether the learning rate is too low.")
    if _vanishing_severity(e) == "info":
        falls = say("Nothing needs to change while the loss falls.")
        return "" if e.is_over else falls
    run = e.signals.run
    words = " ".join(f"{run.names[i]} {run.parameters[i].module}" for i in run.weights).lower()
    # The gates of a recurrent layer are always sigmoids.
    recurrent = re.search(r"lstm|gru|rnn|weight_[ih]h_l\d", words)
    change = (
        say("Add residual connections or normalization, or use a Xavier gain.")
        if recurrent
        else say(
            "Add residual connections or normalization, use ReLU or GELU instead of sigmoid or "
            "tanh, or use a Xavier gain."
        )
    )
    by_size = (
        say("Adam compensates until √v̂ comes close to eps: then lower eps.")
        if has_moment(e.signals, "exp_avg_sq")
        else say("Adam would compensate for much of it.")
    )
    return joined([change, by_size])


VANISHING = Rule(
    id="vanishing_gradient",
    title="Gradients vanish towards the first layers",
    question="Do gradients vanish towards the first layers?",
    needs=("gradient_rms", "weight_rms"),
    uses=("momentum_gradient_cosine", "update_to_weight_ratio", "loss"),
    condition=_vanishing,
    persistence=Persistence(VANISHING_POINTS),
    once=True,
    severity=_vanishing_severity,
    message=_vanishing_message,
    advice=_vanishing_advice,
    reference="Glorot & Bengio 2010, Understanding the difficulty of training deep networks",
    explains=("eps_dominates", "eps_influences", "plateau", "lr_too_low", "layer_imbalance"),
)
