"""The row values: the numbers that every measurement method computes from a row's elements.

One table lists them, their order, and how those of several rows combine. :mod:`.row_values`
computes them with torch, :mod:`.gpu.kernels` in one kernel, and :mod:`..ranks.shard_sums` packs
them: all take names and positions from here.

Symbols: ``w`` weight, ``g`` gradient, ``m`` exp_avg, ``v`` exp_avg_sq, ``b`` weight before the
    step, ``d`` the change made by the step; ``m̂`` and ``v̂`` are bias-corrected, ``s = √v̂``.
    ``g'`` is the gradient as it enters the moments: negated under maximize, plus ``weight_decay ·
    b`` if weight decay is coupled. Comparisons of the gradient with a moment use ``g'``. ``n`` is
    the direction of :mod:`..optimizer_state.base` (Adam: m̂/(s+ε)) and ``r`` the requested update,
    ``-lr·(n + weight_decay·b)``; ``d`` is what remains of it in the precision of the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple


class RowValue(NamedTuple):
    """One number per row.

    Attributes:
        name: Its name, in the symbols above.
        combined_by: How the numbers of several rows are combined into one.
        formula: In the elements of a row, including the padding, which is zeros.
        over_all: The quantity for which this is also known over all elements if only some are read;
            "before" is the weight before the step. Empty for the others.
        zeros_of: The quantity whose zeros this counts, for its histogram; empty for the others.
    """

    name: str
    combined_by: Literal["sum", "maximum"]
    formula: str
    over_all: str = ""
    zeros_of: str = ""


ROW_VALUES: tuple[RowValue, ...] = (
    RowValue("b²", "sum", "Σ b²", over_all="before"),
    RowValue("d²", "sum", "Σ d²"),
    RowValue("d·b", "sum", "Σ d·b"),
    RowValue("g²", "sum", "Σ g²", over_all="gradient"),
    RowValue("g⁴", "sum", "Σ g⁴ / (Σ g²)² of the row"),
    RowValue("max|d|", "maximum", "max |d|"),
    RowValue("max|w|", "maximum", "max |w|"),
    RowValue("max|g|", "maximum", "max |g|"),
    RowValue("w=0", "sum", "number of w = 0", zeros_of="weight"),
    RowValue("g=0", "sum", "number of g = 0", zeros_of="gradient"),
    RowValue("d=0", "sum", "number of d = 0", zeros_of="update"),
    RowValue("g'²", "sum", "Σ g'²"),
    RowValue("m²", "sum", "Σ m²", over_all="exp_avg"),
    RowValue("m·g'", "sum", "Σ m·g'"),
    RowValue("v", "sum", "Σ v", over_all="exp_avg_sq"),
    RowValue("max|m|", "maximum", "max |m|"),
    RowValue("max v", "maximum", "max v"),
    RowValue("m=0", "sum", "number of m = 0", zeros_of="exp_avg"),
    RowValue("v=0", "sum", "number of v = 0", zeros_of="exp_avg_sq"),
    RowValue("s<ε", "sum", "number of s < ε"),
    RowValue("s<10ε", "sum", "number of s < 10 ε"),
    RowValue("m̂²/v̂", "sum", "Σ m̂²/v̂ where v ≠ 0"),
    RowValue("(g'/max(s,ε))²", "sum", "Σ (g'/max(s, ε))²"),
    RowValue("v before", "sum", "Σ v before the step, where that was read"),
    RowValue("v<tiny, g≠0", "sum", "number of g ≠ 0 with v below the normal numbers of its type"),
    RowValue("v frozen", "sum", "number of v ≠ 0 for which decay · v rounds to v"),
    RowValue("(ln v̂/v̂ before)²", "sum", "Σ (ln v̂ - ln v̂ before)² where it is compared"),
    RowValue("v before≠0", "sum", "number of v that are compared: before it was above 1e-6 v"),
    RowValue("n²", "sum", "Σ n²"),
    RowValue("n≈±1", "sum", "number of 0.8 < |n| < 1.25"),
    RowValue("n=0", "sum", "number of n = 0", zeros_of="normalized_update"),
    RowValue("r²", "sum", "Σ r²"),
    RowValue("(d-r)²", "sum", "Σ (d - r)²"),
    RowValue("r≠0", "sum", "number of r ≠ 0"),
    RowValue("r≠0, d=0", "sum", "number of r ≠ 0 with d = 0"),
    RowValue("(m-exact)²", "sum", "Σ (m - m without rounding at this step)²"),
    RowValue("exact m²", "sum", "Σ (m without rounding at this step)²"),
    RowValue("(v-exact)²", "sum", "Σ (v - v without rounding at this step)²"),
    RowValue("exact v²", "sum", "Σ (v without rounding at this step)²"),
)

NAMES = tuple(value.name for value in ROW_VALUES)
POSITION: Mapping[str, int] = {name: i for i, name in enumerate(NAMES)}
SUMS = tuple(value.name for value in ROW_VALUES if value.combined_by == "sum")
MAXIMA = tuple(value.name for value in ROW_VALUES if value.combined_by == "maximum")
# Names of the row values known over all elements, by quantity.
OVER_ALL: Mapping[str, str] = {v.over_all: v.name for v in ROW_VALUES if v.over_all}
ZEROS: Mapping[str, str] = {v.zeros_of: v.name for v in ROW_VALUES if v.zeros_of}

# Smallest ε to divide by: in the padding of a row, 0/ε must not become NaN.
TINY = 1e-37
# Below this share of v, float32 cannot distinguish v before the step from zero.
LEAST_BEFORE = 1e-6
# Range of magnitudes of normalized updates that count as ±1.
NEAR_ONE = (0.8, 1.25)
