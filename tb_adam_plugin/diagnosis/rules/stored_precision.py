"""Can the type that stores exp_avg_sq hold it?"""

from __future__ import annotations

from ..engine.conditions import each_beyond, median_beyond
from ..engine.rule import Evidence, Persistence, Rule
from ..engine.wording import decay, named, percent

# Share of the elements with a gradient whose exp_avg_sq is 0 or subnormal, of any weight.
UNDERFLOW_FRACTION = 0.05
UNDERFLOW_POINTS = 3
# Share of the elements whose decay rounds back, median of the weights.
FROZEN_FRACTION = 0.5
FROZEN_POINTS = 5


def _storage(e: Evidence) -> str:
    stored = {
        e.signals.run.groups[g].storage.get("exp_avg_sq", "")
        for g in e.signals.run.group_of[e.parameters]
    }
    return ", ".join(sorted(stored - {""})) or "its type"


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
    message=lambda e: (
        f"{percent(e.value)} of the elements with a gradient have an exp_avg_sq that is 0 or "
        f"subnormal in {_storage(e)} ({named(e.names, e.signals.run.names)}): only ε is left of "
        "the denominator, and their steps are far too large or none."
    ),
    advice=lambda e: (
        "Keep weights and optimizer state in float32 (autocast for the rest), or scale the loss. "
        "ε of 1e-4 or more is a stopgap."
    ),
    reference="Micikevicius et al. 2018, Mixed precision training",
    explains=("nonfinite", "lost_updates", "eps_dominates", "eps_influences", "loss_blowup",
              "lr_too_high", "layer_imbalance", "second_moment_frozen"),
    silences_compass=True,
)  # fmt: skip


def _frozen_advice(e: Evidence) -> str:
    beta2 = e.signals.hyperparameter_now("beta2")
    now = f" instead of {decay(beta2)}" if 0 < beta2 < 1 else ""
    lower = [decay(b) for b in (0.99, 0.95) if not beta2 <= b]
    if not lower:
        return "Keep the optimizer's state in float32."
    return (
        "Keep the optimizer's state in float32, or use a beta2 whose decay the type can hold: "
        f"{' or '.join(lower)}{now}."
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
    message=lambda e: (
        f"In {percent(e.value)} of the elements with an exp_avg_sq above 0, beta2 · exp_avg_sq "
        f"rounds back to it in {_storage(e)}: it keeps the largest gradients for ever, and the "
        "steps stay too small."
    ),
    advice=_frozen_advice,
    reference="Zamirai et al. 2020, Revisiting BFloat16 training",
    explains=("lr_too_low", "stale_second_moment"),
    silences_compass=True,
)
