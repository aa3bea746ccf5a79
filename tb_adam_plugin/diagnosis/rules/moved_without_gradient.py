"""Does a weight move while it has no gradient?"""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.arrays import Flags
from tb_adam_plugin.languages.sentences import say

from ..engine.over_time import sum_over_steps
from ..engine.rule import Condition, Evidence, Persistence, Rule
from ..engine.signals import Signals
from ..engine.wording import named, percent

# Sum of updates over this many steps, relative to the weight's size. A layer that was frozen during
# the run by requires_grad alone moved by 13 %. Healthy: none of 802 runs.
MOVED = 0.05
STEPS = 200
POINTS = 5


def _moved(signals: Signals) -> Condition:
    run = signals.run
    zero = signals.statistic("zero_gradient_fraction")
    ratio = signals.statistic("update_to_weight_ratio")

    def compute(part: slice) -> Flags:
        idle: Flags = (zero[part] == 1) & (ratio[part] > 0)
        return idle

    idle = signals.by_record("moves without a gradient", compute)
    # A bias is sometimes close to zero, and any step is large relative to it.
    often = np.flatnonzero(idle.sum(axis=0) >= POINTS)
    chosen = np.intersect1d(often, run.matrices)
    moves = np.where(idle[:, chosen], signals.values("update_to_weight_ratio", chosen), 0.0)
    path = sum_over_steps(run.step, moves, STEPS)
    known = signals.by_record(
        "gradients known", lambda part: np.asarray(~np.isnan(zero[part]).all(axis=1))
    )
    holds = idle[:, chosen] & (path > MOVED)
    return Condition(run.step, holds, path, MOVED, chosen, known=known)


def _message(e: Evidence) -> str:
    said: dict[str, str] = {
        "names": named(e.names, e.signals.run.names),
        "steps": str(STEPS),
        "share": percent(e.value),
    }
    by_moment, by_decay = _carries_on(e), _decays(e)
    if by_moment and by_decay:
        return say(
            "The gradient of {names} is zero everywhere, yet within {steps} steps updates add up "
            "to {share} of its size: exp_avg carries past gradients on, and weight decay goes on.",
            **said,
        )
    if by_moment:
        return say(
            "The gradient of {names} is zero everywhere, yet within {steps} steps updates add up "
            "to {share} of its size: exp_avg carries past gradients on.",
            **said,
        )
    if by_decay:
        return say(
            "The gradient of {names} is zero everywhere, yet within {steps} steps updates add up "
            "to {share} of its size: weight decay goes on.",
            **said,
        )
    return say(
        "The gradient of {names} is zero everywhere, yet within {steps} steps updates add up to "
        "{share} of its size.",
        **said,
    )


def _groups(e: Evidence) -> set[int]:
    return {int(g) for g in e.signals.run.group_of[e.parameters]}


def _carries_on(e: Evidence) -> bool:
    """Whether the optimizer has a first moment, which moves a weight without a gradient."""
    run = e.signals.run
    return any("exp_avg" not in run.groups[g].undefined for g in _groups(e))


def _decays(e: Evidence) -> bool:
    """Whether weight decay moves a weight without a gradient."""
    decay = e.signals.run.hyperparameters.get("weight_decay")
    if decay is None:
        return False
    known = [g for g in _groups(e) if g < decay.shape[1]]
    return bool((decay[:, known] > 0).any())


MOVED_WITHOUT_GRADIENT = Rule(
    id="moved_without_gradient",
    title="Weights move without a gradient",
    question="Are these weights meant to move without a gradient?",
    needs=("zero_gradient_fraction", "update_to_weight_ratio"),
    condition=_moved,
    persistence=Persistence(POINTS),
    once=True,
    severity="info",
    message=_message,
    advice=lambda e: say(
        "To freeze a parameter, leave it out of the optimizer or set its .grad to None: "
        "requires_grad_(False) alone keeps what .grad holds."
    ),
    reference="Loshchilov & Hutter 2019, Decoupled weight decay regularization",
)
