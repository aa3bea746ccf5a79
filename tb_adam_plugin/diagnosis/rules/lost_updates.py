"""Does rounding lose the updates?"""

from __future__ import annotations

from ..engine import thresholds
from ..engine.conditions import NONE, median_beyond
from ..engine.rule import Condition, Evidence, Persistence, Rule
from ..engine.signals import Signals
from ..engine.wording import number, percent

# Share of the requested changes that rounding loses. Healthy, in float32: up to 0.28, where a
# schedule ends; harmed, in half precision: from 0.33.
LOST_FRACTION = 0.5
LOST_FRACTION_HALF = 0.3
LOST_POINTS = 5
# As many elements without a gradient, as dead units leave, account for that many lost updates.
ZERO_GRADIENTS = 0.5
# Where on average this much arrives nothing is lost: stochastic rounding leaves as many weights as
# they were. Of bfloat16 weights, update-to-weight ratios of 1e-4 and 1e-3: rounded to nearest 0.06
# and 0.53, stochastically 1.06 and 1.03; at 3e-3, where nearest does little harm, 0.93.
ARRIVES = 0.8

_HALF = ("float16", "bfloat16")


def _lost_updates(signals: Signals) -> Condition:
    matrices = signals.run.weights_or_matrices
    # Without gradients exp_avg fades away, and what is left of it is nothing to lose.
    faded = signals.median("zero_gradient_fraction", matrices) > ZERO_GRADIENTS
    types = [signals.run.parameters[i].dtype in _HALF for i in matrices]
    half = 2 * sum(types) > len(types)
    threshold = LOST_FRACTION_HALF if half else LOST_FRACTION
    # Where a schedule has ended updates are as small as it made them.
    lr = signals.at_records(signals.lr)
    ended = (lr < thresholds.DECAYED_TO * signals.peak_lr) | (lr == 0)
    arrives = signals.median("update_slope", matrices) > ARRIVES
    return median_beyond(
        signals, "lost_update_fraction", threshold, matrices, ~faded & ~ended & ~arrives
    )


def _types(e: Evidence) -> str:
    types = {e.signals.run.parameters[i].dtype for i in e.parameters}
    return ", ".join(sorted(types)) or "stored"


def _lost_updates_advice(e: Evidence) -> str:
    if "float16" in _types(e):
        return (
            "Keep the weights in float32 and compute in half precision (torch.autocast), or round "
            "stochastically. A higher learning rate is not the cure."
        )
    lr, peak = e.signals.lr_of(e.parameters, e.worst_step), e.signals.usual_lr(NONE, e.worst_step)
    small = "The steps are below the precision of the weights"
    if lr < thresholds.NEAR_PEAK * peak:
        return f"{small}: end the schedule at a learning rate above {number(lr)}."
    return f"{small}: raise lr from {number(lr)}." if lr > 0 else f"{small}."


LOST_UPDATES = Rule(
    id="lost_updates",
    title="Updates are lost to rounding",
    needs=("lost_update_fraction",),
    condition=_lost_updates,
    persistence=Persistence(LOST_POINTS),
    severity=lambda e: "error" if e.value > LOST_FRACTION else "warning",
    message=lambda e: (
        f"{percent(e.value)} of the changes that the optimizer asks for are smaller than half the "
        f"distance between neighbouring {_types(e)} numbers: the weight stays as it was."
    ),
    advice=_lost_updates_advice,
    reference="Zamirai et al. 2020, Revisiting BFloat16 training",
    explains=("lr_too_low", "plateau", "second_moment_frozen", "layer_imbalance",
              "noise_dominated", "bimodal_update"),
    uses=("zero_gradient_fraction", "update_slope"),
    once=True,
    moves_lr="up",
    silences_compass=True,
)  # fmt: skip
