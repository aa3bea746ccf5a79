"""Do gradients accumulate from step to step, without zero_grad()?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tb_adam_plugin.arrays import Flags
from tb_adam_plugin.languages.sentences import say

from ..engine import thresholds
from ..engine.conditions import RESUMED, at_every_step, too_few, too_few_steps
from ..engine.rule import Condition, Evidence, Persistence, Rule
from ..engine.signals import Signals
from ..engine.stretches import in_a_row, lasting
from ..engine.wording import counted, number

# Norm of the content of .grad before the first backward pass of a step, relative to the gradient's.
# Healthy: 0. If a gradient was clipped to a fiftieth, a fiftieth is left.
LEFT_RATIO = 0.01
LEFT_STEPS = 3
# For a leftover of another loss, which is certain at every single step: a discriminator may take
# several steps for one of its generator. Healthy: 0.
LEFTOVER_STEPS = 3
# If that was not recorded: cosine of exp_avg and the next gradient, and gradient norm relative to
# the first ones.
ADDING_UP_COSINE = 0.9
ADDING_UP_GROWTH = 3.0
ADDING_UP_POINTS = 5

_LEFT = "stale_gradient_ratio"
_LEFTOVER = "leftover_gradient_ratio"
_LOST = "lost_update_fraction"


def _stale_gradient(signals: Signals) -> Condition | str:
    left = signals.column(_LEFT)
    if not np.isfinite(left).any():
        return _adding_up(signals)
    if signals.steps.size < LEFT_STEPS:
        return too_few_steps(signals, LEFT_STEPS)
    holds = in_a_row((left > LEFT_RATIO) & ~_adds_up_on_purpose(signals), LEFT_STEPS)
    return at_every_step(signals, left, holds, LEFT_RATIO, compared=_LEFT)


def _adds_up_on_purpose(signals: Signals) -> Flags:
    """Steps at which an optimizer that skips some may still be accumulating, ``[steps]``.

    A gradient that a step has not used is meant for a later one. Such an optimizer moves nothing at
    a step with a nonzero learning rate, and no formula says that it should have.
    """
    ratio, lost = signals.statistic("update_to_weight_ratio"), signals.statistic(_LOST)

    def compute(part: slice) -> Flags:
        still: Flags = ((ratio[part] == 0) | np.isnan(ratio[part])).all(axis=1)
        still &= (ratio[part] == 0).any(axis=1) & np.isnan(lost[part]).all(axis=1)
        return still

    left_out = signals.by_record("moves nothing", compute) & (signals.at_records(signals.lr) > 0)
    before, recorded = signals.steps - 1, signals.run.step
    if not left_out.any():
        return np.zeros(before.shape, bool)
    # Unknown if the previous step has no record.
    return np.isin(before, recorded[left_out]) | ~np.isin(before, recorded)


def _adding_up(signals: Signals) -> Condition | str:
    """Where gradients look accumulated."""
    run = signals.run
    norm = signals.norm_before_clip
    first = norm[np.isfinite(norm)][: thresholds.FIRST_LOSSES]
    if not first.size or signals.run.first_step > thresholds.FIRST_STEP:
        return RESUMED
    growth = signals.at_records(norm) / float(np.median(first))
    weights = run.weights_or_matrices
    cosine = signals.median("momentum_gradient_cosine", weights)
    holds = (cosine > ADDING_UP_COSINE) & (growth > ADDING_UP_GROWTH)
    found = Condition(
        run.step,
        holds,
        cosine,
        ADDING_UP_COSINE,
        blame=lambda record: weights,
        compared="momentum_gradient_cosine",
    )
    points = Persistence(ADDING_UP_POINTS)
    return replace(found, holds=lasting(found, points), lacking=too_few(found, points, signals))


def _stale_gradient_message(e: Evidence) -> str:
    if np.isfinite(e.signals.column(_LEFT)).any():
        return say(
            "Before the gradient of a step arrived, .grad already held up to {times} times its "
            "norm: each step still contains the gradients of earlier steps.",
            times=number(e.value),
        )
    return say(
        "The cosine of exp_avg and the next gradient is {cosine} while the gradient norm grows: "
        "each step still contains the gradients of earlier steps.",
        cosine=number(e.value),
    )


STALE_GRADIENT = Rule(
    id="stale_gradient",
    title="Gradients add up from step to step",
    needs=(),
    needs_any=(_LEFT, ("momentum_gradient_cosine", "gradient_norm")),
    uses=("update_to_weight_ratio", _LOST),
    condition=_stale_gradient,
    persistence=Persistence(),
    severity="error",
    message=_stale_gradient_message,
    advice=lambda e: say(
        "Call optimizer.zero_grad() once per optimizer step, before the first backward()."
    ),
    reference="",
    explains=(
        "lr_too_low", "bimodal_update", "plateau", "loss_blowup", "lr_too_high", "gradient_scale",
        "gradient_spike", "dead_units", "weight_decay_too_strong", "stale_second_moment",
        "weights_grow",
    ),
    shows="stale_gradient_ratio",
    silences_compass=True,
)  # fmt: skip


def _leftover_gradient(signals: Signals) -> Condition | None:
    left = signals.column(_LEFTOVER)
    if not np.isfinite(left).any():
        return None  # gradients are never accumulated
    holds = left > LEFT_RATIO
    holds &= holds.sum() >= LEFTOVER_STEPS
    return at_every_step(signals, left, holds, LEFT_RATIO, compared=_LEFTOVER)


LEFTOVER_GRADIENT = Rule(
    id="leftover_gradient",
    title="The step contains gradients of another optimizer's loss",
    needs=("step",),
    uses=(_LEFTOVER,),
    condition=_leftover_gradient,
    persistence=Persistence(),
    once=True,
    severity="warning",
    message=lambda e: say(
        "Before the gradient of a step arrived, .grad held up to {times} times its norm from "
        "another backward pass, after which another optimizer stepped, the way a generator's loss "
        "leaves gradients in the discriminator. Seen at {steps}.",
        times=number(e.value),
        steps=counted(e.points, "step"),
    ),
    advice=lambda e: say(
        "Call this optimizer's zero_grad() right before the backward() of its own loss, not only "
        "after its step; or set requires_grad_(False) for these parameters during the other pass. "
        "If both losses should train them, ignore this."
    ),
    reference="",
    explains=(
        "lr_too_low", "bimodal_update", "plateau", "loss_blowup", "lr_too_high", "gradient_spike",
        "dead_units", "stale_second_moment", "noise_dominated",
    ),
    shows="leftover_gradient_ratio",
    silences_compass=True,
)  # fmt: skip
