"""The Triton kernel that sums over all elements of sampled parameters.

Only norms over all elements, and which rows have a gradient, need every element. This kernel makes
one pass over memory and keeps four sums per chunk, added up on the host like those of
:func:`.kernels.reduce`.
"""

import triton
import triton.language as tl

# isort: off
from .kernel_constants import (
    AT_EXP_AVG, AT_EXP_AVG_KIND, AT_EXP_AVG_SQ, AT_EXP_AVG_SQ_KIND, AT_FIRST_ROW,
    AT_FIRST_WHOLE_CHUNK, AT_GRADIENT, AT_GRADIENT_KIND, AT_ROWS, AT_ROW_STRIDE, AT_WEIGHT,
    AT_WEIGHT_KIND, AT_WHOLE, TOTAL_BEFORE, TOTAL_EXP_AVG, TOTAL_EXP_AVG_SQ, TOTAL_GRADIENT,
    WHOLE_CHUNK, WHOLE_TILE,
)  # fmt: skip

# isort: on
from .kernel_parts import mark_rows, read


@triton.jit
def totals(
    chunk_parameter,
    table,
    values,
    alive,
    parameters,
    chunks,
    WEIGHT: tl.constexpr,
    GRADIENT: tl.constexpr,
    EXP_AVG: tl.constexpr,
    EXP_AVG_SQ: tl.constexpr,
    IS_BEFORE: tl.constexpr,
    HAS_EXP_AVG: tl.constexpr,
    HAS_EXP_AVG_SQ: tl.constexpr,
    SQUARES_EXP_AVG_SQ: tl.constexpr,
    ALIGNED: tl.constexpr,
):
    """Sum each chunk of sampled parameters: the weights before a step, or the rest after it.

    Args:
        chunk_parameter: Index of each chunk's parameter, int32 ``[chunks]``.
        table: See ``kernel_layout.TABLE``.
        values: float32 ``[TOTALS, chunks]``: Σb², Σg², Σm² and Σv. Before the step the first is
            written, after it the others.
        alive: As for :func:`.kernels.reduce`, for the sampled parameters.
        parameters: Number of parameters.
        chunks: Number of chunks.
        WEIGHT: As for :func:`.kernels.reduce`, like the next three.
        GRADIENT: See ``WEIGHT``.
        EXP_AVG: See ``WEIGHT``.
        EXP_AVG_SQ: See ``WEIGHT``.
        IS_BEFORE: Whether this is before the step.
        HAS_EXP_AVG: As for :func:`.kernels.reduce`, like the next two.
        HAS_EXP_AVG_SQ: See ``HAS_EXP_AVG``.
        SQUARES_EXP_AVG_SQ: See ``HAS_EXP_AVG``.
        ALIGNED: Whether every tensor starts at a multiple of 16 bytes and has a multiple of four
            elements, so a thread can read four at a time.
    """
    program = tl.program_id(0)
    parameter = tl.load(chunk_parameter + program)
    column = table + parameter
    elements = tl.load(column + AT_WHOLE * parameters)
    chunk = program - tl.load(column + AT_FIRST_WHOLE_CHUNK * parameters)
    start = (chunk * WHOLE_CHUNK).to(tl.int32)
    left = tl.minimum(elements - start, WHOLE_CHUNK).to(tl.int32)
    if ALIGNED:
        left = tl.multiple_of(left, 4)
    row_stride = tl.load(column + AT_ROW_STRIDE * parameters).to(tl.int32)
    rows = tl.load(column + AT_ROWS * parameters).to(tl.int32)
    alive += tl.load(column + AT_FIRST_ROW * parameters)
    first = tl.zeros([WHOLE_TILE], tl.float32)  # Σb² or Σg²
    m_squared = tl.zeros([WHOLE_TILE], tl.float32)
    v_sum = tl.zeros([WHOLE_TILE], tl.float32)
    for tile in range(tl.cdiv(left, WHOLE_TILE)):
        offsets = tile * WHOLE_TILE + tl.arange(0, WHOLE_TILE)
        inside = offsets < left
        at = start + offsets
        if IS_BEFORE:
            b = read(column, parameters, AT_WEIGHT, AT_WEIGHT_KIND, at, inside, WEIGHT, ALIGNED)
            first += b * b
        else:
            g = read(
                column, parameters, AT_GRADIENT, AT_GRADIENT_KIND, at, inside, GRADIENT, ALIGNED
            )
            first += g * g
            if rows != 0:
                mark_rows(alive, g, start + tile * WHOLE_TILE, row_stride, rows, WHOLE_TILE)
            if HAS_EXP_AVG:
                m = read(
                    column, parameters, AT_EXP_AVG, AT_EXP_AVG_KIND, at, inside, EXP_AVG, ALIGNED
                )
                m_squared += m * m
            if HAS_EXP_AVG_SQ:
                v = read(
                    column, parameters, AT_EXP_AVG_SQ, AT_EXP_AVG_SQ_KIND, at, inside, EXP_AVG_SQ,
                    ALIGNED,
                )  # fmt: skip
                v_sum += v * v if SQUARES_EXP_AVG_SQ else v
    if IS_BEFORE:
        tl.store(values + TOTAL_BEFORE * chunks + program, tl.sum(first))
    else:
        tl.store(values + TOTAL_GRADIENT * chunks + program, tl.sum(first))
        tl.store(values + TOTAL_EXP_AVG * chunks + program, tl.sum(m_squared))
        tl.store(values + TOTAL_EXP_AVG_SQ * chunks + program, tl.sum(v_sum))
