"""Can the type that stores exp_avg_sq represent it?"""

from __future__ import annotations

from tb_adam_plugin.languages.sentences import joined, say

from ..engine.conditions import each_beyond, median_beyond
from ..engine.rule import Evidence, Persistence, Rule
from ..engine.wording import decay, named, percent

# Share of the elements with a gradient whose exp_avg_sq is 0 or subnormal, in any weight.
UNDERFLOW_FRACTION = 0.05
UNDERFLOW_POINTS = 3
# Share of the elements whose decay is rounded away, median of the weights.
FROZEN_FRACTION = 0.5
FROZEN_POINTS = 5


def _storage(e: Evidence) -> str:
    stored = {
        e.signals.run.groups[g].storage.get("exp_avg_sq", "")
        for g in e.signals.run.group_of[e.parameters]
    }
    types = sorted(stored - {""})
    return joined(types, ", ") if types else say("its data type")


UNDERFLOW = Rule(
    id="second_moment_underflow",
    title="exp_avg_sq underflows",
    needs=("second_moment_underflow_fraction",),
    condition=lambda s: each_beyond(
        s,
        "second_moment_underflow_fraction",
        UNDERFLOW_FRACTION,
        s.run.weights_or_matrices,
    ),
    persistence=Persistence(UNDERFLOW_POINTS),
    severity="error",
    message=lambda e: say(
        "{share} of the elements with a gradient have an exp_avg_sq that is 0 or subnormal in "
        "{dtype} ({names}): only ε is left of the denominator, so their steps are far too large or "
        "zero.",
        share=percent(e.value),
        dtype=_storage(e),
        names=named(e.names, e.signals.run.names),
    ),
    advice=lambda e: say(
        "Keep weights and optimizer state in float32 (autocast for the rest), or scale the loss. "
        "As a stopgap use an ε of 1e-4 or more."
    ),
    reference="Micikevicius et al. 2018, Mixed precision training",
    explains=("nonfinite", "lost_updates", "eps_dominates", "eps_influences", "loss_blowup",
              "lr_too_high", "layer_imbalance", "second_moment_frozen"),
    silences_compass=True,
)  # fmt: skip


def _frozen_advice(e: Evidence) -> str:
    beta2 = e.signals.hyperparameter_now("beta2")
    lower = [decay(b) for b in (0.99, 0.95) if not beta2 <= b]
    if not lower:
        return say("Keep the optimizer's state in float32.")
    values = lower[0] if len(lower) == 1 else say("{a} or {b}", a=lower[0], b=lower[1])
    if 0 < beta2 < 1:
        return say(
            "Keep the optimizer's state in float32, or use a beta2 whose decay the type can hold: "
            "{values} instead of {now}.",
            values=values,
            now=decay(beta2),
        )
    return say(
        "Keep the optimizer's state in float32, or use a beta2 whose decay the type can hold: "
        "{values}.",
        values=values,
    )


FROZEN = Rule(
    id="second_moment_frozen",
    title="exp_avg_sq cannot decay",
    needs=("second_moment_frozen_fraction",),
    condition=lambda s: median_beyond(
        s,
        "second_moment_frozen_fraction",
        FROZEN_FRACTION,
        s.run.weights_or_matrices,
    ),
    persistence=Persistence(FROZEN_POINTS),
    once=True,
    severity="warning",
    message=lambda e: say(
        "In {share} of the elements with an exp_avg_sq above 0, beta2 · exp_avg_sq rounds back to "
        "exp_avg_sq in {dtype}: it keeps the largest gradients forever, and the steps stay too "
        "small.",
        share=percent(e.value),
        dtype=_storage(e),
    ),
    advice=_frozen_advice,
    reference="Zamirai et al. 2020, Revisiting BFloat16 training",
    explains=("lr_too_low", "stale_second_moment"),
    silences_compass=True,
)
