"""Did the loss blow up, and does anything else show that training went wrong?"""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.languages.sentences import joined, say

from ..engine import thresholds
from ..engine.blowup import blew_up
from ..engine.conditions import NONE, at_every_step
from ..engine.rule import Condition, Evidence, Persistence, Rule, Severity
from ..engine.signals import RATIO, Signals
from ..engine.wording import number, one_digit, step
from .learning_rate_jump import jumped
from .learning_rate_too_high import too_high

# The averaged loss is above the limit at this many consecutive steps.
BLOWUP_POINTS = 10
# An alarm if the loss ends at this multiple of the first losses, or if something else shows that
# training went wrong, such as weights that grew to this multiple of their initial size. Healthy: by
# up to 2.6. In reinforcement and adversarial training a loss may grow while training goes well.
GREW_FAR = 10.0
WEIGHTS_GREW = 3.0
# Share of the first loss by which it must fall to count as fallen.
FELL = 0.02


def _loss_blowup(signals: Signals) -> Condition:
    limit = signals.blowup_limit
    return at_every_step(signals, signals.smooth_loss, blew_up(signals), limit, compared="loss")


def _went_wrong(signals: Signals) -> bool:
    """Whether anything besides a growing loss shows that training went wrong.

    If an agent earns more, or an opponent learns, a loss grows while training goes well.
    """
    high = signals.smooth_loss > GREW_FAR * np.abs(signals.first_loss)
    if high.sum() >= BLOWUP_POINTS and high[-1:].any():
        return True
    too_fast, jump = too_high(signals), jumped(signals)
    if too_fast.holds.any() or (isinstance(jump, Condition) and jump.holds.any()):
        return True
    run = signals.run
    if (signals.largest("nonfinite_count", np.arange(len(run.parameters))) > 0).any():
        return True
    rms = signals.median("weight_rms", signals.started_weights)
    return bool((rms > WEIGHTS_GREW * rms[:1]).any())


def _loss_blowup_severity(e: Evidence) -> Severity:
    return "error" if e.signals.loss_is_measure and _went_wrong(e.signals) else "info"


def _loss_blowup_message(e: Evidence) -> str:
    if not e.signals.loss_is_measure:
        question: str = say(
            "A loss that is near 0 or changes sign, as in reinforcement learning, does not "
            "measure progress. Does this one?"
        )
    elif _loss_blowup_severity(e) == "info":
        question = say(
            "In reinforcement learning and adversarial training a loss may grow while training "
            "goes well, and nothing else points to a problem. Is this such a loss?"
        )
    else:
        question = ""
    loss = e.signals.column("loss")
    began = float(loss[np.isfinite(loss)][0])
    reached = say(
        "The loss (average of {count} steps) reached {highest} at step {step}; it began at "
        "{first}.",
        count=thresholds.LOSS_AVERAGE_STEPS,
        highest=number(e.value),
        step=step(e.worst_step),
        first=number(began),
    )
    return joined([reached, question])


def _never_fell(e: Evidence) -> bool:
    """Whether no average of several earlier losses was below the first one."""
    loss = e.signals.column("loss")[e.signals.steps < e.first_step]
    loss, many = loss[np.isfinite(loss)], thresholds.FIRST_LOSSES
    if loss.size < many:
        return False
    lowest = float(np.lib.stride_tricks.sliding_window_view(loss, many).mean(axis=1).min())
    return lowest >= float(loss[0]) - FELL * abs(float(loss[0]))


def _loss_blowup_advice(e: Evidence) -> str:
    if not e.signals.loss_is_measure:
        return ""
    sign = say("It never fell: is the sign of the loss right?") if _never_fell(e) else ""
    if _loss_blowup_severity(e) == "info":
        judge = say("Judge by what you train for: return, samples, validation.")
        return joined([judge, sign])
    lr = e.signals.usual_lr(NONE, e.first_step)
    if lr > 0:
        tried = say(
            "Try lr {wanted} instead of {lr}, or clip the gradient norm; look at what happened "
            "before step {step}.",
            wanted=number(one_digit(lr / 10)),
            lr=number(lr),
            step=step(e.first_step),
        )
    else:
        tried = say(
            "Divide the learning rate by 10, or clip the gradient norm; look at what happened "
            "before step {step}.",
            step=step(e.first_step),
        )
    return joined([tried, sign])


LOSS_BLOWUP = Rule(
    id="loss_blowup",
    title="Loss blew up",
    question="Did the loss blow up?",
    needs=("loss",),
    uses=("weight_rms", "nonfinite_count", RATIO),
    condition=_loss_blowup,
    persistence=Persistence(BLOWUP_POINTS),
    severity=_loss_blowup_severity,
    message=_loss_blowup_message,
    advice=_loss_blowup_advice,
    reference="",
    explains=(
        "dead_units",
        "nonfinite",
        "plateau",
        "stale_second_moment",
        "layer_imbalance",
        "weights_grow",
    ),
    moves_lr="down",
    silences_compass=True,
)
