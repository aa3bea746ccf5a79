"""The statistics: the meaning of each column, in column order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

# What a statistic may need: an optimizer may never have it, or a step may lack it.
Need = Literal[
    "gradient",
    "previous step",  # a state that the optimizer had before the step
    "step count",
    "update",  # the requested update of each element
    "normalization",  # the update is divided by √v̂
    "eps",
    "exp_avg",
    "exp_avg decay",  # each step multiplies it by one factor and adds a share of the gradient
    "mean of gradients",
    "rounded exp_avg",  # stored in less than float32
    "exp_avg_sq",
    "exp_avg_sq decay",
    "mean of squares",  # of gradients, with weights that add up to one
    "rounded exp_avg_sq",
    "stored exp_avg_sq",  # stored itself, not computed from something smaller
    "shrinking exp_avg_sq",  # where gradients are zero
    "elements of exp_avg_sq",  # that correspond to those of the weight
    "exp_avg_sq of 0",
]

# A row is idle if it had no gradient at any record in this many steps, and in at least this many
# records. So the window has enough steps for a rarely used row, and enough records to have seen it:
# if every step is recorded 64 records, if every 20th is 16 records in 320 steps.
IDLE_STEPS = 64
IDLE_RECORDS = 16


@dataclass(frozen=True, slots=True)
class Statistic:
    """One column of the statistics matrix.

    Attributes:
        name: The column's name in the wire format.
        label: Its name in the tab.
        scale: The axis that suits it: ``log`` (positive, over decades), ``fraction`` (0 to 1),
            ``cosine`` (-1 to 1) or ``count``.
        description: The formula in words. Moments are read after the step; the gradient is the one
            the step consumed.
        needs: What it cannot be computed without: if an optimizer or a step lacks one of these, the
            statistic is unknown.
    """

    name: str
    label: str
    scale: Literal["log", "fraction", "cosine", "count"]
    description: str
    needs: tuple[Need, ...] = ()


# Symbols: w weight, g gradient, m exp_avg, v exp_avg_sq (max_exp_avg_sq under amsgrad), t step,
# m̂ = m/(1-beta1^t), v̂ = v/(1-beta2^t), Δw the change the step made to the weight.
STATISTICS: tuple[Statistic, ...] = (
    Statistic("update_to_weight_ratio", "update / weight", "log", "RMS(Δw) / RMS(w before)"),
    Statistic("update_rms", "update RMS", "log", "RMS(Δw), measured, weight decay included"),
    Statistic("update_absmax", "largest update", "log", "max |Δw|"),
    Statistic("weight_rms", "weight RMS", "log", "RMS(w) before the step"),
    Statistic("weight_absmax", "largest weight", "log", "max |w| after the step"),
    Statistic(
        "zero_weight_fraction", "weight is zero", "fraction", "share with w = 0 after the step"
    ),
    Statistic(
        "gradient_rms", "gradient RMS", "log", "RMS(g) as the step consumed it", needs=("gradient",)
    ),
    Statistic("gradient_absmax", "largest gradient", "log", "max |g|", needs=("gradient",)),
    Statistic(
        "gradient_kurtosis",
        "kurtosis of gradient",
        "log",
        "mean(g⁴) / mean(g²)²",
        needs=("gradient",),
    ),
    Statistic("elasticity", "elasticity", "log", "‖g‖·‖w before‖ / |loss|", needs=("gradient",)),
    Statistic("exp_avg_rms", "exp_avg RMS", "log", "RMS(m̂)", needs=("exp_avg",)),
    Statistic("exp_avg_absmax", "largest exp_avg", "log", "max |m̂|", needs=("exp_avg",)),
    Statistic("exp_avg_sq_root", "√v̂ RMS", "log", "√mean(v̂)", needs=("exp_avg_sq",)),
    Statistic("exp_avg_sq_max", "largest v̂", "log", "max v̂", needs=("exp_avg_sq",)),
    Statistic(
        "normalized_update_rms",
        "m̂ / (√v̂+ε) RMS",
        "log",
        "RMS(m̂/(√v̂+ε))",
        needs=("exp_avg_sq", "update", "normalization"),
    ),
    Statistic(
        "update_bimodality",
        "normalized updates near ±1",
        "fraction",
        "share of elements with 0.8 < |m̂/(√v̂+ε)| < 1.25",
        needs=("exp_avg_sq", "update", "normalization"),
    ),
    Statistic(
        "gradient_surprise",
        "gradient / √v̂ before",
        "log",
        "√(Σg² / Σv̂ of the step before)",
        needs=("gradient", "exp_avg_sq", "exp_avg_sq decay", "mean of squares", "previous step"),
    ),
    Statistic(
        "rms_t",
        "RMS_t",
        "log",
        "√mean(g²/max(v̂, ε²))",
        needs=("gradient", "exp_avg_sq", "mean of squares", "elements of exp_avg_sq"),
    ),
    Statistic(
        "second_moment_flicker",
        "flicker of v̂",
        "log",
        "half the RMS of ln(v̂ / v̂ of the step before), where v was above 1e-6 of v now",
        needs=("gradient", "exp_avg_sq", "exp_avg_sq decay", "mean of squares", "previous step"),
    ),
    Statistic(
        "signal_to_noise",
        "signal / noise",
        "log",
        "mean of m̂²/v̂ where v > 0",
        needs=("exp_avg", "exp_avg_sq", "mean of gradients", "elements of exp_avg_sq"),
    ),
    Statistic(
        "momentum_gradient_cosine",
        "cos(exp_avg before, gradient)",
        "cosine",
        "cosine of exp_avg before the step and this step's gradient",
        needs=("gradient", "exp_avg", "exp_avg decay", "previous step"),
    ),
    Statistic(
        "gradient_exp_avg_cosine",
        "cos(exp_avg, gradient)",
        "cosine",
        "cosine of exp_avg after the step and this step's gradient",
        needs=("gradient", "exp_avg"),
    ),
    Statistic(
        "epsilon_fraction",
        "√v̂ below ε",
        "fraction",
        "share of elements with √v̂ < ε",
        needs=("exp_avg_sq", "eps"),
    ),
    Statistic(
        "epsilon_10_fraction",
        "√v̂ below 10 ε",
        "fraction",
        "share with √v̂ < 10 ε",
        needs=("exp_avg_sq", "eps"),
    ),
    Statistic(
        "zero_second_moment_fraction",
        "v is zero",
        "fraction",
        "share with v = 0",
        needs=("exp_avg_sq",),
    ),
    Statistic(
        "zero_gradient_fraction",
        "gradient is zero",
        "fraction",
        "share with g = 0",
        needs=("gradient",),
    ),
    Statistic(
        "dead_row_fraction",
        "rows without gradient",
        "fraction",
        "share of rows, along the first dimension, with g = 0 everywhere",
        needs=("gradient",),
    ),
    Statistic(
        "idle_row_fraction",
        "rows always without gradient",
        "fraction",
        f"share of rows with g = 0 everywhere at all records of the last {IDLE_STEPS} steps, at "
        f"least {IDLE_RECORDS} records",
        needs=("gradient",),
    ),
    Statistic(
        "unchanged_fraction", "weight unchanged", "fraction", "share that the step did not change"
    ),
    Statistic(
        "lost_update_fraction",
        "update lost to rounding",
        "fraction",
        "share of requested changes (Δw ≠ 0 by the formula) that did not change the weight",
        needs=("update",),
    ),
    Statistic(
        "update_rounding_error",
        "rounding error of update",
        "log",
        "‖Δw - requested Δw‖ / ‖requested Δw‖",
        needs=("update",),
    ),
    Statistic(
        "update_slope",
        "update / requested update",
        "log",
        "Σ Δw·requested Δw / Σ (requested Δw)²",
        needs=("update",),
    ),
    Statistic(
        "second_moment_frozen_fraction",
        "v cannot decay",
        "fraction",
        "share of v > 0 for which beta2·v rounds back to v in the type that stores it",
        needs=("exp_avg_sq", "exp_avg_sq decay", "stored exp_avg_sq", "shrinking exp_avg_sq"),
    ),
    Statistic(
        "second_moment_underflow_fraction",
        "v underflows",
        "fraction",
        "share of g ≠ 0 whose v is 0 or subnormal in the type that stores it",
        needs=("gradient", "exp_avg_sq", "elements of exp_avg_sq", "exp_avg_sq of 0"),
    ),
    Statistic(
        "exp_avg_rounding_error",
        "rounding error of exp_avg",
        "log",
        "error from storing m below float32 at this step, relative to m",
        needs=("gradient", "exp_avg", "exp_avg decay", "previous step", "rounded exp_avg"),
    ),
    Statistic(
        "exp_avg_sq_rounding_error",
        "rounding error of exp_avg_sq",
        "log",
        "error from storing v below float32 at this step, relative to v",
        needs=(
            "gradient",
            "exp_avg_sq",
            "exp_avg_sq decay",
            "stored exp_avg_sq",
            "previous step",
            "rounded exp_avg_sq",
        ),
    ),
    Statistic(
        "weight_decay_ratio",
        "decay / update",
        "log",
        "weight decay relative to update",
        needs=("gradient", "update"),
    ),
    Statistic("update_weight_cosine", "cos(update, weight)", "cosine", "cosine of Δw and w before"),
    Statistic(
        "nonfinite_count",
        "NaN or infinite",
        "count",
        "number of non-finite elements in w, g, m and v",
    ),
    Statistic(
        "state_step",
        "step count of the state",
        "count",
        "step count of the optimizer's state",
        needs=("step count",),
    ),
    Statistic(
        "update_rms_standard_error",
        "sampling error of update",
        "fraction",
        "relative standard error of the update RMS; 0 if every element is read, NaN if the sample "
        "cannot tell",
    ),
)
STATISTIC_BY_NAME: Mapping[str, Statistic] = {s.name: s for s in STATISTICS}
