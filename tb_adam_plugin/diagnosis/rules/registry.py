"""All rules, in order of precedence: what is certain first, then causes, then symptoms."""

from __future__ import annotations

from ..engine.rule import Rule, together
from . import (
    beta2,
    gradient_spike,
    learning_rate_too_high,
    progress,
    settings_of_adam,
    skipped_steps,
    weight_decay,
)

RULES: tuple[Rule, ...] = (
    # What is certain.
    learning_rate_too_high.LR_ZERO,
    settings_of_adam.NOT_IN_OPTIMIZER,
    gradient_spike.NO_GRADIENT,
    gradient_spike.STALE_GRADIENT,
    learning_rate_too_high.LR_JUMP,
    beta2.BETA2_TOO_LOW,
    beta2.STATE_RESET,
    settings_of_adam.TYPE_CHANGED,
    settings_of_adam.NOT_COUNTED,
    settings_of_adam.EPS_ROUNDS_TO_ZERO,
    weight_decay.WEIGHT_DECAY_OVERSHOOTS,
    beta2.UNDERFLOW,
    gradient_spike.GRADIENT_SCALE,
    skipped_steps.STEPS_SKIPPED,
    # Where the run starts, and how fast it goes.
    weight_decay.INIT_TOO_SMALL,
    weight_decay.INIT_TOO_LARGE,
    learning_rate_too_high.LR_TOO_HIGH,
    learning_rate_too_high.LR_DECAYED_EARLY,
    weight_decay.LOST_UPDATES,
    weight_decay.WEIGHT_DECAY,
    gradient_spike.CLIP_ALWAYS,
    # The state.
    settings_of_adam.BETA1_TOO_HIGH,
    weight_decay.DEAD_UNITS,
    gradient_spike.VANISHING,
    beta2.EPS_DOMINATES,
    beta2.EPS_INFLUENCES,
    beta2.FROZEN,
    # Symptoms.
    gradient_spike.GRADIENT_SPIKE,
    learning_rate_too_high.LOSS_BLOWUP,
    gradient_spike.NONFINITE,
    weight_decay.LAYER_IMBALANCE,
    learning_rate_too_high.LR_TOO_LOW,
    # Questions.
    learning_rate_too_high.GAIN_RATIO_LOW,
    gradient_spike.NOISE,
    beta2.STALE,
    progress.CONVERGED,
    gradient_spike.CLIP_CONSTANT,
    learning_rate_too_high.WARMUP_NOT_OVER,
    settings_of_adam.COUPLED_DECAY,
    settings_of_adam.FROZEN_PARAMETERS,
    weight_decay.WITHOUT_GRADIENT,
    weight_decay.RARE_ROWS,
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
