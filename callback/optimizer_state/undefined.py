"""Which statistics and quantities an optimizer does not have, by what it lacks."""

from __future__ import annotations

# Without a first moment.
WITHOUT_EXP_AVG = (
    "exp_avg",
    "exp_avg_rms",
    "exp_avg_absmax",
    "exp_avg_rounding_error",
    "momentum_gradient_cosine",
    "gradient_exp_avg_cosine",
    "signal_to_noise",
)
# Where exp_avg is no average that each step decays by one factor.
WITHOUT_EXP_AVG_DECAY = ("exp_avg_rounding_error", "momentum_gradient_cosine")
# Without a denominator of squared gradients.
WITHOUT_EXP_AVG_SQ = (
    "exp_avg_sq",
    "exp_avg_sq_root",
    "exp_avg_sq_max",
    "exp_avg_sq_rounding_error",
    *(NORMALIZED_UPDATE := ("normalized_update", "normalized_update_rms", "update_bimodality")),
    "gradient_surprise",
    "rms_t",
    "second_moment_flicker",
    "signal_to_noise",
    "second_moment_frozen_fraction",
    "second_moment_underflow_fraction",
    "zero_second_moment_fraction",
    *(WITHOUT_EPS := ("epsilon_fraction", "epsilon_10_fraction")),
)
# Where exp_avg_sq is no average that each step decays by one factor.
WITHOUT_EXP_AVG_SQ_DECAY = (
    "exp_avg_sq_rounding_error",
    "gradient_surprise",
    "second_moment_flicker",
    "second_moment_frozen_fraction",
)
# Where squared gradients are added up: what compares them with their average has no meaning.
WITHOUT_AVERAGE_OF_SQUARES = (
    "gradient_surprise",
    "rms_t",
    "second_moment_flicker",
    "second_moment_frozen_fraction",
)
WITHOUT_MOMENTS = tuple(dict.fromkeys((*WITHOUT_EXP_AVG, *WITHOUT_EXP_AVG_SQ)))
# Where the state counts no steps.
WITHOUT_STEP = ("state_step",)
# Where the update of an element is not known from the state.
WITHOUT_UPDATE = (
    *NORMALIZED_UPDATE,
    "lost_update_fraction",
    "update_rounding_error",
    "weight_decay_ratio",
)
