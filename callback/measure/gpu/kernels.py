"""Triton kernels that process all elements of all parameters of a device in one launch.

:func:`reduce` computes the same values as :func:`..row_values.row_sums`, those of
:mod:`..row_value_table`: the same arithmetic, but for chunks of a parameter instead of rows of 256
elements. It only uses :mod:`.kernel_parts` and :mod:`.kernel_constants`. :mod:`.single_pass`
launches the kernels; nothing else imports this file, because Triton is not available everywhere
that torch is.

A program works on one chunk of at most ``TILES`` tiles of ``TILE`` elements. Sums are kept per
chunk and added up on the host, so the order of the programs cannot change them. Counts are
integers, so atomic additions give the same result in any order.
"""

import triton
import triton.language as tl

# isort: off
from .kernel_constants import (
    AT_BEFORE, AT_ELEMENTS, AT_EXP_AVG, AT_EXP_AVG_BEFORE, AT_EXP_AVG_KIND, AT_EXP_AVG_SQ,
    AT_EXP_AVG_SQ_BEFORE, AT_EXP_AVG_SQ_KIND, AT_FIRST_CHUNK, AT_FIRST_LINE, AT_FIRST_ROW,
    AT_FIRST_SQUARE, AT_GRADIENT, AT_GRADIENT_KIND, AT_ROWS, AT_ROW_STRIDE, AT_STEP, AT_WEIGHT,
    AT_WEIGHT_KIND, BELOW_10_EPS,
    BELOW_EPS, BINS, B_SQUARED, CHUNK, COUNTS, COUPLED_WEIGHT_DECAY, DENOMINATOR_CONSTANT,
    DENOMINATOR_ROOT, D_SQUARED, D_TIMES_B, D_ZERO, EPS, EXP_AVG_DECAY, EXP_AVG_SCALE,
    EXP_AVG_SQ_DECAY, EXP_AVG_SQ_SCALE, EXP_AVG_SQ_SCALE_BEFORE, EXP_AVG_SQ_WEIGHT, EXP_AVG_WEIGHT,
    E_SQUARED, FLICKER, FLOAT32, GRADIENT_SIGN, G_FOURTH, G_SQUARED, G_ZERO, LANES, LARGEST_D,
    LARGEST_G, LARGEST_M, LARGEST_V, LARGEST_W, LEAST_BEFORE, M_ERROR, M_EXACT, M_SQUARED,
    M_TIMES_E, M_ZERO, NEAR_FROM, NEAR_TO, NUMERATOR_EXP_AVG, NUMERATOR_GRADIENT, N_NEAR_ONE,
    N_SQUARED, N_ZERO, RMS, ROW_D_SQUARED, ROW_G_SQUARED, ROW_M_SQUARED, ROW_SQUARES, R_ERROR,
    R_LOST, R_NONZERO, R_SQUARED, SIGNAL, SMALLEST_NORMAL, STEP_SIZE, TILE, TINY, V, VALUES,
    V_BEFORE, V_BEFORE_SEEN, V_ERROR, V_EXACT, V_FROZEN, V_TINY, V_ZERO, WEIGHT_DECAY, W_ZERO,
)  # fmt: skip

# isort: on
from .kernel_constants import WRITTEN as WRITTEN
from .kernel_parts import (
    add_bins,
    as_stored,
    copy,
    count_signed,
    count_unsigned,
    larger,
    mark_rows,
    one_at,
    place_of,
    put,
    put_count,
    put_largest,
    read,
    write_row_squares,
)


@triton.jit
def keep(chunk_parameter, table, lines, parameters, SAMPLED: tl.constexpr):
    """Copy weights and moments, as far as they are read, to where :func:`reduce` looks for them.

    Args:
        chunk_parameter: Index of each chunk's parameter, int32 ``[chunks]``.
        table: See ``kernel_layout.TABLE``; a tensor without a target is not copied.
        lines: See :func:`.kernel_parts.place_of`.
        parameters: Number of parameters.
        SAMPLED: Whether any parameter is sampled.
    """
    parameter = tl.load(chunk_parameter + tl.program_id(0))
    column = table + parameter
    chunk = tl.program_id(0) - tl.load(column + AT_FIRST_CHUNK * parameters)
    copy(column, parameters, lines, chunk, AT_WEIGHT, AT_BEFORE, AT_WEIGHT_KIND, SAMPLED)
    copy(column, parameters, lines, chunk, AT_EXP_AVG, AT_EXP_AVG_BEFORE, AT_EXP_AVG_KIND, SAMPLED)
    copy(
        column, parameters, lines, chunk, AT_EXP_AVG_SQ, AT_EXP_AVG_SQ_BEFORE, AT_EXP_AVG_SQ_KIND,
        SAMPLED,
    )  # fmt: skip


@triton.jit
def reduce(
    chunk_parameter,
    table,
    lines,
    numbers,
    values,
    row_squares,
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
    SAMPLED: tl.constexpr,
):
    """Reduce each chunk to its row values, and count the histograms.

    Args:
        chunk_parameter: Index of each chunk's parameter, int32 ``[chunks]``.
        table: See ``kernel_layout.TABLE``.
        lines: See :func:`.kernel_parts.place_of`.
        numbers: See ``kernel_layout.NUMBERS``.
        values: float32 ``[VALUES, chunks]``; written.
        row_squares: float32 ``[rows, ROW_SQUARES]``, Σd², Σg² and Σm² of each row of ``ROW``
            elements read of a sampled parameter; written.
        counts: int32 ``[quantities, parameters, COUNTS]``; added to, except for zeros, which are
            among the values.
        alive: uint8, one for each index of the first dimension of parameters with two or more
            dimensions; set to 1 where a gradient is not zero. Those of sampled parameters are left
            alone.
        steps: float32 ``[parameters]``; the step counts that have an address are written.
        parameters: Number of parameters.
        chunks: Number of chunks.
        WEIGHT: Type of all weights, or ``MIXED``. The next three likewise.
        GRADIENT: See ``WEIGHT``.
        EXP_AVG: See ``WEIGHT``.
        EXP_AVG_SQ: See ``WEIGHT``.
        HAS_EXP_AVG: Whether any parameter has it. The next three likewise.
        HAS_EXP_AVG_SQ: See ``HAS_EXP_AVG``.
        HAS_EXP_AVG_BEFORE: See ``HAS_EXP_AVG``.
        HAS_EXP_AVG_SQ_BEFORE: See ``HAS_EXP_AVG``.
        SQUARES_EXP_AVG_SQ: Whether the optimizer stores the root of exp_avg_sq.
        PLAIN_GRADIENT: As in :class:`..row_values.Plan`. The next two likewise.
        HAS_WEIGHT_DECAY: See ``PLAIN_GRADIENT``.
        KNOWS_UPDATE: See ``PLAIN_GRADIENT``.
        COUNT_EXP_AVG: Index of its histogram among the quantities; -1 for none. The next five
            likewise.
        COUNT_EXP_AVG_SQ: See ``COUNT_EXP_AVG``.
        COUNT_UPDATE: See ``COUNT_EXP_AVG``.
        COUNT_WEIGHT: See ``COUNT_EXP_AVG``.
        COUNT_GRADIENT: See ``COUNT_EXP_AVG``.
        COUNT_NORMALIZED: See ``COUNT_EXP_AVG``.
        SAMPLED: Whether any parameter is sampled.
    """
    program = tl.program_id(0)
    parameter = tl.load(chunk_parameter + program)
    column = table + parameter
    number = numbers + parameter
    elements = tl.load(column + AT_ELEMENTS * parameters)
    chunk = program - tl.load(column + AT_FIRST_CHUNK * parameters)
    start = (chunk * CHUNK).to(tl.int32)
    row_stride = tl.load(column + AT_ROW_STRIDE * parameters).to(tl.int32)
    rows = tl.load(column + AT_ROWS * parameters).to(tl.int32)
    alive += tl.load(column + AT_FIRST_ROW * parameters)
    first_line = tl.load(column + AT_FIRST_LINE * parameters)
    row_squares += tl.load(column + AT_FIRST_SQUARE * parameters) * ROW_SQUARES

    gradient_sign = tl.load(number + GRADIENT_SIGN * parameters)
    coupled_weight_decay = tl.load(number + COUPLED_WEIGHT_DECAY * parameters)
    exp_avg_decay = tl.load(number + EXP_AVG_DECAY * parameters)
    exp_avg_weight = tl.load(number + EXP_AVG_WEIGHT * parameters)
    exp_avg_scale = tl.load(number + EXP_AVG_SCALE * parameters)
    exp_avg_sq_decay = tl.load(number + EXP_AVG_SQ_DECAY * parameters)
    exp_avg_sq_weight = tl.load(number + EXP_AVG_SQ_WEIGHT * parameters)
    exp_avg_sq_scale = tl.load(number + EXP_AVG_SQ_SCALE * parameters)
    exp_avg_sq_scale_before = tl.load(number + EXP_AVG_SQ_SCALE_BEFORE * parameters)
    exp_avg_sq_growth = exp_avg_sq_scale_before / exp_avg_sq_scale
    exp_avg_sq_growth *= exp_avg_sq_growth
    eps = tl.load(number + EPS * parameters)
    numerator_exp_avg = tl.load(number + NUMERATOR_EXP_AVG * parameters)
    numerator_gradient = tl.load(number + NUMERATOR_GRADIENT * parameters)
    denominator_root = tl.load(number + DENOMINATOR_ROOT * parameters)
    denominator_constant = tl.load(number + DENOMINATOR_CONSTANT * parameters)
    step_size = tl.load(number + STEP_SIZE * parameters)
    weight_decay = tl.load(number + WEIGHT_DECAY * parameters)
    smallest_normal = tl.load(number + SMALLEST_NORMAL * parameters)
    exp_avg_sq_kind = tl.load(column + AT_EXP_AVG_SQ_KIND * parameters)

    step = tl.load(column + AT_STEP * parameters)
    if (chunk == 0) & (step != 0):
        tl.store(steps + parameter, tl.load(step.to(tl.pointer_type(tl.float32))))

    # Per lane over all tiles; the lanes are added up at the end.
    b_squared = tl.zeros([TILE], tl.float32)
    d_squared = tl.zeros([TILE], tl.float32)
    d_times_b = tl.zeros([TILE], tl.float32)
    g_squared = tl.zeros([TILE], tl.float32)
    g_fourth = tl.zeros([TILE], tl.float32)
    e_squared = tl.zeros([TILE], tl.float32)
    m_squared = tl.zeros([TILE], tl.float32)
    m_times_e = tl.zeros([TILE], tl.float32)
    v_sum = tl.zeros([TILE], tl.float32)
    surprise = tl.zeros([TILE], tl.float32)
    flicker = tl.zeros([TILE], tl.float32)
    signal = tl.zeros([TILE], tl.float32)
    n_squared = tl.zeros([TILE], tl.float32)
    r_squared = tl.zeros([TILE], tl.float32)
    r_error = tl.zeros([TILE], tl.float32)
    v_before_sum = tl.zeros([TILE], tl.float32)
    m_error = tl.zeros([TILE], tl.float32)
    m_exact = tl.zeros([TILE], tl.float32)
    v_error = tl.zeros([TILE], tl.float32)
    v_exact = tl.zeros([TILE], tl.float32)
    # The bits of magnitudes sort like the magnitudes, and NaN above infinity.
    largest_d = tl.zeros([TILE], tl.int32)
    largest_w = tl.zeros([TILE], tl.int32)
    largest_g = tl.zeros([TILE], tl.int32)
    largest_m = tl.zeros([TILE], tl.int32)
    largest_v = tl.zeros([TILE], tl.int32)
    # Several counts share one integer, COUNT_BITS each: a lane counts to TILES at most.
    zeros = tl.zeros([TILE], tl.int32)
    moments = tl.zeros([TILE], tl.int32)
    second = tl.zeros([TILE], tl.int32)
    requests = tl.zeros([TILE], tl.int32)
    exp_avg_bins = tl.zeros([BINS], tl.int32)
    exp_avg_sq_bins = tl.zeros([BINS], tl.int32)
    update_bins = tl.zeros([BINS], tl.int32)
    weight_bins = tl.zeros([BINS], tl.int32)
    gradient_bins = tl.zeros([BINS], tl.int32)
    normalized_bins = tl.zeros([BINS], tl.int32)
    count_stride = parameters * COUNTS
    counts += parameter * COUNTS

    left = tl.minimum(elements - start, CHUNK).to(tl.int32)
    for tile in range(tl.cdiv(left, TILE)):
        # Positions past the last element read as zeros, like the padding of a row.
        offsets = tile * TILE + tl.arange(0, TILE)
        inside = offsets < left
        first = start + tile * TILE
        kept = start + offsets
        at = place_of(lines, first_line, kept, inside) if SAMPLED else kept
        b = read(column, parameters, AT_BEFORE, AT_WEIGHT_KIND, kept, inside, WEIGHT)
        w = read(column, parameters, AT_WEIGHT, AT_WEIGHT_KIND, at, inside, WEIGHT)
        g = read(column, parameters, AT_GRADIENT, AT_GRADIENT_KIND, at, inside, GRADIENT)
        d = w - b
        b_squared += b * b
        d_squared += d * d
        d_times_b += d * b
        # In units of the lane's Σg², because the fourth power exceeds the range of float32.
        seen = g_squared + g * g
        unit = tl.maximum(seen, TINY)
        rescaled = g_squared / unit
        share = g * g / unit
        g_fourth = g_fourth * rescaled * rescaled + share * share
        g_squared = seen
        largest_d = larger(largest_d, d)
        largest_w = larger(largest_w, w)
        largest_g = larger(largest_g, g)
        zeros += one_at(0, w == 0) + one_at(1, g == 0) + one_at(2, d == 0)
        if SAMPLED:  # noqa: SIM102 - only the first condition is known at compile time
            if first_line >= 0:
                write_row_squares(row_squares, ROW_D_SQUARED, d, first, elements)
                write_row_squares(row_squares, ROW_G_SQUARED, g, first, elements)
        if (rows != 0) & (first_line < 0):
            mark_rows(alive, g, first, row_stride, rows, TILE)

        e = g if PLAIN_GRADIENT else b * coupled_weight_decay + g * gradient_sign
        e_squared += e * e
        if HAS_EXP_AVG:
            m = read(column, parameters, AT_EXP_AVG, AT_EXP_AVG_KIND, at, inside, EXP_AVG)
            if SAMPLED:  # noqa: SIM102 - likewise
                if first_line >= 0:
                    write_row_squares(row_squares, ROW_M_SQUARED, m, first, elements)
            m_squared += m * m
            m_times_e += m * e
            largest_m = larger(largest_m, m)
            moments += one_at(0, m == 0)
            if HAS_EXP_AVG_BEFORE:
                m_before = read(
                    column, parameters, AT_EXP_AVG_BEFORE, AT_EXP_AVG_KIND, kept, inside, EXP_AVG
                )
                exact = m_before * exp_avg_decay + e * exp_avg_weight
                m_error += (m - exact) * (m - exact)
                m_exact += exact * exact

        if HAS_EXP_AVG_SQ:
            v = read(column, parameters, AT_EXP_AVG_SQ, AT_EXP_AVG_SQ_KIND, at, inside, EXP_AVG_SQ)
            if SQUARES_EXP_AVG_SQ:
                v = v * v
            v_sum += v
            largest_v = larger(largest_v, tl.where(v < 0, 0.0, v))
            s = tl.sqrt_rn(v) * exp_avg_sq_scale
            moments += one_at(1, v == 0) + one_at(2, s < eps) + one_at(3, s < eps * 10)
            least = tl.maximum(eps, TINY)
            relative = e / tl.where(s < least, least, s)  # NaN where s is
            surprise += relative * relative
            if HAS_EXP_AVG_SQ_BEFORE:
                v_before = read(
                    column, parameters, AT_EXP_AVG_SQ_BEFORE, AT_EXP_AVG_SQ_KIND, kept, inside,
                    EXP_AVG_SQ,
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
            compared = share > LEAST_BEFORE
            second += one_at(0, compared)
            growth = tl.log(tl.where(compared, share * exp_avg_sq_growth, 1.0))
            flicker += growth * growth
            second += one_at(1, (v < smallest_normal) & (g != 0))
            if EXP_AVG_SQ != FLOAT32:
                decayed = as_stored(v * exp_avg_sq_decay, exp_avg_sq_kind)
                frozen = (decayed == v) & (v != 0) & (exp_avg_sq_kind != FLOAT32)
                second += one_at(2, frozen)
            if HAS_EXP_AVG:
                ratio = tl.where(v == 0, 0.0, m / tl.maximum(s, TINY)) * exp_avg_scale
                signal += ratio * ratio

        if KNOWS_UPDATE:
            n = e * numerator_gradient
            if HAS_EXP_AVG:
                n += m * numerator_exp_avg
            # Rounded as torch does: the difference between d and r is judged in units of rounding.
            if HAS_EXP_AVG_SQ:
                n = tl.div_rn(n, s * denominator_root + denominator_constant)
            else:
                n = tl.div_rn(n, tl.zeros([TILE], tl.float32) + denominator_constant)
            n_squared += n * n
            r = (n + b * weight_decay if HAS_WEIGHT_DECAY else n) * -step_size
            r_squared += r * r
            r_error += (d - r) * (d - r)
            near = (tl.abs(n) > NEAR_FROM) & (tl.abs(n) < NEAR_TO)
            requests += one_at(0, n == 0) + one_at(1, near)
            requests += one_at(2, r != 0) + one_at(3, (r != 0) & (d == 0))

        if COUNT_EXP_AVG >= 0 and HAS_EXP_AVG:
            exp_avg_bins += count_signed(m, counts + COUNT_EXP_AVG * count_stride)
        if COUNT_EXP_AVG_SQ >= 0 and HAS_EXP_AVG_SQ:
            exp_avg_sq_bins += count_unsigned(v, counts + COUNT_EXP_AVG_SQ * count_stride)
        if COUNT_UPDATE >= 0:
            update_bins += count_signed(d, counts + COUNT_UPDATE * count_stride)
        if COUNT_WEIGHT >= 0:
            weight_bins += count_signed(w, counts + COUNT_WEIGHT * count_stride)
        if COUNT_GRADIENT >= 0:
            gradient_bins += count_signed(g, counts + COUNT_GRADIENT * count_stride)
        if COUNT_NORMALIZED >= 0 and KNOWS_UPDATE:
            normalized_bins += count_signed(n, counts + COUNT_NORMALIZED * count_stride)

    found = tl.zeros([LANES], tl.float32)
    found = put(found, B_SQUARED, b_squared)
    found = put(found, D_SQUARED, d_squared)
    found = put(found, D_TIMES_B, d_times_b)
    found = put(found, G_SQUARED, g_squared)
    of_chunk = g_squared / tl.maximum(tl.sum(g_squared), TINY)
    found = put(found, G_FOURTH, g_fourth * of_chunk * of_chunk)
    found = put_largest(found, LARGEST_D, largest_d)
    found = put_largest(found, LARGEST_W, largest_w)
    found = put_largest(found, LARGEST_G, largest_g)
    found = put_count(found, W_ZERO, zeros, 0)
    found = put_count(found, G_ZERO, zeros, 1)
    found = put_count(found, D_ZERO, zeros, 2)
    found = put(found, E_SQUARED, e_squared)
    if HAS_EXP_AVG:
        found = put(found, M_SQUARED, m_squared)
        found = put(found, M_TIMES_E, m_times_e)
        found = put_largest(found, LARGEST_M, largest_m)
        found = put_count(found, M_ZERO, moments, 0)
    if HAS_EXP_AVG_BEFORE:
        found = put(found, M_ERROR, m_error)
        found = put(found, M_EXACT, m_exact)
    if HAS_EXP_AVG_SQ:
        found = put(found, V, v_sum)
        found = put_largest(found, LARGEST_V, largest_v)
        found = put_count(found, V_ZERO, moments, 1)
        found = put_count(found, BELOW_EPS, moments, 2)
        found = put_count(found, BELOW_10_EPS, moments, 3)
        found = put(found, RMS, surprise)
        found = put(found, SIGNAL, signal)
        found = put(found, FLICKER, flicker)
        found = put_count(found, V_BEFORE_SEEN, second, 0)
        found = put_count(found, V_TINY, second, 1)
        found = put_count(found, V_FROZEN, second, 2)
    if HAS_EXP_AVG_SQ_BEFORE:
        found = put(found, V_BEFORE, v_before_sum)
        found = put(found, V_ERROR, v_error)
        found = put(found, V_EXACT, v_exact)
    if KNOWS_UPDATE:
        found = put(found, N_SQUARED, n_squared)
        found = put(found, R_SQUARED, r_squared)
        found = put(found, R_ERROR, r_error)
        found = put_count(found, N_ZERO, requests, 0)
        found = put_count(found, N_NEAR_ONE, requests, 1)
        found = put_count(found, R_NONZERO, requests, 2)
        found = put_count(found, R_LOST, requests, 3)
    lane = tl.arange(0, LANES)
    tl.store(values + lane * chunks + program, found, mask=lane < VALUES)
    add_bins(counts, count_stride, COUNT_EXP_AVG, exp_avg_bins)
    add_bins(counts, count_stride, COUNT_EXP_AVG_SQ, exp_avg_sq_bins)
    add_bins(counts, count_stride, COUNT_UPDATE, update_bins)
    add_bins(counts, count_stride, COUNT_WEIGHT, weight_bins)
    add_bins(counts, count_stride, COUNT_GRADIENT, gradient_bins)
    add_bins(counts, count_stride, COUNT_NORMALIZED, normalized_bins)
