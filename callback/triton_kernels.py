"""Triton kernels that go through all elements of all parameters of a device in one launch.

:func:`reduce` computes what :func:`.statistics.row_sums` does, and its row values are defined
there: this is the same arithmetic for chunks of a parameter instead of rows of 256 elements.
:mod:`.single_pass` launches the kernels; nothing else imports this file, because Triton is not
everywhere that torch is.

A program works on one chunk, at most ``TILES`` tiles of ``TILE`` elements. Sums are those of a
chunk, added up on the host: no order of programs can change them. Counts are integers, so that
atomic additions give the same in any order, too.
"""

import triton
import triton.language as tl

from tb_adam_plugin import schema

from . import statistics
from .optimizer_state.base import COEFFICIENTS

TILE = 2048
TILES = 16
CHUNK = TILE * TILES
WARPS = 8

# Rows of the table of a step, int64 [len(TABLE), parameters]. Addresses of tensors in the order of
# the parameter's memory, 0 for none; then in what type they are stored; then the shape.
TABLE = (
    "weight", "before", "gradient", "exp_avg", "exp_avg_sq", "exp_avg_before", "exp_avg_sq_before",
    "step",
    "weight_kind", "gradient_kind", "exp_avg_kind", "exp_avg_sq_kind",
    "elements", "first_chunk", "row_stride", "rows", "first_row",
)  # fmt: skip
# Rows of its numbers, float32 [len(NUMBERS), parameters].
NUMBERS = (*COEFFICIENTS, "smallest_normal")
FLOAT32, BFLOAT16, FLOAT16 = 0, 1, 2
# Several types among the parameters: each program looks up its own.
MIXED = 3
KEPT = (("weight", "before"), ("exp_avg", "exp_avg_before"), ("exp_avg_sq", "exp_avg_sq_before"))

# What a kernel reads of this file has to be a constexpr.
_FLOAT32, _BFLOAT16, _FLOAT16, _MIXED = map(tl.constexpr, (FLOAT32, BFLOAT16, FLOAT16, MIXED))
_TILE, _TILES, _CHUNK = map(tl.constexpr, (TILE, TILES, CHUNK))
(
    _WEIGHT, _BEFORE, _GRADIENT, _EXP_AVG, _EXP_AVG_SQ, _EXP_AVG_BEFORE, _EXP_AVG_SQ_BEFORE,
    _STEP,
    _WEIGHT_KIND, _GRADIENT_KIND, _EXP_AVG_KIND, _EXP_AVG_SQ_KIND,
    _ELEMENTS, _FIRST_CHUNK, _ROW_STRIDE, _ROWS, _FIRST_ROW,
) = map(tl.constexpr, range(len(TABLE)))  # fmt: skip
(
    _GRADIENT_SIGN, _COUPLED_WEIGHT_DECAY, _EXP_AVG_DECAY, _EXP_AVG_WEIGHT, _EXP_AVG_SCALE,
    _EXP_AVG_SQ_DECAY, _EXP_AVG_SQ_WEIGHT, _EXP_AVG_SQ_SCALE, _EXP_AVG_SQ_SCALE_BEFORE, _EPS,
    _NUMERATOR_EXP_AVG, _NUMERATOR_GRADIENT, _DENOMINATOR_ROOT, _DENOMINATOR_CONSTANT, _STEP_SIZE,
    _WEIGHT_DECAY, _SMALLEST_NORMAL,
) = (
    tl.constexpr(NUMBERS.index(name))
    for name in (
        "gradient_sign", "coupled_weight_decay", "exp_avg_decay", "exp_avg_weight",
        "exp_avg_scale", "exp_avg_sq_decay", "exp_avg_sq_weight", "exp_avg_sq_scale",
        "exp_avg_sq_scale_before", "eps", "numerator_exp_avg", "numerator_gradient",
        "denominator_root", "denominator_constant", "step_size", "weight_decay",
        "smallest_normal",
    )
)  # fmt: skip

VALUES = len(statistics.ROW_VALUES)
_VALUES = tl.constexpr(VALUES)
_LANES = tl.constexpr(triton.next_power_of_2(VALUES))


def _at(name):
    return tl.constexpr(statistics.ROW_VALUES.index(name))


_B_SQUARED, _D_SQUARED, _D_TIMES_B, _G_SQUARED = map(_at, ("b²", "d²", "d·b", "g²"))
_G_FOURTH, _LARGEST_D, _LARGEST_W, _LARGEST_G = map(_at, ("g⁴", "max|d|", "max|w|", "max|g|"))
_W_ZERO, _G_ZERO, _D_ZERO = map(_at, ("w=0", "g=0", "d=0"))
_E_SQUARED, _M_SQUARED, _M_TIMES_E, _V = map(_at, ("g'²", "m²", "m·g'", "v"))
_LARGEST_M, _LARGEST_V, _M_ZERO, _V_ZERO = map(_at, ("max|m|", "max v", "m=0", "v=0"))
_BELOW_EPS, _BELOW_10_EPS = map(_at, ("s<ε", "s<10ε"))
_SIGNAL, _RMS, _V_BEFORE = map(_at, ("m̂²/v̂", "(g'/max(s,ε))²", "v before"))
_V_TINY, _V_FROZEN, _FLICKER = map(_at, ("v<tiny, g≠0", "v frozen", "(ln v̂/v̂ before)²"))
_V_BEFORE_SEEN = _at("v before≠0")
_N_SQUARED, _N_NEAR_ONE, _N_ZERO = map(_at, ("n²", "n≈±1", "n=0"))
_R_SQUARED, _R_ERROR, _R_NONZERO = map(_at, ("r²", "(d-r)²", "r≠0"))
_R_LOST = _at("r≠0, d=0")
_M_ERROR, _M_EXACT = map(_at, ("(m-exact)²", "exact m²"))
_V_ERROR, _V_EXACT = map(_at, ("(v-exact)²", "exact v²"))

_HUGE, _TINY, _LEAST_BEFORE, _NEAR, _NEAR_WIDTH = map(
    tl.constexpr,
    (statistics.HUGE, statistics.TINY, statistics.LEAST_BEFORE, *statistics.NEAR_ONE),
)

COUNTS = schema.BINS + len(schema.SPECIAL)
_BINS, _COUNTS = tl.constexpr(schema.BINS), tl.constexpr(COUNTS)
_SUBNORMAL, _NEGATIVE_INFINITY, _POSITIVE_INFINITY, _NAN = map(
    tl.constexpr, range(schema.BINS + 1, COUNTS)
)
# Sign, exponent and the top two mantissa bits are the code of a value; see histograms.py.
_SHIFT = tl.constexpr(21)
_FIRST_NORMAL, _FIRST_INFINITE = tl.constexpr(1 << 2), tl.constexpr(255 << 2)
_FIRST_SIGNED, _FIRST_UNSIGNED = (
    tl.constexpr((q.lowest_exponent + 127) * schema.BINS_PER_OCTAVE)
    for signed in (True, False)
    for q in schema.QUANTITIES
    if q.signed == signed and q.name in ("update", "exp_avg_sq")
)
_INFINITY_BITS, _MAGNITUDE_BITS = tl.constexpr(0x7F800000), tl.constexpr(0x7FFFFFFF)


@triton.jit
def keep(chunk_parameter, table, parameters):
    """Copy weights and moments to where :func:`reduce` looks for those before the step.

    Args:
        chunk_parameter: Index of the parameter of each chunk, int32 ``[chunks]``.
        table: See ``TABLE``; a tensor without a target is not copied.
        parameters: Their number.
    """
    parameter = tl.load(chunk_parameter + tl.program_id(0))
    column = table + parameter
    chunk = tl.program_id(0) - tl.load(column + _FIRST_CHUNK * parameters)
    _copy(column, parameters, chunk, _WEIGHT, _BEFORE, _WEIGHT_KIND)
    _copy(column, parameters, chunk, _EXP_AVG, _EXP_AVG_BEFORE, _EXP_AVG_KIND)
    _copy(column, parameters, chunk, _EXP_AVG_SQ, _EXP_AVG_SQ_BEFORE, _EXP_AVG_SQ_KIND)


@triton.jit
def reduce(
    chunk_parameter,
    table,
    numbers,
    values,
    counts,
    alive,
    steps,
    parameters,
    chunks,
    WEIGHT: tl.constexpr,
    GRADIENT: tl.constexpr,
    EXP_AVG: tl.constexpr,
    EXP_AVG_SQ: tl.constexpr,
    HAS_EXP_AVG: tl.constexpr,
    HAS_EXP_AVG_SQ: tl.constexpr,
    HAS_EXP_AVG_BEFORE: tl.constexpr,
    HAS_EXP_AVG_SQ_BEFORE: tl.constexpr,
    SQUARES_EXP_AVG_SQ: tl.constexpr,
    PLAIN_GRADIENT: tl.constexpr,
    HAS_WEIGHT_DECAY: tl.constexpr,
    KNOWS_UPDATE: tl.constexpr,
    COUNT_EXP_AVG: tl.constexpr,
    COUNT_EXP_AVG_SQ: tl.constexpr,
    COUNT_UPDATE: tl.constexpr,
    COUNT_WEIGHT: tl.constexpr,
    COUNT_GRADIENT: tl.constexpr,
    COUNT_NORMALIZED: tl.constexpr,
):
    """Reduce each chunk to its row values, and count the histograms.

    Args:
        chunk_parameter: Index of the parameter of each chunk, int32 ``[chunks]``.
        table: See ``TABLE``.
        numbers: See ``NUMBERS``.
        values: float32 ``[VALUES, chunks]``; written.
        counts: int32 ``[quantities, parameters, COUNTS]``; added to, except for the zeros, which
            are among the values.
        alive: uint8, one for each index of the first dimension of the parameters that have two or
            more; 1 is written where a gradient is not zero.
        steps: float32 ``[parameters]``; the step counts that have an address are written.
        parameters: Their number.
        chunks: Their number.
        WEIGHT: Type of all weights, or ``MIXED``. Likewise the next three.
        GRADIENT: See there.
        EXP_AVG: See there.
        EXP_AVG_SQ: See there.
        HAS_EXP_AVG: Whether any parameter has one. Likewise the next three.
        HAS_EXP_AVG_SQ: See there.
        HAS_EXP_AVG_BEFORE: See there.
        HAS_EXP_AVG_SQ_BEFORE: See there.
        SQUARES_EXP_AVG_SQ: Whether the optimizer keeps its root.
        PLAIN_GRADIENT: As in :class:`.statistics.Plan`. Likewise the next two.
        HAS_WEIGHT_DECAY: See there.
        KNOWS_UPDATE: See there.
        COUNT_EXP_AVG: Where its histogram is among the quantities; -1 for nowhere. Likewise the
            next five.
        COUNT_EXP_AVG_SQ: See there.
        COUNT_UPDATE: See there.
        COUNT_WEIGHT: See there.
        COUNT_GRADIENT: See there.
        COUNT_NORMALIZED: See there.
    """
    program = tl.program_id(0)
    parameter = tl.load(chunk_parameter + program)
    column = table + parameter
    number = numbers + parameter
    elements = tl.load(column + _ELEMENTS * parameters)
    chunk = program - tl.load(column + _FIRST_CHUNK * parameters)
    start = chunk * _CHUNK
    row_stride = tl.load(column + _ROW_STRIDE * parameters).to(tl.int32)
    rows = tl.load(column + _ROWS * parameters).to(tl.int32)
    alive += tl.load(column + _FIRST_ROW * parameters)

    gradient_sign = tl.load(number + _GRADIENT_SIGN * parameters)
    coupled_weight_decay = tl.load(number + _COUPLED_WEIGHT_DECAY * parameters)
    exp_avg_decay = tl.load(number + _EXP_AVG_DECAY * parameters)
    exp_avg_weight = tl.load(number + _EXP_AVG_WEIGHT * parameters)
    exp_avg_scale = tl.load(number + _EXP_AVG_SCALE * parameters)
    exp_avg_sq_decay = tl.load(number + _EXP_AVG_SQ_DECAY * parameters)
    exp_avg_sq_weight = tl.load(number + _EXP_AVG_SQ_WEIGHT * parameters)
    exp_avg_sq_scale = tl.load(number + _EXP_AVG_SQ_SCALE * parameters)
    exp_avg_sq_scale_before = tl.load(number + _EXP_AVG_SQ_SCALE_BEFORE * parameters)
    eps = tl.load(number + _EPS * parameters)
    numerator_exp_avg = tl.load(number + _NUMERATOR_EXP_AVG * parameters)
    numerator_gradient = tl.load(number + _NUMERATOR_GRADIENT * parameters)
    denominator_root = tl.load(number + _DENOMINATOR_ROOT * parameters)
    denominator_constant = tl.load(number + _DENOMINATOR_CONSTANT * parameters)
    step_size = tl.load(number + _STEP_SIZE * parameters)
    weight_decay = tl.load(number + _WEIGHT_DECAY * parameters)
    smallest_normal = tl.load(number + _SMALLEST_NORMAL * parameters)
    exp_avg_sq_kind = tl.load(column + _EXP_AVG_SQ_KIND * parameters)

    step = tl.load(column + _STEP * parameters)
    if (chunk == 0) & (step != 0):
        tl.store(steps + parameter, tl.load(step.to(tl.pointer_type(tl.float32))))

    sums = tl.zeros([_LANES], tl.float32)
    largest = tl.zeros([_LANES], tl.int32)  # bits of magnitudes, which ascend as these do
    squares = 0.0
    fourth = 0.0
    exp_avg_bins = tl.zeros([_BINS], tl.int32)
    exp_avg_sq_bins = tl.zeros([_BINS], tl.int32)
    update_bins = tl.zeros([_BINS], tl.int32)
    weight_bins = tl.zeros([_BINS], tl.int32)
    gradient_bins = tl.zeros([_BINS], tl.int32)
    normalized_bins = tl.zeros([_BINS], tl.int32)
    count_stride = parameters * _COUNTS
    counts += parameter * _COUNTS

    left = tl.minimum(elements - start, _CHUNK).to(tl.int32)
    for tile in range(tl.cdiv(left, _TILE)):
        offsets = tile * _TILE + tl.arange(0, _TILE)
        inside = offsets < left
        b = _read(column, parameters, _BEFORE, _WEIGHT_KIND, start, offsets, inside, WEIGHT)
        w = _read(column, parameters, _WEIGHT, _WEIGHT_KIND, start, offsets, inside, WEIGHT)
        g = _read(column, parameters, _GRADIENT, _GRADIENT_KIND, start, offsets, inside, GRADIENT)
        d = w - b

        sums = _put(sums, _B_SQUARED, b * b)
        sums = _put(sums, _D_SQUARED, d * d)
        sums = _put(sums, _D_TIMES_B, d * b)
        # Σg⁴ in units of Σg² of what has been seen, because it leaves the range of float32.
        seen = squares + tl.sum(g * g)
        unit = tl.maximum(seen, _TINY)
        share = tl.div_rn(g * g, unit)
        fourth = fourth * (squares / unit) * (squares / unit) + tl.sum(share * share)
        squares = seen
        largest = _put_largest(largest, _LARGEST_D, d)
        largest = _put_largest(largest, _LARGEST_W, w)
        largest = _put_largest(largest, _LARGEST_G, g)
        sums = _put_count(sums, _W_ZERO, inside & (w == 0))
        sums = _put_count(sums, _G_ZERO, inside & (g == 0))
        sums = _put_count(sums, _D_ZERO, inside & (d == 0))
        if rows != 0:
            row = (start.to(tl.int32) + offsets) // row_stride % rows
            one = tl.full([_TILE], 1, tl.uint8)
            tl.store(alive + row, one, mask=inside & (g != 0))

        e = g if PLAIN_GRADIENT else b * coupled_weight_decay + g * gradient_sign
        sums = _put(sums, _E_SQUARED, e * e)

        if HAS_EXP_AVG:
            m = _read(column, parameters, _EXP_AVG, _EXP_AVG_KIND, start, offsets, inside, EXP_AVG)
            sums = _put(sums, _M_SQUARED, m * m)
            sums = _put(sums, _M_TIMES_E, m * e)
            largest = _put_largest(largest, _LARGEST_M, m)
            sums = _put_count(sums, _M_ZERO, inside & (m == 0))

        if HAS_EXP_AVG_SQ:
            v = _read(
                column, parameters, _EXP_AVG_SQ, _EXP_AVG_SQ_KIND, start, offsets, inside,
                EXP_AVG_SQ,
            )  # fmt: skip
            if SQUARES_EXP_AVG_SQ:
                v = v * v
            sums = _put(sums, _V, v)
            largest = _put_largest(largest, _LARGEST_V, tl.where(v < 0, 0.0, v))
            sums = _put_count(sums, _V_ZERO, inside & (v == 0))
            s = tl.sqrt_rn(v) * exp_avg_sq_scale
            sums = _put_count(sums, _BELOW_EPS, inside & (s < eps))
            sums = _put_count(sums, _BELOW_10_EPS, inside & (s < eps * 10))
            least = tl.maximum(eps, _TINY)
            surprise = tl.div_rn(e, tl.where(s < least, least, s))  # where s is NaN, so is this
            sums = _put(sums, _RMS, surprise * surprise)
            if HAS_EXP_AVG_SQ_BEFORE:
                v_before = _read(
                    column, parameters, _EXP_AVG_SQ_BEFORE, _EXP_AVG_SQ_KIND, start, offsets,
                    inside, EXP_AVG_SQ,
                )  # fmt: skip
                if SQUARES_EXP_AVG_SQ:
                    v_before = v_before * v_before
                sums = _put(sums, _V_BEFORE, v_before)
                exact = v_before * exp_avg_sq_decay + e * e * exp_avg_sq_weight
                sums = _put(sums, _V_ERROR, _masked(inside, (v - exact) * (v - exact)))
                sums = _put(sums, _V_EXACT, _masked(inside, exact * exact))
            else:
                v_before = tl.div_rn(v - e * e * exp_avg_sq_weight, exp_avg_sq_decay)
            share = tl.div_rn(v_before, v)
            compared = inside & (share > _LEAST_BEFORE)
            sums = _put_count(sums, _V_BEFORE_SEEN, compared)
            rescaled = exp_avg_sq_scale_before / exp_avg_sq_scale
            growth = tl.log(tl.where(compared, share * (rescaled * rescaled), 1.0))
            sums = _put(sums, _FLICKER, growth * growth)
            sums = _put_count(sums, _V_TINY, inside & (v < smallest_normal) & (g != 0))
            if EXP_AVG_SQ != _FLOAT32:
                decayed = _as_stored(v * exp_avg_sq_decay, exp_avg_sq_kind)
                frozen = inside & (decayed == v) & (v != 0) & (exp_avg_sq_kind != _FLOAT32)
                sums = _put_count(sums, _V_FROZEN, frozen)

        if HAS_EXP_AVG:
            if HAS_EXP_AVG_BEFORE:
                m_before = _read(
                    column, parameters, _EXP_AVG_BEFORE, _EXP_AVG_KIND, start, offsets, inside,
                    EXP_AVG,
                )  # fmt: skip
                exact = m_before * exp_avg_decay + e * exp_avg_weight
                sums = _put(sums, _M_ERROR, _masked(inside, (m - exact) * (m - exact)))
                sums = _put(sums, _M_EXACT, _masked(inside, exact * exact))
            if HAS_EXP_AVG_SQ:
                root = s + tl.where(v == 0, _HUGE, 0.0)
                signal = _masked(inside, tl.div_rn(m, root) * exp_avg_scale)
                sums = _put(sums, _SIGNAL, signal * signal)

        if KNOWS_UPDATE:
            n = e * numerator_gradient
            if HAS_EXP_AVG:
                n += m * numerator_exp_avg
            if HAS_EXP_AVG_SQ:
                n = tl.div_rn(n, s * denominator_root + denominator_constant)
            else:
                n = tl.div_rn(n, denominator_constant)
            n = _masked(inside, n)
            sums = _put(sums, _N_SQUARED, n * n)
            sums = _put_count(sums, _N_ZERO, inside & (n == 0))
            near = tl.abs(tl.abs(n) - _NEAR) < _NEAR_WIDTH
            sums = _put_count(sums, _N_NEAR_ONE, inside & near)
            r = n
            if HAS_WEIGHT_DECAY:
                r += b * weight_decay
            r = _masked(inside, r * -step_size)
            sums = _put(sums, _R_SQUARED, r * r)
            sums = _put(sums, _R_ERROR, (d - r) * (d - r))
            sums = _put_count(sums, _R_NONZERO, inside & (r != 0))
            sums = _put_count(sums, _R_LOST, inside & (r != 0) & (d == 0))

        if COUNT_EXP_AVG >= 0 and HAS_EXP_AVG:
            special = counts + COUNT_EXP_AVG * count_stride
            exp_avg_bins += _count_signed(m, inside, special, _FIRST_SIGNED)
        if COUNT_EXP_AVG_SQ >= 0 and HAS_EXP_AVG_SQ:
            special = counts + COUNT_EXP_AVG_SQ * count_stride
            exp_avg_sq_bins += _count_unsigned(v, inside, special, _FIRST_UNSIGNED)
        if COUNT_UPDATE >= 0:
            special = counts + COUNT_UPDATE * count_stride
            update_bins += _count_signed(d, inside, special, _FIRST_SIGNED)
        if COUNT_WEIGHT >= 0:
            special = counts + COUNT_WEIGHT * count_stride
            weight_bins += _count_signed(w, inside, special, _FIRST_SIGNED)
        if COUNT_GRADIENT >= 0:
            special = counts + COUNT_GRADIENT * count_stride
            gradient_bins += _count_signed(g, inside, special, _FIRST_SIGNED)
        if COUNT_NORMALIZED >= 0 and KNOWS_UPDATE:
            special = counts + COUNT_NORMALIZED * count_stride
            normalized_bins += _count_signed(n, inside, special, _FIRST_SIGNED)

    lane = tl.arange(0, _LANES)
    sums = tl.where(lane == _G_SQUARED, squares, sums)
    sums = tl.where(lane == _G_FOURTH, fourth, sums)
    sums = tl.where(largest > 0, largest.to(tl.float32, bitcast=True), sums)
    tl.store(values + lane * chunks + program, sums, mask=lane < _VALUES)
    _add_bins(counts, count_stride, COUNT_EXP_AVG, exp_avg_bins)
    _add_bins(counts, count_stride, COUNT_EXP_AVG_SQ, exp_avg_sq_bins)
    _add_bins(counts, count_stride, COUNT_UPDATE, update_bins)
    _add_bins(counts, count_stride, COUNT_WEIGHT, weight_bins)
    _add_bins(counts, count_stride, COUNT_GRADIENT, gradient_bins)
    _add_bins(counts, count_stride, COUNT_NORMALIZED, normalized_bins)


@triton.jit
def _copy(
    column,
    parameters,
    chunk,
    SOURCE: tl.constexpr,
    TARGET: tl.constexpr,
    KIND: tl.constexpr,
):
    """Copy one chunk of one tensor."""
    source = tl.load(column + SOURCE * parameters)
    target = tl.load(column + TARGET * parameters)
    if (source != 0) & (target != 0):
        start = chunk * _CHUNK
        left = tl.minimum(tl.load(column + _ELEMENTS * parameters) - start, _CHUNK).to(tl.int32)
        is_float32 = tl.load(column + KIND * parameters) == _FLOAT32
        for tile in range(tl.cdiv(left, _TILE)):
            offsets = tile * _TILE + tl.arange(0, _TILE)
            inside = offsets < left
            if is_float32:
                wide = source.to(tl.pointer_type(tl.int32)) + start + offsets
                kept = target.to(tl.pointer_type(tl.int32)) + start + offsets
                tl.store(kept, tl.load(wide, mask=inside), mask=inside)
            else:
                half = source.to(tl.pointer_type(tl.int16)) + start + offsets
                short = target.to(tl.pointer_type(tl.int16)) + start + offsets
                tl.store(short, tl.load(half, mask=inside), mask=inside)


@triton.jit
def _read(
    column,
    parameters,
    TENSOR: tl.constexpr,
    TENSOR_KIND: tl.constexpr,
    start,
    offsets,
    inside,
    KIND: tl.constexpr,
):
    """Return elements as float32, which holds every half-precision value; zeros for no tensor."""
    address = tl.load(column + TENSOR * parameters)
    there = inside & (address != 0)
    if KIND == _FLOAT32:
        x = _read_float32(address, start, offsets, there)
    elif KIND == _BFLOAT16:
        x = _read_bfloat16(address, start, offsets, there)
    elif KIND == _FLOAT16:
        x = _read_float16(address, start, offsets, there)
    else:
        kind = tl.load(column + TENSOR_KIND * parameters)
        if kind == _FLOAT32:
            x = _read_float32(address, start, offsets, there)
        elif kind == _BFLOAT16:
            x = _read_bfloat16(address, start, offsets, there)
        else:
            x = _read_float16(address, start, offsets, there)
    return x


@triton.jit
def _read_float32(address, start, offsets, there):
    pointer = address.to(tl.pointer_type(tl.float32)) + start
    return tl.load(pointer + offsets, mask=there, other=0.0)


@triton.jit
def _read_bfloat16(address, start, offsets, there):
    # A bfloat16 is the upper half of a float32.
    pointer = address.to(tl.pointer_type(tl.int16)) + start
    bits = tl.load(pointer + offsets, mask=there, other=0).to(tl.int32) << 16
    return bits.to(tl.float32, bitcast=True)


@triton.jit
def _read_float16(address, start, offsets, there):
    pointer = address.to(tl.pointer_type(tl.float16)) + start
    return tl.load(pointer + offsets, mask=there, other=0.0).to(tl.float32)


@triton.jit
def _as_stored(x, kind):
    """Return values, none of them negative, rounded to the nearest that a half type holds."""
    bits = x.to(tl.int32, bitcast=True)
    upper = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16  # ties to even
    bfloat16 = tl.where(x == x, upper.to(tl.float32, bitcast=True), x)
    return tl.where(kind == _BFLOAT16, bfloat16, x.to(tl.float16).to(tl.float32))


@triton.jit
def _masked(inside, x):
    """Keep what is not finite in unused lanes, as 0 · NaN of a coefficient, out of the sums."""
    return tl.where(inside, x, 0.0)


@triton.jit
def _put(sums, AT: tl.constexpr, x):
    """Add the sum of a tile to one of the sums."""
    return sums + tl.where(tl.arange(0, _LANES) == AT, tl.sum(x), 0.0)


@triton.jit
def _put_count(sums, AT: tl.constexpr, condition):
    """Add to one of the sums how many elements of a tile fulfil a condition."""
    return _put(sums, AT, condition.to(tl.float32))


@triton.jit
def _put_largest(largest, AT: tl.constexpr, x):
    """Keep the largest magnitude. The bits of NaN are larger than those of infinity."""
    magnitude = tl.max(x.to(tl.int32, bitcast=True) & _MAGNITUDE_BITS)
    return tl.maximum(largest, tl.where(tl.arange(0, _LANES) == AT, magnitude, 0))


@triton.jit
def _count_signed(x, inside, special, FIRST: tl.constexpr):
    """Return a tile's counts ``[BINS]`` of finite values; others go to ``special`` at once."""
    bits = x.to(tl.int32, bitcast=True)
    half: tl.constexpr = _BINS // 2
    place = tl.minimum(tl.maximum(((bits & _MAGNITUDE_BITS) >> _SHIFT) - FIRST, 0), half - 1)
    place = tl.where(bits < 0, half - 1 - place, half + place)
    return tl.histogram(place, _BINS, mask=_count_special(bits, inside, special))


@triton.jit
def _count_unsigned(x, inside, special, FIRST: tl.constexpr):
    """Return a tile's counts ``[BINS]`` of finite values; others go to ``special`` at once."""
    bits = x.to(tl.int32, bitcast=True)
    place = tl.minimum(tl.maximum(((bits & _MAGNITUDE_BITS) >> _SHIFT) - FIRST, 0), _BINS - 1)
    return tl.histogram(place, _BINS, mask=_count_special(bits, inside, special))


@triton.jit
def _count_special(bits, inside, special):
    """Count what has no bin, zeros excepted, and return which elements have one."""
    magnitude = bits & _MAGNITUDE_BITS
    code = magnitude >> _SHIFT
    normal = inside & (code >= _FIRST_NORMAL) & (code < _FIRST_INFINITE)
    infinity = tl.where(bits < 0, _NEGATIVE_INFINITY, _POSITIVE_INFINITY)
    kind = tl.where(magnitude > _INFINITY_BITS, _NAN, infinity)
    kind = tl.where(code < _FIRST_NORMAL, _SUBNORMAL, kind)
    one = tl.full([_TILE], 1, tl.int32)
    rest = inside & (magnitude != 0) & (normal == 0)
    tl.atomic_add(special + kind, one, mask=rest, sem="relaxed")
    return normal


@triton.jit
def _add_bins(counts, stride, AT: tl.constexpr, bins):
    """Add a chunk's counts to those of its parameter."""
    if AT >= 0:
        place = counts + AT * stride + tl.arange(0, _BINS)
        tl.atomic_add(place, bins, mask=bins != 0, sem="relaxed")
