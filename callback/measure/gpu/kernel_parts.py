"""What the kernels are made of: reading, counting and putting results in their places."""

import triton
import triton.language as tl

# isort: off
from .kernel_constants import (
    AT_ELEMENTS, BFLOAT16, BINS, CHUNK, COUNT_BITS, FIRST_INFINITE, FIRST_NORMAL, FIRST_SIGNED,
    FIRST_UNSIGNED, FLOAT16, FLOAT32, INFINITY_BITS, LANES, MAGNITUDE_BITS, NAN, NEGATIVE_INFINITY,
    ONE, POSITIVE_INFINITY, SHIFT, SUBNORMAL, TILE,
)  # fmt: skip
# isort: on


@triton.jit
def copy(
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
        start = chunk * CHUNK
        left = tl.minimum(tl.load(column + AT_ELEMENTS * parameters) - start, CHUNK).to(tl.int32)
        is_float32 = tl.load(column + KIND * parameters) == FLOAT32
        for tile in range(tl.cdiv(left, TILE)):
            offsets = tile * TILE + tl.arange(0, TILE)
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
def read(
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
    if KIND == FLOAT32:
        x = _read_float32(address, start, offsets, there)
    elif KIND == BFLOAT16:
        x = _read_bfloat16(address, start, offsets, there)
    elif KIND == FLOAT16:
        x = _read_float16(address, start, offsets, there)
    else:
        kind = tl.load(column + TENSOR_KIND * parameters)
        if kind == FLOAT32:
            x = _read_float32(address, start, offsets, there)
        elif kind == BFLOAT16:
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
def as_stored(x, kind):
    """Return values, none of them negative, rounded to the nearest that a half type holds."""
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
    """Return a count of one, in a field of an integer that holds several, where it is fulfilled."""
    return tl.where(condition, ONE << (FIELD * COUNT_BITS), 0)


@triton.jit
def put(found, AT: tl.constexpr, lanes):
    """Put the sum of all lanes among the row values."""
    return tl.where(tl.arange(0, LANES) == AT, tl.sum(lanes), found)


@triton.jit
def put_count(found, AT: tl.constexpr, lanes, FIELD: tl.constexpr):
    """Likewise the sum of a field that :func:`one_at` has counted in."""
    counts = (lanes >> (FIELD * COUNT_BITS)) & ((ONE << COUNT_BITS) - 1)
    return tl.where(tl.arange(0, LANES) == AT, tl.sum(counts).to(tl.float32), found)


@triton.jit
def put_largest(found, AT: tl.constexpr, lanes):
    """Likewise the largest magnitude, from :func:`larger`."""
    largest = tl.max(lanes).to(tl.float32, bitcast=True)
    return tl.where(tl.arange(0, LANES) == AT, largest, found)


@triton.jit
def count_signed(x, special):
    """Return a tile's counts ``[BINS]`` of normal values; others go to ``special`` at once."""
    bits = x.to(tl.int32, bitcast=True)
    half: tl.constexpr = BINS // 2
    code = (bits & MAGNITUDE_BITS) >> SHIFT
    place = tl.minimum(tl.maximum(code - FIRST_SIGNED, 0), half - 1)
    place = tl.where(bits < 0, half - 1 - place, half + place)
    return tl.histogram(place, BINS, mask=_count_special(bits, special))


@triton.jit
def count_unsigned(x, special):
    """Likewise, whatever the sign."""
    bits = x.to(tl.int32, bitcast=True)
    code = (bits & MAGNITUDE_BITS) >> SHIFT
    place = tl.minimum(tl.maximum(code - FIRST_UNSIGNED, 0), BINS - 1)
    return tl.histogram(place, BINS, mask=_count_special(bits, special))


@triton.jit
def _count_special(bits, special):
    """Count what has no bin, zeros excepted, and return which elements have one."""
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
    """Add a chunk's counts to those of its parameter."""
    if AT >= 0:
        place = counts + AT * stride + tl.arange(0, BINS)
        tl.atomic_add(place, bins, mask=bins != 0, sem="relaxed")
