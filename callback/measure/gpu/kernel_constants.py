"""Compile-time constants of the kernels: a kernel may only read constexprs from a module.

They are imported by name, so Triton recompiles when one has changed.
"""

import triton
import triton.language as tl

from tb_adam_plugin import schema

from ...read import rows
from .. import row_value_table, sampling_error
from . import kernel_layout

# The row values that have a constant here, i.e. that the kernel writes.
WRITTEN: set[str] = set()


def _row(name):
    """Index of a row in a step's table."""
    return tl.constexpr(kernel_layout.TABLE.index(name))


def _number(name):
    """Index of a row in the table's numbers."""
    return tl.constexpr(kernel_layout.NUMBERS.index(name))


def _value(name):
    """Index of a row value, which the kernel must write."""
    WRITTEN.add(name)
    return tl.constexpr(row_value_table.POSITION[name])


FLOAT32, BFLOAT16, FLOAT16, MIXED = map(
    tl.constexpr,
    (kernel_layout.FLOAT32, kernel_layout.BFLOAT16, kernel_layout.FLOAT16, kernel_layout.MIXED),
)
TILE, CHUNK = tl.constexpr(kernel_layout.TILE), tl.constexpr(kernel_layout.CHUNK)
WHOLE_TILE, WHOLE_CHUNK = map(tl.constexpr, (kernel_layout.WHOLE_TILE, kernel_layout.WHOLE_CHUNK))
ROW, LINE = tl.constexpr(rows.ROW), tl.constexpr(rows.LINE)
# Sums of squares of a row of a sampled parameter, side by side.
ROW_SQUARES = tl.constexpr(len(sampling_error.SQUARES))
ROW_D_SQUARED, ROW_G_SQUARED, ROW_M_SQUARED = (
    tl.constexpr(sampling_error.SQUARES.index(name)) for name in ("d²", "g²", "m²")
)
COUNT_BITS, ONE = tl.constexpr(kernel_layout.TILES.bit_length()), tl.constexpr(1)

AT_WEIGHT = _row("weight")
AT_BEFORE = _row("before")
AT_GRADIENT = _row("gradient")
AT_EXP_AVG = _row("exp_avg")
AT_EXP_AVG_SQ = _row("exp_avg_sq")
AT_EXP_AVG_BEFORE = _row("exp_avg_before")
AT_EXP_AVG_SQ_BEFORE = _row("exp_avg_sq_before")
AT_STEP = _row("step")
AT_WEIGHT_KIND = _row("weight_kind")
AT_GRADIENT_KIND = _row("gradient_kind")
AT_EXP_AVG_KIND = _row("exp_avg_kind")
AT_EXP_AVG_SQ_KIND = _row("exp_avg_sq_kind")
AT_ELEMENTS = _row("elements")
AT_FIRST_CHUNK = _row("first_chunk")
AT_ROW_STRIDE = _row("row_stride")
AT_ROWS = _row("rows")
AT_FIRST_ROW = _row("first_row")
AT_FIRST_LINE = _row("first_line")
AT_FIRST_SQUARE = _row("first_square")
AT_WHOLE = _row("whole")
AT_FIRST_WHOLE_CHUNK = _row("first_whole_chunk")

TOTAL_BEFORE, TOTAL_GRADIENT, TOTAL_EXP_AVG, TOTAL_EXP_AVG_SQ = (
    tl.constexpr(kernel_layout.TOTALS.index(q))
    for q in ("before", "gradient", "exp_avg", "exp_avg_sq")
)

GRADIENT_SIGN = _number("gradient_sign")
COUPLED_WEIGHT_DECAY = _number("coupled_weight_decay")
EXP_AVG_DECAY = _number("exp_avg_decay")
EXP_AVG_WEIGHT = _number("exp_avg_weight")
EXP_AVG_SCALE = _number("exp_avg_scale")
EXP_AVG_SQ_DECAY = _number("exp_avg_sq_decay")
EXP_AVG_SQ_WEIGHT = _number("exp_avg_sq_weight")
EXP_AVG_SQ_SCALE = _number("exp_avg_sq_scale")
EXP_AVG_SQ_SCALE_BEFORE = _number("exp_avg_sq_scale_before")
EPS = _number("eps")
NUMERATOR_EXP_AVG = _number("numerator_exp_avg")
NUMERATOR_GRADIENT = _number("numerator_gradient")
DENOMINATOR_ROOT = _number("denominator_root")
DENOMINATOR_CONSTANT = _number("denominator_constant")
STEP_SIZE = _number("step_size")
WEIGHT_DECAY = _number("weight_decay")
SMALLEST_NORMAL = _number("smallest_normal")

VALUES = tl.constexpr(kernel_layout.VALUES)
LANES = tl.constexpr(triton.next_power_of_2(kernel_layout.VALUES))

B_SQUARED, D_SQUARED, D_TIMES_B, G_SQUARED = map(_value, ("b²", "d²", "d·b", "g²"))
G_FOURTH, LARGEST_D, LARGEST_W, LARGEST_G = map(_value, ("g⁴", "max|d|", "max|w|", "max|g|"))
W_ZERO, G_ZERO, D_ZERO = map(_value, ("w=0", "g=0", "d=0"))
E_SQUARED, M_SQUARED, M_TIMES_E, V = map(_value, ("g'²", "m²", "m·g'", "v"))
LARGEST_M, LARGEST_V, M_ZERO, V_ZERO = map(_value, ("max|m|", "max v", "m=0", "v=0"))
BELOW_EPS, BELOW_10_EPS = map(_value, ("s<ε", "s<10ε"))
SIGNAL, RMS, V_BEFORE = map(_value, ("m̂²/v̂", "(g'/max(s,ε))²", "v before"))
V_TINY, V_FROZEN, FLICKER = map(_value, ("v<tiny, g≠0", "v frozen", "(ln v̂/v̂ before)²"))
V_BEFORE_SEEN = _value("v before≠0")
N_SQUARED, N_NEAR_ONE, N_ZERO = map(_value, ("n²", "n≈±1", "n=0"))
R_SQUARED, R_ERROR, R_NONZERO = map(_value, ("r²", "(d-r)²", "r≠0"))
R_LOST = _value("r≠0, d=0")
M_ERROR, M_EXACT = map(_value, ("(m-exact)²", "exact m²"))
V_ERROR, V_EXACT = map(_value, ("(v-exact)²", "exact v²"))

TINY, LEAST_BEFORE, NEAR_FROM, NEAR_TO = map(
    tl.constexpr, (row_value_table.TINY, row_value_table.LEAST_BEFORE, *row_value_table.NEAR_ONE)
)

BINS, COUNTS = tl.constexpr(schema.BINS), tl.constexpr(kernel_layout.COUNTS)
SUBNORMAL, NEGATIVE_INFINITY, POSITIVE_INFINITY, NAN = map(
    tl.constexpr, range(schema.BINS + 1, kernel_layout.COUNTS)
)
# Sign, exponent and the top two mantissa bits are the code of a value; see histograms.py.
SHIFT = tl.constexpr(21)
FIRST_NORMAL, FIRST_INFINITE = tl.constexpr(1 << 2), tl.constexpr(255 << 2)
FIRST_SIGNED, FIRST_UNSIGNED = (
    tl.constexpr((q.lowest_exponent + 127) * schema.BINS_PER_OCTAVE)
    for signed in (True, False)
    for q in schema.QUANTITIES
    if q.signed == signed and q.name in ("update", "exp_avg_sq")
)
INFINITY_BITS, MAGNITUDE_BITS = tl.constexpr(0x7F800000), tl.constexpr(0x7FFFFFFF)
