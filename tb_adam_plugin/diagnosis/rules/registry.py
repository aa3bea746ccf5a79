"""All rules, in order of precedence: certainties first, then causes, then symptoms."""

from __future__ import annotations

from ..engine.rule import Rule, together
from .beta2 import BETA2_TOO_LOW, STALE
from .bimodal_update import BIMODAL_UPDATE
from .changed_types import TYPE_CHANGED
from .clipped_before_unscaling import CLIPPED_BEFORE_UNSCALING
from .clipping import CLIP_ALWAYS, CLIP_CONSTANT
from .dead_units import DEAD_UNITS
from .decayed_gains import DECAYED_GAINS
from .epsilon import EPS_DOMINATES, EPS_INFLUENCES
from .gain_ratio import GAIN_RATIO_LOW
from .gradient_scale import GRADIENT_SCALE
from .gradient_spike import GRADIENT_SPIKE
from .initial_weights import INIT_TOO_LARGE, INIT_TOO_SMALL
from .layer_imbalance import LAYER_IMBALANCE
from .learning_rate_jump import LR_JUMP
from .learning_rate_rises_again import LR_RISES_AGAIN
from .learning_rate_schedule import LR_DECAYED_EARLY, LR_FAR_BELOW, LR_ZERO, WARMUP_NOT_OVER
from .learning_rate_too_high import LR_TOO_HIGH
from .learning_rate_too_low import LR_TOO_LOW
from .loss_blowup import LOSS_BLOWUP
from .lost_state import STATE_RESET
from .lost_updates import LOST_UPDATES
from .missing_gradient import NO_GRADIENT, WITHOUT_GRADIENT
from .moved_without_gradient import MOVED_WITHOUT_GRADIENT
from .noise import NOISE
from .nonfinite import NONFINITE
from .parameters_left_out import FROZEN_PARAMETERS, NOT_IN_OPTIMIZER
from .progress import CONVERGED, PLATEAU
from .rare_rows import KEPT_ROWS, RARE_ROWS
from .replaced_settings import REPLACED_SETTINGS
from .settings_of_adam import BETA1_TOO_HIGH, COUPLED_DECAY, EPS_ROUNDS_TO_ZERO
from .short_memory import SHORT_MEMORY
from .skipped_steps import STEPS_SKIPPED
from .stale_gradient import LEFTOVER_GRADIENT, STALE_GRADIENT
from .step_counter import NOT_COUNTED
from .stored_precision import FROZEN, UNDERFLOW
from .unused_rows import UNUSED_ROWS
from .vanishing_gradient import VANISHING
from .weight_decay import WEIGHT_DECAY, WEIGHT_DECAY_OVERSHOOTS
from .weights_grow import WEIGHTS_GROW

RULES: tuple[Rule, ...] = (
    # Certainties.
    LR_ZERO,
    NOT_IN_OPTIMIZER,
    NO_GRADIENT,
    STALE_GRADIENT,
    LEFTOVER_GRADIENT,
    LR_JUMP,
    BETA2_TOO_LOW,
    STATE_RESET,
    TYPE_CHANGED,
    NOT_COUNTED,
    EPS_ROUNDS_TO_ZERO,
    WEIGHT_DECAY_OVERSHOOTS,
    CLIPPED_BEFORE_UNSCALING,
    UNDERFLOW,
    GRADIENT_SCALE,
    STEPS_SKIPPED,
    # The start of the run, and its speed.
    INIT_TOO_SMALL,
    INIT_TOO_LARGE,
    LR_TOO_HIGH,
    WEIGHTS_GROW,
    LR_FAR_BELOW,
    LR_DECAYED_EARLY,
    LOST_UPDATES,
    WEIGHT_DECAY,
    SHORT_MEMORY,
    KEPT_ROWS,
    CLIP_ALWAYS,
    # The optimizer's state.
    BETA1_TOO_HIGH,
    DEAD_UNITS,
    VANISHING,
    EPS_DOMINATES,
    EPS_INFLUENCES,
    FROZEN,
    # Symptoms.
    GRADIENT_SPIKE,
    LOSS_BLOWUP,
    NONFINITE,
    LAYER_IMBALANCE,
    LR_TOO_LOW,
    # Questions.
    REPLACED_SETTINGS,
    LR_RISES_AGAIN,
    GAIN_RATIO_LOW,
    NOISE,
    STALE,
    CONVERGED,
    CLIP_CONSTANT,
    WARMUP_NOT_OVER,
    COUPLED_DECAY,
    DECAYED_GAINS,
    FROZEN_PARAMETERS,
    WITHOUT_GRADIENT,
    MOVED_WITHOUT_GRADIENT,
    UNUSED_ROWS,
    RARE_ROWS,
    BIMODAL_UPDATE,
    PLATEAU,
)

# The data to read of a run, in the order in which rules request them.
STATISTICS_NEEDED = tuple(
    dict.fromkeys(
        name
        for rule in RULES
        for name in (
            *rule.needs,
            *(name for names in rule.needs_any for name in together(names)),
            *rule.uses,
        )
    )
)
