"""Do all updates have the same size?"""

from __future__ import annotations

from tb_adam_plugin.languages.sentences import say

from ..engine.conditions import median_beyond
from ..engine.moments import has_moment
from ..engine.rule import Condition, Evidence, Persistence, Rule
from ..engine.signals import Signals
from ..engine.wording import decay, percent

# Share of the elements with |m̂/(√v̂+ε)| near 1, median of the matrices. Usual: below 0.08.
BIMODAL_SHARE = 0.3
# Below it, an update is nearly m / |g|: for gradients without any common direction, 0.17 of the
# elements are near 1 at beta2 = 0.5 without a first moment, 0.27 at 0.3, and all of them at 0.
LEAST_BETA2 = 0.5
BIMODAL_POINTS = 8


def _bimodal(signals: Signals) -> Condition | str:
    beta2 = signals.hyperparameter_now("beta2")
    if beta2 < LEAST_BETA2:
        return say(
            "beta2 is {beta2}: the size of an update does not say whether gradients agree",
            beta2=decay(beta2),
        )
    return median_beyond(
        signals,
        "update_bimodality",
        BIMODAL_SHARE,
        signals.run.weights_or_matrices,
        since=signals.settled,
    )


def _message(e: Evidence) -> str:
    return say(
        "{share} of the elements have |{moment}/(√v̂+ε)| near 1 (usual: below 8 %): their gradients "
        "agree from step to step. Is the learning rate too low, or do gradients add up?",
        share=percent(e.value),
        moment="m̂" if has_moment(e.signals, "exp_avg") else "g",
    )


BIMODAL_UPDATE = Rule(
    id="bimodal_update",
    title="All updates have the same size",
    needs=("update_bimodality",),
    condition=_bimodal,
    persistence=Persistence(BIMODAL_POINTS),
    severity="info",
    message=_message,
    advice=lambda e: "",
    reference="Molybog et al. 2023, A theory on Adam instability in large-scale machine learning",
)
