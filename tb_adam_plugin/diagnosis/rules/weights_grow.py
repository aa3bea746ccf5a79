"""Do the weights grow so fast that the learning rate may be too high?

If steps are far too long, most of what they add is noise, which makes the weights grow. This shows
even if a warm-up kept the first updates short and the loss falls.
"""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.arrays import Float64s, Indices
from tb_adam_plugin.languages.sentences import joined, say

from ..engine.over_time import median
from ..engine.phases import is_settled
from ..engine.rule import Condition, Evidence, Persistence, Rule, Severity
from ..engine.signals import Signals
from ..engine.wording import number, one_digit, step

# RMS of a typical weight matrix relative to the first record, within this many first steps.
# Language models with 3 million weights, 600 steps: 1.3 at step 200 and 1.5 at the end at the usual
# learning rate, 1.9 and 2.7 at 3 times that, which does no harm, 4.2 and 6.1 at 10 times, 8.3 and
# 13 at 30.
GROWTH = 4.0
EARLY_STEPS = 600.0
# An alarm. The same models at 10 times the usual learning rate, over 600 and 2,000 steps: 6.2 to
# 13, at 30 times 14 to 19. Healthy: up to 4.3 in 800 small networks, and 6.5 in one.
ALARM_GROWTH = 7.5
# Small networks without hidden layers grow as much while they learn: up to 13.
LEAST_MATRICES = 4
GROWTH_POINTS = 3
# If the learning rate may be too high, a third is tried first; if it is, a tenth.
FACTOR, ALARM_FACTOR = 3.0, 10.0
# Their steps are as long for small gradients as for large ones. Healthy: up to 19.
SIGN_OPTIMIZERS = ("Lion",)


def _growth(signals: Signals, matrices: Indices) -> Float64s:
    """Median RMS relative to the first record, float64 ``[records]``."""

    def compute(part: slice) -> Float64s:
        rms = signals.statistic("weight_rms")
        first = np.where(rms[0, matrices] > 0, rms[0, matrices], np.nan)
        return median(rms[part][:, matrices] / first)

    return signals.by_record(("growth", matrices.tobytes()), compute)


def _grow(signals: Signals) -> Condition | None:
    run, matrices = signals.run, signals.started_weights
    signs = any(name in run.groups[run.main_group].optimizer for name in SIGN_OPTIMIZERS)
    if signals.first_scales is None or matrices.size < LEAST_MATRICES or signs:
        return None
    growth = _growth(signals, matrices)
    holds = (growth > GROWTH) & (run.step <= EARLY_STEPS) & is_settled(signals)

    def blame(record: int) -> Indices:
        rms = signals.statistic("weight_rms")
        fast: Indices = matrices[rms[record, matrices] > GROWTH * rms[0, matrices]]
        return fast

    return Condition(run.step, holds, growth, GROWTH, matrices, blame=blame, since=signals.settled)


def _severity(e: Evidence) -> Severity:
    loss = e.signals.smooth_loss
    # If the loss has risen above its start, another rule reports it.
    has_risen = bool(loss.size and loss[-1] > e.signals.starting_loss)
    return "warning" if e.value > ALARM_GROWTH and not has_risen else "info"


def _message(e: Evidence) -> str:
    signals = e.signals
    noise = say(
        "Steps that are too long add noise, which makes weights grow even while the loss falls."
    )
    said = {"step": step(e.worst_step), "times": number(e.value)}
    if e.first_step < e.worst_step:
        record = int(np.searchsorted(signals.run.step, e.first_step))
        seen = say(
            "By step {step} a typical weight matrix is {times} times as large as at the start; at "
            "step {earlier} it was {before} times.",
            earlier=step(e.first_step),
            before=number(float(_growth(signals, signals.started_weights)[record])),
            **said,
        )
    else:
        seen = say(
            "By step {step} a typical weight matrix is {times} times as large as at the start.",
            **said,
        )
    return joined([seen, noise])


def _advice(e: Evidence) -> str:
    lr = e.signals.usual_lr(e.parameters, e.first_step)
    is_alarm = _severity(e) == "warning"
    if not lr > 0:
        tenth = say("Try a tenth of the learning rate, and compare the losses.")
        third = say("Try a third of the learning rate, and compare the losses.")
        return tenth if is_alarm else third
    return say(
        "Try lr {smaller} instead of {now}, and compare the losses.",
        smaller=number(one_digit(lr / (ALARM_FACTOR if is_alarm else FACTOR))),
        now=number(lr),
    )


WEIGHTS_GROW = Rule(
    id="weights_grow",
    title="Weights grow several times too fast",
    question="Do the weights grow because the learning rate is too high?",
    needs=("weight_rms",),
    condition=_grow,
    persistence=Persistence(GROWTH_POINTS),
    severity=_severity,
    message=_message,
    advice=_advice,
    reference="Kosson et al. 2023, Rotational equilibrium",
    once=True,
    explains=("gradient_spike", "dead_units", "layer_imbalance", "rare_rows", "short_memory"),
    moves_lr="down",
    silences_compass=True,
)
