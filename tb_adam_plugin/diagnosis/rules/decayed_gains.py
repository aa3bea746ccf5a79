"""Does weight decay pull the gains of normalization layers towards 0?"""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.arrays import Indices
from tb_adam_plugin.languages.sentences import say

from ..engine.healthy_ranges import is_gain
from ..engine.over_time import median
from ..engine.recorded_run import is_embedding
from ..engine.rule import Condition, Evidence, Persistence, Rule
from ..engine.signals import Signals
from ..engine.weight_decay import decays_apart, taken_so_far
from ..engine.wording import named, number, percent

# Decay matters if it would have removed this share of a gain without gradient, and if it is that
# much of the update. AdamW with its defaults, lr 1e-3 and weight_decay 0.01, decays every gain by
# about 0.05 of the update. Of 802 healthy trainings, 3 had the first.
TAKEN = 0.1
OF_THE_UPDATE = 0.3
POINTS = 5


def _left_out(signals: Signals) -> bool:
    """Whether some group of vectors is excluded from decay, i.e. deliberately."""
    run, decay = signals.run, signals.run.hyperparameters["weight_decay"]
    never = (decay == 0).any(axis=0) & ~(decay > 0).any(axis=0)
    for group in np.flatnonzero(never):
        held = [p for p in run.parameters if p.group == group]
        if held and all(len(p.shape) < 2 or is_embedding(p) for p in held):
            return any(len(p.shape) == 1 for p in held)
    return False


def _condition(signals: Signals) -> Condition | None:
    run = signals.run
    decay = run.hyperparameters.get("weight_decay")
    if decay is None or not len(decay):
        return None
    decays = (decay > 0).any(axis=0) & ~(decay == 0).any(axis=0)
    in_decaying = np.flatnonzero(np.isin(run.group_of, np.flatnonzero(decays)))
    gains = np.array([i for i in in_decaying if is_gain(run.parameters[i])], np.intp)
    if not gains.size:
        return None
    if _left_out(signals):
        ratio = np.full(run.step.shape, np.inf)
        return Condition(run.step, np.ones(run.step.shape, bool), ratio, 0.0, blame=lambda _: gains)
    apart = [decays_apart(signals, int(group)) for group in run.group_of[gains]]
    gains = gains[apart]
    if not gains.size or not signals.is_known("weight_decay_ratio"):
        return None
    taken = taken_so_far(signals)[:, run.group_of[gains]].min(axis=1)
    ratio = signals.by_record(
        ("decay of gains", gains.tobytes()),
        lambda part: median(signals.statistic("weight_decay_ratio")[part][:, gains]),
    )
    holds = (taken > TAKEN) & (ratio > OF_THE_UPDATE)

    def blame(_: int) -> Indices:
        return gains

    return Condition(
        run.step, holds, ratio, OF_THE_UPDATE, blame=blame, compared="weight_decay_ratio"
    )


def _message(e: Evidence) -> str:
    run = e.signals.run
    decay = run.hyperparameters["weight_decay"][:, run.group_of[e.parameters[0]]]
    seen: dict[str, str] = {
        "names": named(e.names, run.names),
        "decay": number(float(decay[np.isfinite(decay)][-1:].sum())),
    }
    if not np.isfinite(e.value):
        return say(
            "{names}: a weight_decay of {decay} pulls these gains of normalization layers towards "
            "0, while another group exempts vectors from decay. Did a filter miss them?",
            **seen,
        )
    return say(
        "{names}: a weight_decay of {decay} pulls these gains of normalization layers towards 0, "
        "by up to {share} of the rest of the update. Most recipes for transformers exempt them. "
        "Is this intended?",
        share=percent(e.value),
        **seen,
    )


DECAYED_GAINS = Rule(
    id="decayed_gains",
    title="Should gains of normalization layers decay?",
    needs=("weight_decay",),
    condition=_condition,
    persistence=Persistence(POINTS),
    once=True,
    severity="info",
    message=_message,
    advice=lambda e: say(
        "Put parameters with fewer than two dimensions (gains and biases) into a group with "
        "weight_decay=0; select them by p.ndim, which works for every class of layer."
    ),
    reference="",
    uses=("weight_decay_ratio", "lr"),
    shows="weight_rms",
)
