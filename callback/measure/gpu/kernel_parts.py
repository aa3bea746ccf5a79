"""Building blocks of the kernels: reading, counting and storing results."""

import triton
import triton.language as tl

# isort: off
from .kernel_constants import (
    AT_ELEMENTS, AT_FIRST_LINE, BFLOAT16, BINS, CHUNK, COUNT_BITS, FIRST_INFINITE, FIRST_NORMAL,
    FIRST_SIGNED, FIRST_UNSIGNED, FLOAT16, FLOAT32, INFINITY_BITS, LANES, LINE, MAGNITUDE_BITS, NAN,
    NEGATIVE_INFINITY, ONE, POSITIVE_INFINITY, ROW, ROW_SQUARES, SHIFT, SUBNORMAL, TILE,
)  # fmt: skip
# isort: on


@triton.jit
def place_of(lines, first_line, position, inside):
    """Return the memory positions of the elements that are read of a parameter.

    Args:
        lines: Indices of the lines that are read of sampled parameters, int32.
        first_line: Index of this parameter's first line; -1 for a parameter that is read whole.
        position: Positions among the elements that are read, int32.
        inside: Which of these positions exist.
    """
    is_sampled = first_line >= 0
    line = tl.load(lines + first_line + position // LINE, mask=inside & is_sampled, other=0)
    return tl.where(is_sampled, line * LINE + position % LINE, position)


@triton.jit
def copy(
    column,
    parameters,
    lines,
    chunk,
    SOURCE: tl.constexpr,
    TARGET: tl.constexpr,
    KIND: tl.constexpr,
    SAMPLED: tl.constexpr,
):
    """Copy one chunk of the elements read of one tensor."""
    source = tl.load(column + SOURCE * parameters)
    target = tl.load(column + TARGET * parameters)
    if (source != 0) & (target != 0):
        start = (chunk * CHUNK).to(tl.int32)
        left = tl.minimum(tl.load(column + AT_ELEMENTS * parameters) - start, CHUNK).to(tl.int32)
        first_line = tl.load(column + AT_FIRST_LINE * parameters)
        is_float32 = tl.load(column + KIND * parameters) == FLOAT32
        for tile in range(tl.cdiv(left, TILE)):
            offsets = tile * TILE + tl.arange(0, TILE)
            inside = offsets < left
            kept = start + offsets
            place = place_of(lines, first_line, kept, inside) if SAMPLED else kept
            if is_float32:
                wide = source.to(tl.pointer_type(tl.int32)) + place
                here = target.to(tl.pointer_type(tl.int32)) + kept
                tl.store(here, tl.load(wide, mask=inside), mask=inside)
            else:
                half = source.to(tl.pointer_type(tl.int16)) + place
                short = target.to(tl.pointer_type(tl.int16)) + kept
                tl.store(short, tl.load(half, mask=inside), mask=inside)


@triton.jit
def read(
    column,
    parameters,
    TENSOR: tl.constexpr,
    TENSOR_KIND: tl.constexpr,
    at,
    inside,
    KIND: tl.constexpr,
    ALIGNED: tl.constexpr = False,
):
    """Return elements as float32, which holds every half-precision value; zeros for no tensor.

    ``ALIGNED`` says that four neighbours can be read at a time, which the compiler cannot infer.
    """
    address = tl.load(column + TENSOR * parameters)
    there = inside & (address != 0)
    if KIND == FLOAT32:
        x = _read_float32(address, at, there, ALIGNED)
    elif KIND == BFLOAT16:
        x = _read_bfloat16(address, at, there, ALIGNED)
    elif KIND == FLOAT16:
        x = _read_float16(address, at, there, ALIGNED)
    else:
        kind = tl.load(column + TENSOR_KIND * parameters)
        if kind == FLOAT32:
            x = _read_float32(address, at, there, ALIGNED)
        elif kind == BFLOAT16:
            x = _read_bfloat16(address, at, there, ALIGNED)
        else:
            x = _read_float16(address, at, there, ALIGNED)
    return x


@triton.jit
def _read_float32(address, at, there, ALIGNED: tl.constexpr):
    pointers = address.to(tl.pointer_type(tl.float32)) + at
    if ALIGNED:
        pointers = tl.max_contiguous(tl.multiple_of(pointers, 16), 4)
    return tl.load(pointers, mask=there, other=0.0)


@triton.jit
def _read_bfloat16(address, at, there, ALIGNED: tl.constexpr):
    # A bfloat16 is the upper half of a float32.
    pointers = address.to(tl.pointer_type(tl.int16)) + at
    if ALIGNED:
        pointers = tl.max_contiguous(tl.multiple_of(pointers, 8), 4)
    bits = tl.load(pointers, mask=there, other=0).to(tl.int32) << 16
    return bits.to(tl.float32, bitcast=True)


@triton.jit
def _read_float16(address, at, there, ALIGNED: tl.constexpr):
    pointers = address.to(tl.pointer_type(tl.float16)) + at
    if ALIGNED:
        pointers = tl.max_contiguous(tl.multiple_of(pointers, 8), 4)
    return tl.load(pointers, mask=there, other=0.0).to(tl.float32)


@triton.jit
def mark_rows(alive, g, first, row_stride, rows, SIZE: tl.constexpr):
    """Mark the rows along the first dimension in which a gradient is not zero.

    Args:
        alive: uint8, one per row; set to 1.
        g: Gradients of a tile, ``[SIZE]``.
        first: Memory position of the tile's first element, int32.
        row_stride: Distance between rows in memory.
        rows: Number of rows.
        SIZE: Size of the tile.
    """
    if row_stride >= SIZE:  # a tile spans two rows at most: no division
        ends = first % row_stride + tl.arange(0, SIZE) >= row_stride
        row = first // row_stride % rows + ends.to(tl.int32)
        row = tl.where(row == rows, 0, row)
    else:
        row = (first + tl.arange(0, SIZE)) // row_stride % rows
    tl.store(alive + row, tl.full([SIZE], 1, tl.uint8), mask=g != 0)


@triton.jit
def write_row_squares(row_squares, WHICH: tl.constexpr, x, first, elements):
    """Store Σx² of each row of ``ROW`` elements of a tile among the parameter's row squares."""
    squares = tl.sum(tl.reshape(x * x, [TILE // ROW, ROW]), 1)
    row = first // ROW + tl.arange(0, TILE // ROW)
    tl.store(row_squares + row * ROW_SQUARES + WHICH, squares, mask=row * ROW < elements)


@triton.jit
def as_stored(x, kind):
    """Return non-negative values rounded to the nearest value of a half-precision type."""
    bits = x.to(tl.int32, bitcast=True)
    upper = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16  # ties to even
    bfloat16 = tl.where(x == x, upper.to(tl.float32, bitcast=True), x)
    return tl.where(kind == BFLOAT16, bfloat16, x.to(tl.float16).to(tl.float32))


@triton.jit
def larger(largest, x):
    """Keep the bits of the larger magnitude, lane by lane."""
    return tl.maximum(largest, x.to(tl.int32, bitcast=True) & MAGNITUDE_BITS)


@triton.jit
def one_at(FIELD: tl.constexpr, condition):
    """Return a count of one where the condition holds, in one bit field of a packed integer."""
    return tl.where(condition, ONE << (FIELD * COUNT_BITS), 0)


@triton.jit
def put(found, AT: tl.constexpr, lanes):
    """Store the sum of all lanes among the row values."""
    return tl.where(tl.arange(0, LANES) == AT, tl.sum(lanes), found)


@triton.jit
def put_count(found, AT: tl.constexpr, lanes, FIELD: tl.constexpr):
    """Store the sum of a bit field counted by :func:`one_at`."""
    counts = (lanes >> (FIELD * COUNT_BITS)) & ((ONE << COUNT_BITS) - 1)
    return tl.where(tl.arange(0, LANES) == AT, tl.sum(counts).to(tl.float32), found)


@triton.jit
def put_largest(found, AT: tl.constexpr, lanes):
    """Store the largest magnitude, from :func:`larger`."""
    largest = tl.max(lanes).to(tl.float32, bitcast=True)
    return tl.where(tl.arange(0, LANES) == AT, largest, found)


@triton.jit
def count_signed(x, special):
    """Return a tile's counts ``[BINS]`` of normal values; count the others in ``special``."""
    bits = x.to(tl.int32, bitcast=True)
    half: tl.constexpr = BINS // 2
    code = (bits & MAGNITUDE_BITS) >> SHIFT
    place = tl.minimum(tl.maximum(code - FIRST_SIGNED, 0), half - 1)
    place = tl.where(bits < 0, half - 1 - place, half + place)
    return tl.histogram(place, BINS, mask=_count_special(bits, special))


@triton.jit
def count_unsigned(x, special):
    """Like :func:`count_signed`, ignoring the sign."""
    bits = x.to(tl.int32, bitcast=True)
    code = (bits & MAGNITUDE_BITS) >> SHIFT
    place = tl.minimum(tl.maximum(code - FIRST_UNSIGNED, 0), BINS - 1)
    return tl.histogram(place, BINS, mask=_count_special(bits, special))


@triton.jit
def _count_special(bits, special):
    """Count values without a bin, except zeros, and return which elements have one."""
    magnitude = bits & MAGNITUDE_BITS
    code = magnitude >> SHIFT
    normal = (code >= FIRST_NORMAL) & (code < FIRST_INFINITE)
    kind = tl.where(bits < 0, NEGATIVE_INFINITY, POSITIVE_INFINITY)
    kind = tl.where(magnitude > INFINITY_BITS, NAN, kind)
    kind = tl.where(code < FIRST_NORMAL, SUBNORMAL, kind)
    rest = (magnitude != 0) & (normal == 0)
    tl.atomic_add(special + kind, tl.full([TILE], 1, tl.int32), mask=rest, sem="relaxed")
    return normal


@triton.jit
def add_bins(counts, stride, AT: tl.constexpr, bins):
    """Add a chunk's counts to its parameter's."""
    if AT >= 0:
        place = counts + AT * stride + tl.arange(0, BINS)
        tl.atomic_add(place, bins, mask=bins != 0, sem="relaxed")
