"""The statistics: what each column is, in the order of the columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Statistic:
    """One column of the statistics matrix.

    Attributes:
        name: What the column is called on the wire.
        label: What the tab calls it.
        scale: The axis that suits it: ``log`` (positive, over decades), ``fraction`` (0 to 1),
            ``cosine`` (-1 to 1) or ``count``.
        description: The formula in words. Moments are read after the step; the gradient is the one
            the step consumed.
    """

    name: str
    label: str
    scale: Literal["log", "fraction", "cosine", "count"]
    description: str


# Symbols: w weight, g gradient, m exp_avg, v exp_avg_sq (max_exp_avg_sq under amsgrad), t step,
# m̂ = m/(1-beta1^t), v̂ = v/(1-beta2^t), Δw the change the step made to the weight.
STATISTICS: tuple[Statistic, ...] = (
    Statistic("update_to_weight_ratio", "update / weight", "log", "RMS(Δw) / RMS(w before)"),
    Statistic("update_rms", "update RMS", "log", "RMS(Δw), measured, weight decay included"),
    Statistic("update_absmax", "largest update", "log", "max |Δw|"),
    Statistic("weight_rms", "weight RMS", "log", "RMS(w) before the step"),
    Statistic("weight_absmax", "largest weight", "log", "max |w| after the step"),
    Statistic("gradient_rms", "gradient RMS", "log", "RMS(g) as the step consumed it"),
    Statistic("gradient_absmax", "largest gradient", "log", "max |g|"),
    Statistic("gradient_kurtosis", "kurtosis of gradient", "log", "mean(g⁴) / mean(g²)²"),
    Statistic("elasticity", "elasticity", "log", "‖g‖·‖w before‖ / |loss|"),
    Statistic("exp_avg_rms", "exp_avg RMS", "log", "RMS(m̂)"),
    Statistic("exp_avg_absmax", "largest exp_avg", "log", "max |m̂|"),
    Statistic("exp_avg_sq_root", "√v̂ RMS", "log", "√mean(v̂)"),
    Statistic("exp_avg_sq_max", "largest v̂", "log", "max v̂"),
    Statistic("normalized_update_rms", "m̂ / (√v̂+ε) RMS", "log", "RMS(m̂/(√v̂+ε))"),
    Statistic(
        "update_bimodality",
        "normalized updates near ±1",
        "fraction",
        "share of elements with 0.8 < |m̂/(√v̂+ε)| < 1.25",
    ),
    Statistic("gradient_surprise", "gradient / √v̂ before", "log", "√(Σg² / Σv̂ of the step before)"),
    Statistic("rms_t", "RMS_t", "log", "√mean(g²/max(v̂, ε²))"),
    Statistic(
        "second_moment_flicker",
        "flicker of v̂",
        "log",
        "half the RMS of ln(v̂ / v̂ of the step before), where v was above 1e-6 of v now",
    ),
    Statistic("signal_to_noise", "signal / noise", "log", "mean of m̂²/v̂ where v > 0"),
    Statistic(
        "momentum_gradient_cosine",
        "cos(exp_avg before, gradient)",
        "cosine",
        "cosine of exp_avg before the step and this step's gradient",
    ),
    Statistic(
        "gradient_exp_avg_cosine",
        "cos(exp_avg, gradient)",
        "cosine",
        "cosine of exp_avg after the step and this step's gradient",
    ),
    Statistic("epsilon_fraction", "√v̂ below ε", "fraction", "share of elements with √v̂ < ε"),
    Statistic("epsilon_10_fraction", "√v̂ below 10 ε", "fraction", "share with √v̂ < 10 ε"),
    Statistic("zero_second_moment_fraction", "v is zero", "fraction", "share with v = 0"),
    Statistic("zero_gradient_fraction", "gradient is zero", "fraction", "share with g = 0"),
    Statistic(
        "dead_row_fraction",
        "rows without gradient",
        "fraction",
        "share of rows, along the first dimension, with g = 0 everywhere",
    ),
    Statistic(
        "unchanged_fraction", "weight unchanged", "fraction", "share that the step left as it was"
    ),
    Statistic(
        "lost_update_fraction",
        "update lost to rounding",
        "fraction",
        "share of the requested changes, Δw ≠ 0 by the formula, that left the weight as it was",
    ),
    Statistic(
        "update_rounding_error",
        "rounding error of update",
        "log",
        "‖Δw - requested Δw‖ / ‖requested Δw‖",
    ),
    Statistic(
        "second_moment_frozen_fraction",
        "v cannot decay",
        "fraction",
        "share of v > 0 for which beta2·v rounds back to v in the type that stores it",
    ),
    Statistic(
        "second_moment_underflow_fraction",
        "v underflows",
        "fraction",
        "share of g ≠ 0 whose v is 0 or subnormal in the type that stores it",
    ),
    Statistic(
        "exp_avg_rounding_error",
        "rounding error of exp_avg",
        "log",
        "what storing m in less than float32 changed at this step, relative to m",
    ),
    Statistic(
        "exp_avg_sq_rounding_error",
        "rounding error of exp_avg_sq",
        "log",
        "what storing v in less than float32 changed at this step, relative to v",
    ),
    Statistic("weight_decay_ratio", "decay / update", "log", "weight decay against update"),
    Statistic("update_weight_cosine", "cos(update, weight)", "cosine", "cosine of Δw and w before"),
    Statistic(
        "nonfinite_count",
        "NaN or infinite",
        "count",
        "elements that are not finite in w, g, m or v, added up",
    ),
    Statistic(
        "state_step", "steps of the state", "count", "steps that the optimizer's state has counted"
    ),
    Statistic(
        "update_rms_standard_error",
        "sampling error of update",
        "fraction",
        "relative standard error of the update RMS; 0 where every element is read",
    ),
)
STATISTIC_BY_NAME: Mapping[str, Statistic] = {s.name: s for s in STATISTICS}
