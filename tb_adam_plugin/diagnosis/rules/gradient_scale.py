"""Are gradients multiplied by a factor, for example by a GradScaler?"""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.arrays import Float64s
from tb_adam_plugin.languages.sentences import say

from ..engine.over_time import median
from ..engine.phases import assumed_start
from ..engine.rule import Condition, Persistence, Rule
from ..engine.signals import Signals
from ..engine.wording import number

# Relative change of the loss for a relative change of a weight. Healthy: up to 226.
SCALED_ELASTICITY = 5e3
SCALED_POINTS = 3


def _elasticity(signals: Signals) -> Float64s:
    """Median elasticity of the weights before clipping, float64 ``[records]``."""
    run = signals.run
    weights = run.weights_or_matrices
    if signals.is_known("elasticity"):
        value = signals.median("elasticity", weights)
    else:
        loss = np.abs(signals.at_records(signals.column("loss")))
        value = median(signals.sensitivity(weights)) / np.where(loss > 0, loss, np.nan)
    before = signals.column("gradient_norm_before_clip")
    clipped = signals.at_records(before / signals.column("gradient_norm"))
    return value * np.where(np.isfinite(clipped), clipped, 1)


def _share_left(signals: Signals) -> Float64s:
    """√(loss / first loss), at most 1, float64 ``[records]``; 1 if unknown.

    As a squared loss approaches 0, its elasticity grows as the inverse of this, without any
    scaling.
    """
    left = np.sqrt(np.abs(signals.at_records(signals.column("loss"))) / assumed_start(signals))
    return np.where(left < 1, left, 1.0)


def _gradient_scale(signals: Signals) -> Condition:
    value = _elasticity(signals) * _share_left(signals)
    # If the loss has blown up, gradients are large without being scaled.
    blown_up = signals.at_records(signals.smooth_loss) > signals.blowup_limit
    return Condition(
        signals.run.step,
        (value > SCALED_ELASTICITY) & ~blown_up,
        value,
        SCALED_ELASTICITY,
        blame=lambda record: signals.run.weights_or_matrices,
    )


GRADIENT_SCALE = Rule(
    id="gradient_scale",
    title="Gradients look scaled",
    needs=(),
    needs_any=("elasticity", "loss"),
    condition=_gradient_scale,
    persistence=Persistence(SCALED_POINTS),
    severity="error",
    message=lambda e: say(
        "Changing the weights by 1 % would change the loss by {change} %, where 8 % is typical: "
        "gradients look scaled, as by a GradScaler (65,536 at first).",
        change=number(float(_elasticity(e.signals)[e.worst_record])),
    ),
    advice=lambda e: say(
        "Call scaler.unscale_(optimizer) before clipping or logging gradients, and "
        "scaler.step(optimizer) instead of optimizer.step(). Adam hides the factor; clipping and "
        "eps do not."
    ),
    reference="Micikevicius et al. 2018, Mixed precision training",
    explains=("clip_always", "clip_constant", "gradient_spike"),
    uses=("gradient_rms", "weight_rms", "loss"),
    shows="elasticity",
)
