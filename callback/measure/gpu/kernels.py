"""Triton kernels that go through all elements of all parameters of a device in one launch.

:func:`reduce` computes what :func:`..row_values.row_sums` does, and its row values are defined
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

from ...optimizer_state.coefficients import COEFFICIENTS
from .. import row_values

TILE = 512
TILES = 64
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
_TILE, _CHUNK = tl.constexpr(TILE), tl.constexpr(CHUNK)
_COUNT_BITS, _ONE = tl.constexpr(TILES.bit_length()), tl.constexpr(1)
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

VALUES = len(row_values.ROW_VALUES)
_VALUES = tl.constexpr(VALUES)
_LANES = tl.constexpr(triton.next_power_of_2(VALUES))


def _at(name):
    return tl.constexpr(row_values.ROW_VALUES.index(name))


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

_TINY, _LEAST_BEFORE, _NEAR_FROM, _NEAR_TO = map(
    tl.constexpr, (row_values.TINY, row_values.LEAST_BEFORE, *row_values.NEAR_ONE)
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
        PLAIN_GRADIENT: As in :class:`..row_values.Plan`. Likewise the next two.
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
    exp_avg_sq_growth = exp_avg_sq_scale_before / exp_avg_sq_scale
    exp_avg_sq_growth *= exp_avg_sq_growth
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

    # Lane by lane over all tiles; the lanes are added up at the end.
    b_squared = tl.zeros([_TILE], tl.float32)
    d_squared = tl.zeros([_TILE], tl.float32)
    d_times_b = tl.zeros([_TILE], tl.float32)
    g_squared = tl.zeros([_TILE], tl.float32)
    g_fourth = tl.zeros([_TILE], tl.float32)
    e_squared = tl.zeros([_TILE], tl.float32)
    m_squared = tl.zeros([_TILE], tl.float32)
    m_times_e = tl.zeros([_TILE], tl.float32)
    v_sum = tl.zeros([_TILE], tl.float32)
    surprise = tl.zeros([_TILE], tl.float32)
    flicker = tl.zeros([_TILE], tl.float32)
    signal = tl.zeros([_TILE], tl.float32)
    n_squared = tl.zeros([_TILE], tl.float32)
    r_squared = tl.zeros([_TILE], tl.float32)
    r_error = tl.zeros([_TILE], tl.float32)
    v_before_sum = tl.zeros([_TILE], tl.float32)
    m_error = tl.zeros([_TILE], tl.float32)
    m_exact = tl.zeros([_TILE], tl.float32)
    v_error = tl.zeros([_TILE], tl.float32)
    v_exact = tl.zeros([_TILE], tl.float32)
    # Bits of magnitudes ascend as these do, and those of NaN are larger than those of infinity.
    largest_d = tl.zeros([_TILE], tl.int32)
    largest_w = tl.zeros([_TILE], tl.int32)
    largest_g = tl.zeros([_TILE], tl.int32)
    largest_m = tl.zeros([_TILE], tl.int32)
    largest_v = tl.zeros([_TILE], tl.int32)
    # Several counts in one integer, COUNT_BITS for each: a lane counts to TILES at most.
    zeros = tl.zeros([_TILE], tl.int32)
    moments = tl.zeros([_TILE], tl.int32)
    second = tl.zeros([_TILE], tl.int32)
    requests = tl.zeros([_TILE], tl.int32)
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
        # What lies beyond the last element reads as zeros, as the padding of a row does.
        offsets = tile * _TILE + tl.arange(0, _TILE)
        inside = offsets < left
        b = _read(column, parameters, _BEFORE, _WEIGHT_KIND, start, offsets, inside, WEIGHT)
        w = _read(column, parameters, _WEIGHT, _WEIGHT_KIND, start, offsets, inside, WEIGHT)
        g = _read(column, parameters, _GRADIENT, _GRADIENT_KIND, start, offsets, inside, GRADIENT)
        d = w - b
        b_squared += b * b
        d_squared += d * d
        d_times_b += d * b
        # In units of the lane's Σg², because the fourth power leaves the range of float32.
        seen = g_squared + g * g
        unit = tl.maximum(seen, _TINY)
        rescaled = g_squared / unit
        share = g * g / unit
        g_fourth = g_fourth * rescaled * rescaled + share * share
        g_squared = seen
        largest_d = _larger(largest_d, d)
        largest_w = _larger(largest_w, w)
        largest_g = _larger(largest_g, g)
        zeros += _one_at(0, w == 0) + _one_at(1, g == 0) + _one_at(2, d == 0)
        if rows != 0:
            first = start.to(tl.int32) + tile * _TILE
            if row_stride >= _TILE:  # a tile has parts of two rows at most: no division
                ends = first % row_stride + tl.arange(0, _TILE) >= row_stride
                row = first // row_stride % rows + ends.to(tl.int32)
                row = tl.where(row == rows, 0, row)
            else:
                row = (first + tl.arange(0, _TILE)) // row_stride % rows
            tl.store(alive + row, tl.full([_TILE], 1, tl.uint8), mask=g != 0)

        e = g if PLAIN_GRADIENT else b * coupled_weight_decay + g * gradient_sign
        e_squared += e * e
        if HAS_EXP_AVG:
            m = _read(column, parameters, _EXP_AVG, _EXP_AVG_KIND, start, offsets, inside, EXP_AVG)
            m_squared += m * m
            m_times_e += m * e
            largest_m = _larger(largest_m, m)
            moments += _one_at(0, m == 0)
            if HAS_EXP_AVG_BEFORE:
                m_before = _read(
                    column, parameters, _EXP_AVG_BEFORE, _EXP_AVG_KIND, start, offsets, inside,
                    EXP_AVG,
                )  # fmt: skip
                exact = m_before * exp_avg_decay + e * exp_avg_weight
                m_error += (m - exact) * (m - exact)
                m_exact += exact * exact

        if HAS_EXP_AVG_SQ:
            v = _read(
                column, parameters, _EXP_AVG_SQ, _EXP_AVG_SQ_KIND, start, offsets, inside,
                EXP_AVG_SQ,
            )  # fmt: skip
            if SQUARES_EXP_AVG_SQ:
                v = v * v
            v_sum += v
            largest_v = _larger(largest_v, tl.where(v < 0, 0.0, v))
            s = tl.sqrt_rn(v) * exp_avg_sq_scale
            moments += _one_at(1, v == 0) + _one_at(2, s < eps) + _one_at(3, s < eps * 10)
            least = tl.maximum(eps, _TINY)
            relative = e / tl.where(s < least, least, s)  # NaN where s is
            surprise += relative * relative
            if HAS_EXP_AVG_SQ_BEFORE:
                v_before = _read(
                    column, parameters, _EXP_AVG_SQ_BEFORE, _EXP_AVG_SQ_KIND, start, offsets,
                    inside, EXP_AVG_SQ,
                )  # fmt: skip
                if SQUARES_EXP_AVG_SQ:
                    v_before = v_before * v_before
                v_before_sum += v_before
                exact = v_before * exp_avg_sq_decay + e * e * exp_avg_sq_weight
                v_error += (v - exact) * (v - exact)
                v_exact += exact * exact
            else:
                v_before = (v - e * e * exp_avg_sq_weight) / exp_avg_sq_decay
            share = v_before / v
            compared = share > _LEAST_BEFORE
            second += _one_at(0, compared)
            growth = tl.log(tl.where(compared, share * exp_avg_sq_growth, 1.0))
            flicker += growth * growth
            second += _one_at(1, (v < smallest_normal) & (g != 0))
            if EXP_AVG_SQ != _FLOAT32:
                decayed = _as_stored(v * exp_avg_sq_decay, exp_avg_sq_kind)
                frozen = (decayed == v) & (v != 0) & (exp_avg_sq_kind != _FLOAT32)
                second += _one_at(2, frozen)
            if HAS_EXP_AVG:
                ratio = tl.where(v == 0, 0.0, m / tl.maximum(s, _TINY)) * exp_avg_scale
                signal += ratio * ratio

        if KNOWS_UPDATE:
            n = e * numerator_gradient
            if HAS_EXP_AVG:
                n += m * numerator_exp_avg
            # Rounded as torch does: how far d is from r is looked at in units of rounding.
            if HAS_EXP_AVG_SQ:
                n = tl.div_rn(n, s * denominator_root + denominator_constant)
            else:
                n = tl.div_rn(n, tl.zeros([_TILE], tl.float32) + denominator_constant)
            n_squared += n * n
            r = (n + b * weight_decay if HAS_WEIGHT_DECAY else n) * -step_size
            r_squared += r * r
            r_error += (d - r) * (d - r)
            near = (tl.abs(n) > _NEAR_FROM) & (tl.abs(n) < _NEAR_TO)
            requests += _one_at(0, n == 0) + _one_at(1, near)
            requests += _one_at(2, r != 0) + _one_at(3, (r != 0) & (d == 0))

        if COUNT_EXP_AVG >= 0 and HAS_EXP_AVG:
            exp_avg_bins += _count_signed(m, counts + COUNT_EXP_AVG * count_stride)
        if COUNT_EXP_AVG_SQ >= 0 and HAS_EXP_AVG_SQ:
            exp_avg_sq_bins += _count_unsigned(v, counts + COUNT_EXP_AVG_SQ * count_stride)
        if COUNT_UPDATE >= 0:
            update_bins += _count_signed(d, counts + COUNT_UPDATE * count_stride)
        if COUNT_WEIGHT >= 0:
            weight_bins += _count_signed(w, counts + COUNT_WEIGHT * count_stride)
        if COUNT_GRADIENT >= 0:
            gradient_bins += _count_signed(g, counts + COUNT_GRADIENT * count_stride)
        if COUNT_NORMALIZED >= 0 and KNOWS_UPDATE:
            normalized_bins += _count_signed(n, counts + COUNT_NORMALIZED * count_stride)

    found = tl.zeros([_LANES], tl.float32)
    found = _put(found, _B_SQUARED, b_squared)
    found = _put(found, _D_SQUARED, d_squared)
    found = _put(found, _D_TIMES_B, d_times_b)
    found = _put(found, _G_SQUARED, g_squared)
    of_chunk = g_squared / tl.maximum(tl.sum(g_squared), _TINY)
    found = _put(found, _G_FOURTH, g_fourth * of_chunk * of_chunk)
    found = _put_largest(found, _LARGEST_D, largest_d)
    found = _put_largest(found, _LARGEST_W, largest_w)
    found = _put_largest(found, _LARGEST_G, largest_g)
    found = _put_count(found, _W_ZERO, zeros, 0)
    found = _put_count(found, _G_ZERO, zeros, 1)
    found = _put_count(found, _D_ZERO, zeros, 2)
    found = _put(found, _E_SQUARED, e_squared)
    if HAS_EXP_AVG:
        found = _put(found, _M_SQUARED, m_squared)
        found = _put(found, _M_TIMES_E, m_times_e)
        found = _put_largest(found, _LARGEST_M, largest_m)
        found = _put_count(found, _M_ZERO, moments, 0)
    if HAS_EXP_AVG_BEFORE:
        found = _put(found, _M_ERROR, m_error)
        found = _put(found, _M_EXACT, m_exact)
    if HAS_EXP_AVG_SQ:
        found = _put(found, _V, v_sum)
        found = _put_largest(found, _LARGEST_V, largest_v)
        found = _put_count(found, _V_ZERO, moments, 1)
        found = _put_count(found, _BELOW_EPS, moments, 2)
        found = _put_count(found, _BELOW_10_EPS, moments, 3)
        found = _put(found, _RMS, surprise)
        found = _put(found, _SIGNAL, signal)
        found = _put(found, _FLICKER, flicker)
        found = _put_count(found, _V_BEFORE_SEEN, second, 0)
        found = _put_count(found, _V_TINY, second, 1)
        found = _put_count(found, _V_FROZEN, second, 2)
    if HAS_EXP_AVG_SQ_BEFORE:
        found = _put(found, _V_BEFORE, v_before_sum)
        found = _put(found, _V_ERROR, v_error)
        found = _put(found, _V_EXACT, v_exact)
    if KNOWS_UPDATE:
        found = _put(found, _N_SQUARED, n_squared)
        found = _put(found, _R_SQUARED, r_squared)
        found = _put(found, _R_ERROR, r_error)
        found = _put_count(found, _N_ZERO, requests, 0)
        found = _put_count(found, _N_NEAR_ONE, requests, 1)
        found = _put_count(found, _R_NONZERO, requests, 2)
        found = _put_count(found, _R_LOST, requests, 3)
    lane = tl.arange(0, _LANES)
    tl.store(values + lane * chunks + program, found, mask=lane < _VALUES)
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
def _larger(largest, x):
    """Keep the bits of the larger magnitude, lane by lane."""
    return tl.maximum(largest, x.to(tl.int32, bitcast=True) & _MAGNITUDE_BITS)


@triton.jit
def _one_at(FIELD: tl.constexpr, condition):
    """Return a count of one, in a field of an integer that holds several, where it is fulfilled."""
    return tl.where(condition, _ONE << (FIELD * _COUNT_BITS), 0)


@triton.jit
def _put(found, AT: tl.constexpr, lanes):
    """Put the sum of all lanes among the row values."""
    return tl.where(tl.arange(0, _LANES) == AT, tl.sum(lanes), found)


@triton.jit
def _put_count(found, AT: tl.constexpr, lanes, FIELD: tl.constexpr):
    """Likewise the sum of a field that :func:`_one_at` has counted in."""
    counts = (lanes >> (FIELD * _COUNT_BITS)) & ((_ONE << _COUNT_BITS) - 1)
    return tl.where(tl.arange(0, _LANES) == AT, tl.sum(counts).to(tl.float32), found)


@triton.jit
def _put_largest(found, AT: tl.constexpr, lanes):
    """Likewise the largest magnitude, from :func:`_larger`."""
    largest = tl.max(lanes).to(tl.float32, bitcast=True)
    return tl.where(tl.arange(0, _LANES) == AT, largest, found)


@triton.jit
def _count_signed(x, special):
    """Return a tile's counts ``[BINS]`` of normal values; others go to ``special`` at once."""
    bits = x.to(tl.int32, bitcast=True)
    half: tl.constexpr = _BINS // 2
    code = (bits & _MAGNITUDE_BITS) >> _SHIFT
    place = tl.minimum(tl.maximum(code - _FIRST_SIGNED, 0), half - 1)
    place = tl.where(bits < 0, half - 1 - place, half + place)
    return tl.histogram(place, _BINS, mask=_count_special(bits, special))


@triton.jit
def _count_unsigned(x, special):
    """Likewise, whatever the sign."""
    bits = x.to(tl.int32, bitcast=True)
    code = (bits & _MAGNITUDE_BITS) >> _SHIFT
    place = tl.minimum(tl.maximum(code - _FIRST_UNSIGNED, 0), _BINS - 1)
    return tl.histogram(place, _BINS, mask=_count_special(bits, special))


@triton.jit
def _count_special(bits, special):
    """Count what has no bin, zeros excepted, and return which elements have one."""
    magnitude = bits & _MAGNITUDE_BITS
    code = magnitude >> _SHIFT
    normal = (code >= _FIRST_NORMAL) & (code < _FIRST_INFINITE)
    kind = tl.where(bits < 0, _NEGATIVE_INFINITY, _POSITIVE_INFINITY)
    kind = tl.where(magnitude > _INFINITY_BITS, _NAN, kind)
    kind = tl.where(code < _FIRST_NORMAL, _SUBNORMAL, kind)
    rest = (magnitude != 0) & (normal == 0)
    tl.atomic_add(special + kind, tl.full([_TILE], 1, tl.int32), mask=rest, sem="relaxed")
    return normal


@triton.jit
def _add_bins(counts, stride, AT: tl.constexpr, bins):
    """Add a chunk's counts to those of its parameter."""
    if AT >= 0:
        place = counts + AT * stride + tl.arange(0, _BINS)
        tl.atomic_add(place, bins, mask=bins != 0, sem="relaxed")
