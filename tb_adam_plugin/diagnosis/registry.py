"""All rules, in order of precedence: what is certain first, then causes, then symptoms."""

from __future__ import annotations

from . import (
    configuration,
    gradient_scaler,
    gradients,
    learning_rate,
    progress,
    second_moment,
    weights,
)
from .rule import Rule, together

RULES: tuple[Rule, ...] = (
    # What is certain.
    learning_rate.LR_ZERO,
    configuration.NOT_IN_OPTIMIZER,
    gradients.NO_GRADIENT,
    gradients.STALE_GRADIENT,
    learning_rate.LR_JUMP,
    second_moment.BETA2_TOO_LOW,
    second_moment.STATE_RESET,
    configuration.TYPE_CHANGED,
    configuration.NOT_COUNTED,
    configuration.EPS_ROUNDS_TO_ZERO,
    weights.WEIGHT_DECAY_OVERSHOOTS,
    second_moment.UNDERFLOW,
    gradients.GRADIENT_SCALE,
    gradient_scaler.STEPS_SKIPPED,
    # Where the run starts, and how fast it goes.
    weights.INIT_TOO_SMALL,
    weights.INIT_TOO_LARGE,
    learning_rate.LR_TOO_HIGH,
    learning_rate.LR_DECAYED_EARLY,
    weights.LOST_UPDATES,
    weights.WEIGHT_DECAY,
    gradients.CLIP_ALWAYS,
    # The state.
    configuration.BETA1_TOO_HIGH,
    weights.DEAD_UNITS,
    gradients.VANISHING,
    second_moment.EPS_DOMINATES,
    second_moment.EPS_INFLUENCES,
    second_moment.FROZEN,
    # Symptoms.
    gradients.GRADIENT_SPIKE,
    learning_rate.LOSS_BLOWUP,
    gradients.NONFINITE,
    weights.LAYER_IMBALANCE,
    learning_rate.LR_TOO_LOW,
    # Questions.
    learning_rate.GAIN_RATIO_LOW,
    gradients.NOISE,
    second_moment.STALE,
    progress.CONVERGED,
    gradients.CLIP_CONSTANT,
    learning_rate.WARMUP_NOT_OVER,
    configuration.COUPLED_DECAY,
    configuration.FROZEN_PARAMETERS,
    weights.WITHOUT_GRADIENT,
    weights.RARE_ROWS,
    progress.BIMODAL_UPDATE,
    progress.PLATEAU,
)

# What has to be read of a run.
STATISTICS_NEEDED = frozenset(
    name
    for rule in RULES
    for name in (
        *rule.needs,
        *(name for names in rule.needs_any for name in together(names)),
        *rule.uses,
    )
)
