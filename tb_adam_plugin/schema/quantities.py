"""The quantities that have histograms, and their bins."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]

BINS = 512
BINS_PER_OCTAVE = 4
SPECIAL = ("zero", "subnormal", "negative_infinity", "positive_infinity", "nan")


@dataclass(frozen=True, slots=True)
class Quantity:
    """A quantity with histograms, and its fixed bins.

    A bin is the set of float32 values that share sign, binary exponent and the top two mantissa
    bits: 4 bins per octave, with edges ``2^e · {1, 1.25, 1.5, 1.75, 2}``. Signed quantities have 64
    octaves on each side of zero, unsigned ones 128 octaves. Values beyond this range count in the
    nearest end bin. Bins do not depend on the data, so histograms of any steps, parameters, runs
    and ranks can be compared and added.

    Attributes:
        name: Name of the quantity.
        signed: Whether negative values have their own bins.
        lowest_exponent: ``2 ** lowest_exponent`` is the smallest magnitude of the range.
    """

    name: str
    signed: bool
    lowest_exponent: int


# exp_avg_sq has the squared range of the others, 2^-52 to 2^12.
QUANTITIES: tuple[Quantity, ...] = (
    Quantity("exp_avg", True, -52),
    Quantity("exp_avg_sq", False, -104),
    Quantity("update", True, -52),
    Quantity("weight", True, -52),
    Quantity("gradient", True, -52),
)
# Recorded only on request.
OPTIONAL_QUANTITIES: tuple[Quantity, ...] = (Quantity("normalized_update", True, -52),)


def state_quantity(key: str) -> Quantity:
    """Return the quantity for a tensor that an optimizer stores under a key of its own."""
    taken = any(key == quantity.name for quantity in (*QUANTITIES, *OPTIONAL_QUANTITIES))
    return Quantity(f"{key} (state)" if taken else key, True, -52)


def bin_edges(quantity: Quantity) -> npt.NDArray[np.float64]:
    """Return the ``BINS + 1`` ascending edges of a quantity's bins.

    Bin ``i`` is ``[edges[i], edges[i+1])`` for positive values and, mirrored, ``(edges[i],
    edges[i+1]]`` for negative ones. The innermost bins also hold values down to 0 and the outermost
    ones values up to infinity; the edges returned for them are those of the range, with 0 in the
    middle of a signed quantity and at the start of an unsigned one.
    """
    octaves = BINS // BINS_PER_OCTAVE // (2 if quantity.signed else 1)
    mantissas = 1 + np.arange(BINS_PER_OCTAVE) / BINS_PER_OCTAVE
    exponents = quantity.lowest_exponent + np.arange(octaves)
    ladder = np.ldexp(mantissas[None, :], exponents[:, None]).ravel()
    top = math.ldexp(1.0, quantity.lowest_exponent + octaves)
    positive = np.concatenate([[0.0], ladder[1:], [top]])
    if not quantity.signed:
        return positive
    return np.concatenate([-positive[:0:-1], positive])


def count_values(values: npt.ArrayLike, quantity: Quantity) -> Counts:
    """Count float values into the bins of ``quantity``: this defines a histogram.

    Args:
        values: Any shape; converted to float32, as on the training side.
        quantity: The quantity whose bins to use. If it is unsigned, the sign of values is ignored.

    Returns:
        int64 ``[BINS + len(SPECIAL)]``: the bins in ascending order of value, then the counts of
        :data:`SPECIAL`, which are in no bin. "Subnormal" refers to float32.
    """
    bits = np.ascontiguousarray(values, dtype=np.float32).ravel().view(np.uint32)
    negative = (bits >> 31).astype(bool)
    magnitude = bits & 0x7FFFFFFF
    exponent, mantissa = magnitude >> 23, magnitude & 0x7FFFFF
    normal = (exponent > 0) & (exponent < 255)
    per_sign = BINS // 2 if quantity.signed else BINS
    first_code = (quantity.lowest_exponent + 127) * BINS_PER_OCTAVE
    index = np.clip((magnitude[normal] >> 21).astype(np.int64) - first_code, 0, per_sign - 1)
    if quantity.signed:
        index = np.where(negative[normal], per_sign - 1 - index, per_sign + index)
    infinite = (exponent == 255) & (mantissa == 0)
    special = [
        magnitude == 0,
        (exponent == 0) & (mantissa > 0),
        infinite & negative,
        infinite & ~negative,
        (exponent == 255) & (mantissa > 0),
    ]
    counts = np.bincount(index, minlength=BINS)
    return np.concatenate([counts, [int(s.sum()) for s in special]]).astype(np.int64)
