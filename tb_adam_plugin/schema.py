"""The wire format: what the training side writes and the plugin reads. NumPy only.

Every summary belongs to plugin ``adam_debug`` and holds one little-endian tensor. The first
summary of a tag in an event file carries a JSON *content* that says what the tensor's rows and
columns are, so that a reader needs nothing else:

=========================================  ==============================  =====================
tag                                        tensor of one event             content
=========================================  ==============================  =====================
``adam_debug/statistics/<layout>``         float32 [parameters, statistics]  :class:`Layout`
``adam_debug/hyperparameters/<layout>``    float64 [groups, columns]       :class:`Columns`
``adam_debug/histograms/<layout>/<i>``     uint8 [bytes], one block        :class:`HistogramSource`
``adam_debug/steps/<columns>``             float64 [steps, columns]        :class:`Columns`
``adam_debug/gradient_norms/<columns>``    float64 [steps, 1 + parameters]   :class:`Columns`
=========================================  ==============================  =====================

``<layout>`` and ``<columns>`` are short hashes of the content itself. A change in mid-run (an
unfrozen layer, a new scalar) therefore starts a new tag and never changes the meaning of an old
one. The event's step is the optimizer step; of ``steps`` it is the step of the last row.

Readers sort by step and let the last of several equal steps win: restarts overlap.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

PLUGIN_NAME = "adam_debug"
VERSION = 2

# A run folder of its own keeps our file apart from a SummaryWriter's: TensorBoard's Python loader
# follows only the newest of several growing files in one folder.
RUN_FOLDER = "adam_debug"
# Where a process of distributed training with parameters of its own writes its part of the run,
# followed by its rank; the one of rank 0 is in RUN_FOLDER.
PART_FOLDER = "adam_debug_rank"
# Where a second callback writes while another one has RUN_FOLDER: the number comes after it, as in
# adam_debug_2 and adam_debug_2_rank1. It is a run of its own.
_PART = re.compile(rf"{RUN_FOLDER}(?:_([2-9]|[1-9][0-9]+))?(?:_rank([0-9]+))?")

Counts = npt.NDArray[np.int64]
Option = bool | int | float | str | None

_MOST_ELEMENTS = 2**63 - 1  # of one tensor


class FormatError(ValueError):
    """Stored data do not follow this module's format."""


class NewerVersionError(FormatError):
    """Stored data were written by a newer version of the format than this one."""


# --- folders ------------------------------------------------------------------------------------


class Part(NamedTuple):
    """What the name of a folder of ours says.

    Attributes:
        number: Which of the callbacks that wrote into one run at the same time, from 1.
        rank: Of the process.
    """

    number: int
    rank: int


def part_of(folder: str) -> Part | None:
    """Read the name of a folder; None if it is not one of ours."""
    match = _PART.fullmatch(folder)
    return None if match is None else Part(int(match[1] or 1), int(match[2] or 0))


def numbered_folder(folder: str, number: int) -> str:
    """Return the name of the folder that takes the place of ``folder`` for a later callback."""
    return folder if number == 1 else f"{RUN_FOLDER}_{number}" + folder.removeprefix(RUN_FOLDER)


# --- statistics ---------------------------------------------------------------------------------


# What a statistic may need: an optimizer may have none of it at all, or a step may lack it.
Need = Literal[
    "gradient",
    "previous step",  # a state that the optimizer had before the step
    "step count",
    "update",  # the one that was asked for, of each element
    "normalization",  # that √v̂ is what the update is divided by
    "eps",
    "exp_avg",
    "exp_avg decay",  # each step decays it by one factor and adds its share of the gradient
    "mean of gradients",
    "rounded exp_avg",  # stored in less than float32
    "exp_avg_sq",
    "exp_avg_sq decay",
    "mean of squares",  # of gradients, with weights that add up to one
    "rounded exp_avg_sq",
    "stored exp_avg_sq",  # as such, and not made of something smaller
    "shrinking exp_avg_sq",  # where gradients are zero
    "elements of exp_avg_sq",  # that are those of the weight
    "exp_avg_sq of 0",
]


@dataclass(frozen=True, slots=True)
class Statistic:
    """One column of the statistics matrix.

    Attributes:
        name: What the column is called on the wire.
        label: What the tab calls it.
        scale: The axis that suits it: ``log`` (positive, over decades), ``fraction`` (0 to 1),
            ``cosine`` (-1 to 1) or ``count``.
        description: The formula in words. Moments are read after the step; the gradient is the one
            the step consumed.
        needs: What it cannot be computed without: where an optimizer or a step lacks one of these,
            it is not known.
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
        "unchanged_fraction", "weight unchanged", "fraction", "share that the step left as it was"
    ),
    Statistic(
        "lost_update_fraction",
        "update lost to rounding",
        "fraction",
        "share of the requested changes, Δw ≠ 0 by the formula, that left the weight as it was",
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
        "what storing m in less than float32 changed at this step, relative to m",
        needs=("gradient", "exp_avg", "exp_avg decay", "previous step", "rounded exp_avg"),
    ),
    Statistic(
        "exp_avg_sq_rounding_error",
        "rounding error of exp_avg_sq",
        "log",
        "what storing v in less than float32 changed at this step, relative to v",
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
        "weight decay against update",
        needs=("gradient", "update"),
    ),
    Statistic("update_weight_cosine", "cos(update, weight)", "cosine", "cosine of Δw and w before"),
    Statistic(
        "nonfinite_count",
        "NaN or infinite",
        "count",
        "elements that are not finite in w, g, m or v, added up",
    ),
    Statistic(
        "state_step",
        "steps of the state",
        "count",
        "steps that the optimizer's state has counted",
        needs=("step count",),
    ),
    Statistic(
        "update_rms_standard_error",
        "sampling error of update",
        "fraction",
        "relative standard error of the update RMS; 0 where every element is read",
    ),
)
STATISTIC_BY_NAME: Mapping[str, Statistic] = {s.name: s for s in STATISTICS}


# --- histograms ---------------------------------------------------------------------------------

BINS = 512
BINS_PER_OCTAVE = 4
SPECIAL = ("zero", "subnormal", "negative_infinity", "positive_infinity", "nan")


@dataclass(frozen=True, slots=True)
class Quantity:
    """A histogrammed quantity and its fixed bins.

    A bin is the set of float32 values that share sign, binary exponent and the top two mantissa
    bits: 4 bins an octave, each with edges ``2^e · {1, 1.25, 1.5, 1.75, 2}``. Signed quantities
    have 64 octaves on each side of zero, unsigned ones 128 octaves. Values beyond the window fall
    into the nearest end bin. No bin depends on the data, so that histograms of any steps,
    parameters, runs and ranks can be compared and added.

    Attributes:
        name: The quantity.
        signed: Whether negative values have bins of their own.
        lowest_exponent: ``2 ** lowest_exponent`` is the smallest magnitude of the window.
    """

    name: str
    signed: bool
    lowest_exponent: int


# exp_avg_sq has the square of the others' window, 2^-52 to 2^12.
QUANTITIES: tuple[Quantity, ...] = (
    Quantity("exp_avg", True, -52),
    Quantity("exp_avg_sq", False, -104),
    Quantity("update", True, -52),
    Quantity("weight", True, -52),
    Quantity("gradient", True, -52),
)
# Those that a run records only if asked to.
OPTIONAL_QUANTITIES: tuple[Quantity, ...] = (Quantity("normalized_update", True, -52),)


def state_quantity(key: str) -> Quantity:
    """Return the quantity of a tensor that an optimizer keeps under a key of its own."""
    taken = any(key == quantity.name for quantity in (*QUANTITIES, *OPTIONAL_QUANTITIES))
    return Quantity(f"{key} (state)" if taken else key, True, -52)


def bin_edges(quantity: Quantity) -> npt.NDArray[np.float64]:
    """Return the ``BINS + 1`` ascending edges of a quantity's bins.

    Bin ``i`` is ``[edges[i], edges[i+1])`` for positive values and, mirrored,
    ``(edges[i], edges[i+1]]`` for negative ones. The innermost bins reach to 0 and the outermost
    ones to infinity in what they hold; the edges returned there are those of the window, with 0 in
    the middle of a signed quantity and at the start of an unsigned one.
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
    """Count float values into the bins of ``quantity``: the definition of a histogram.

    Args:
        values: Any shape; converted to float32, as the training side does.
        quantity: Which bins. The sign of an unsigned quantity's values is ignored.

    Returns:
        int64 ``[BINS + len(SPECIAL)]``: the bins in ascending order of value, then the counts of
        :data:`SPECIAL`, which are in no bin. "Subnormal" means of float32.
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


# A block holds the histograms of one parameter, or of several (Layout.parameters_per_block): one
# byte, 16 plus the width of the largest count in bytes, then a zlib stream. In that, little-endian:
# for every histogram a bit for every count, in the order of the wire and the first count in the
# highest bit, that says whether it is not 0; then of all counts that are not 0 the lowest bytes,
# then the next ones, up to the width.
#
# Version 1 has blocks of one parameter whose first byte is the width alone. Their stream has for
# every quantity the first bin and the number of bins that are stored (two uint16); then for every
# quantity its special counts followed by the stored bins. Bins outside the range are empty.
_SPARSE = 16
_WIDTHS = (1, 2, 4, 8)
_COUNTS = BINS + len(SPECIAL)
_BITMAP = -(-_COUNTS // 8)
_MOST_QUANTITIES = 64  # these two bound what a bad block costs
MOST_PARAMETERS_PER_BLOCK = 64


# What is packed together: of more, what is made on the way would be larger than the result.
_BLOCKS_AT_ONCE = 16
_PARAMETERS_AT_ONCE = 128


@dataclass(frozen=True, slots=True)
class SparseHistograms:
    """Histograms of several parameters without their empty bins: a fraction of the memory.

    Attributes:
        bitmaps: Which counts are not 0, uint8 ``[parameters, quantities, bytes]``: a bit for each,
            the first one in the highest bit.
        values: Those counts, one after the other, integer ``[n]``.
        lengths: How many of them each parameter has, int64 ``[parameters]``.
    """

    bitmaps: npt.NDArray[np.uint8]
    values: npt.NDArray[np.integer[Any]]
    lengths: npt.NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, int, int]:
        """As of :meth:`dense`."""
        parameters, quantities, _ = self.bitmaps.shape
        return parameters, quantities, _COUNTS

    @staticmethod
    def of(counts: npt.NDArray[np.integer[Any]]) -> SparseHistograms:
        """Leave the empty bins out.

        Args:
            counts: Integer ``[parameters, quantities, BINS + len(SPECIAL)]``, none negative.
        """
        return SparseHistograms.joined(
            [
                _without_empty_bins(counts[first : first + _PARAMETERS_AT_ONCE])
                for first in range(0, max(1, len(counts)), _PARAMETERS_AT_ONCE)
            ]
        )

    @staticmethod
    def joined(parts: Sequence[SparseHistograms]) -> SparseHistograms:
        """Put those of several parameters after one another; at least one part."""
        if len(parts) == 1:
            return parts[0]
        return SparseHistograms(
            np.concatenate([part.bitmaps for part in parts]),
            np.concatenate([part.values for part in parts]),
            np.concatenate([part.lengths for part in parts]),
        )

    def take(self, order: npt.NDArray[np.integer[Any]]) -> SparseHistograms:
        """Return the histograms of some parameters, by their indices."""
        of_parameter = np.split(self.values, np.cumsum(self.lengths)[:-1])
        values = [of_parameter[i] for i in order.tolist()]
        return SparseHistograms(
            self.bitmaps[order],
            np.concatenate([self.values[:0], *values]),
            self.lengths[order],
        )

    def dense(self) -> npt.NDArray[np.integer[Any]]:
        """Return all counts, integer ``[parameters, quantities, BINS + len(SPECIAL)]``."""
        counts = np.zeros(self.shape, self.values.dtype)
        counts[np.unpackbits(self.bitmaps, axis=2, count=_COUNTS).view(bool)] = self.values
        return counts


def _without_empty_bins(counts: npt.NDArray[np.integer[Any]]) -> SparseHistograms:
    used = counts != 0
    places = np.flatnonzero(used)
    firsts = np.arange(len(counts) + 1) * math.prod(counts.shape[1:])
    return SparseHistograms(
        np.packbits(used, axis=2), counts.ravel()[places], np.diff(np.searchsorted(places, firsts))
    )


def encode_histograms(
    counts: npt.NDArray[np.integer[Any]] | SparseHistograms, parameters_per_block: int = 1
) -> list[bytes]:
    """Pack the histograms of several parameters.

    Args:
        counts: Integer ``[parameters, quantities, BINS + len(SPECIAL)]``, none negative; or the
            same without empty bins.
        parameters_per_block: How many share a block, of which the last one may have fewer.

    Returns:
        The blocks, as stored in their histograms tags.
    """
    if not isinstance(counts, SparseHistograms):
        counts = SparseHistograms.of(counts)
    blocks: list[bytes] = []
    at_once = _BLOCKS_AT_ONCE * parameters_per_block
    start = 0
    for first in range(0, len(counts.lengths), at_once):
        lengths = counts.lengths[first : first + at_once]
        end = start + int(lengths.sum())
        blocks += _encoded(
            SparseHistograms(
                counts.bitmaps[first : first + at_once], counts.values[start:end], lengths
            ),
            parameters_per_block,
        )
        start = end
    return blocks


def _encoded(counts: SparseHistograms, parameters_per_block: int) -> list[bytes]:
    values = counts.values
    firsts = range(0, len(counts.lengths), parameters_per_block)
    size = values.dtype.itemsize
    planes = np.ascontiguousarray(values.astype(f"<u{size}").view(np.uint8).reshape(-1, size).T)
    blocks = []
    start = 0
    for first, length in zip(
        firsts, np.add.reduceat(counts.lengths, list(firsts)).tolist(), strict=True
    ):
        end = start + length
        largest = int(values[start:end].max(initial=0))
        width = next(w for w in _WIDTHS if largest < 1 << (8 * w))
        # Runs are what there is to find in it, and looking for nothing else is faster.
        compressor = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, 6, zlib.Z_RLE)
        parts = [
            bytes([_SPARSE + width]),
            compressor.compress(counts.bitmaps[first : first + parameters_per_block].tobytes()),
            compressor.compress(planes[:width, start:end].tobytes()),
            compressor.flush(),
        ]
        blocks.append(b"".join(parts))
        start = end
    return blocks


def decode_histograms(block: bytes, quantities: int, parameters: int = 1) -> npt.NDArray[np.int64]:
    """Unpack one block.

    Args:
        block: As stored.
        quantities: How many a parameter has.
        parameters: How many share the block.

    Returns:
        int64 ``[parameters * quantities, BINS + len(SPECIAL)]``.

    Raises:
        FormatError: If the block is damaged or holds another number of histograms.
    """
    kind = block[0] if len(block) > 1 else 0
    is_sparse = kind > _SPARSE
    width = kind - _SPARSE if is_sparse else kind
    if (
        width not in _WIDTHS
        or not 0 <= quantities <= _MOST_QUANTITIES
        or not 1 <= parameters <= (MOST_PARAMETERS_PER_BLOCK if is_sparse else 1)
    ):
        raise FormatError(f"not a histogram block: {len(block)} bytes starting {block[:4]!r}")
    histograms = quantities * parameters
    decompressor = zlib.decompressobj()
    try:
        # Longer than a block of either kind can be; with a length of 0 it would be unlimited.
        data = decompressor.decompress(block[1:], 1 + histograms * (_BITMAP + 8 * _COUNTS))
    except zlib.error as error:
        raise FormatError(f"damaged histogram block: {error}") from error
    if not decompressor.eof:
        raise FormatError("damaged histogram block: it ends early or is too long")
    return (_decode_sparse if is_sparse else _decode_ranges)(data, width, histograms)


def _decode_sparse(data: bytes, width: int, histograms: int) -> Counts:
    header = _BITMAP * histograms
    if len(data) < header:
        raise FormatError(f"histogram block of {len(data)} bytes, expected at least {header}")
    bitmaps = np.frombuffer(data, np.uint8, header).reshape(histograms, _BITMAP)
    bits = np.unpackbits(bitmaps, axis=1).astype(bool)
    used = bits[:, :_COUNTS]
    stored = int(used.sum())
    expected = header + width * stored
    if len(data) != expected or bits[:, _COUNTS:].any():
        raise FormatError(f"histogram block of {len(data)} bytes, expected {expected}")
    planes = np.zeros((8, stored), np.uint8)
    planes[:width] = np.frombuffer(data, np.uint8, offset=header).reshape(width, stored)
    counts = np.zeros((histograms, _COUNTS), np.int64)
    counts[used] = np.ascontiguousarray(planes.T).view("<i8")[:, 0]
    if (counts < 0).any():
        raise FormatError("damaged histogram block: a count is beyond 2^63")
    return counts


def _decode_ranges(data: bytes, width: int, quantities: int) -> Counts:
    """Read what version 1 stores."""
    header = 4 * quantities
    if len(data) < header:
        raise FormatError(f"histogram block of {len(data)} bytes, expected at least {header}")
    ranges = np.frombuffer(data, "<u2", 2 * quantities).reshape(quantities, 2).astype(int)
    expected = header + width * int(ranges[:, 1].sum() + quantities * len(SPECIAL))
    if len(data) != expected or (ranges.sum(axis=1) > BINS).any():
        raise FormatError(f"histogram block of {len(data)} bytes, expected {expected}")
    values = np.frombuffer(data, f"<u{width}", offset=header).astype(np.int64)
    if (values < 0).any():
        raise FormatError("damaged histogram block: a count is beyond 2^63")
    counts = np.zeros((quantities, BINS + len(SPECIAL)), np.int64)
    at = 0
    for q, (first, length) in enumerate(ranges.tolist()):
        counts[q, BINS:] = values[at : at + len(SPECIAL)]
        at += len(SPECIAL)
        counts[q, first : first + length] = values[at : at + length]
        at += length
    return counts


# --- layouts ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Parameter:
    """One row: a parameter tensor that the optimizer updates.

    Attributes:
        name: As ``model.named_parameters()`` says it.
        shape: Of the whole tensor.
        dtype: Of the weight, without ``torch.``.
        elements_read: How many elements the histograms and the sampled statistics cover; equal to
            :attr:`elements` where every one is read.
        group: Index into :attr:`Layout.groups`.
        module: Class name of the module that it belongs to, as ``Embedding``; "" if unknown.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    elements_read: int
    group: int
    module: str = ""

    @property
    def elements(self) -> int:
        """Number of elements of the whole tensor."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Group:
    """One parameter group of the optimizer.

    Attributes:
        optimizer: Class name, as ``AdamW``.
        options: Settings that are no numbers over time: ``amsgrad``, ``maximize``,
            ``decoupled_weight_decay``, ``foreach``, ``fused``, ``capturable`` …
        undefined: Statistics and quantities that this optimizer does not have. Their cells are NaN.
        meanings: What a quantity is in this optimizer where its name alone would mislead.
        storage: In what types the tensors of the state are stored, by quantity; several are joined
            by commas.
    """

    optimizer: str
    options: Mapping[str, Option]
    undefined: tuple[str, ...] = ()
    meanings: Mapping[str, str] = field(default_factory=dict)
    storage: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unoptimized:
    """A parameter of the model that no group holds, so that no step of the optimizer changes it.

    Attributes:
        name: In the model.
        shape: Of the whole parameter.
        trainable: Whether it requires a gradient.
        other_optimizer: Class name of another optimizer that holds it; "" if none was found.
    """

    name: str
    shape: tuple[int, ...]
    trainable: bool
    other_optimizer: str = ""


@dataclass(frozen=True)  # no slots: what is derived from it is computed once
class Layout:
    """What the rows and columns of the statistics, and the histograms, are.

    Attributes:
        parameters: Rows.
        groups: Of the optimizer.
        statistics: Columns, by name.
        quantities: Of which there are histograms.
        unoptimized: What no step changes.
        parameters_per_block: How many parameters, one after the other, share a histograms tag.
    """

    parameters: tuple[Parameter, ...]
    groups: tuple[Group, ...]
    statistics: tuple[str, ...]
    quantities: tuple[Quantity, ...]
    unoptimized: tuple[Unoptimized, ...] = ()
    parameters_per_block: int = 1

    def content(self) -> bytes:
        """Return the layout as canonical JSON."""
        return self._content

    @cached_property
    def id(self) -> str:
        """The layout's name within tags: a hash of its content."""
        return short_hash(self._content)

    @cached_property
    def _content(self) -> bytes:
        return _canonical(
            {
                "version": VERSION,
                "parameters": [
                    [p.name, list(p.shape), p.dtype, p.elements_read, p.group]
                    for p in self.parameters
                ],
                "groups": [
                    [
                        g.optimizer,
                        dict(g.options),
                        list(g.undefined),
                        dict(g.meanings),
                        dict(g.storage),
                    ]
                    for g in self.groups
                ],
                "statistics": list(self.statistics),
                "quantities": [[q.name, q.signed, q.lowest_exponent] for q in self.quantities],
                "unoptimized": [[u.name, list(u.shape), u.trainable] for u in self.unoptimized],
                "parameters_per_block": self.parameters_per_block,
                **(
                    {"modules": modules}
                    if any(modules := [p.module for p in self.parameters])
                    else {}
                ),
                **(
                    {"other_optimizers": others}
                    if any(others := [u.other_optimizer for u in self.unoptimized])
                    else {}
                ),
            }
        )

    @cached_property
    def _histogram_tags(self) -> list[tuple[str, bytes]]:
        """Tag and content of each block."""
        quantities = tuple(q.name for q in self.quantities)
        names = [p.name for p in self.parameters]
        return [
            (
                str(Tag("histograms", self.id, i)),
                HistogramSource(
                    tuple(names[first : first + self.parameters_per_block]), quantities
                ).content(),
            )
            for i, first in enumerate(range(0, len(names), self.parameters_per_block))
        ]

    def block_of(self, row: int) -> tuple[int, int, int]:
        """Say where the histograms of a parameter are stored.

        Args:
            row: Of the parameter.

        Returns:
            The block, the place of the parameter in it, and how many parameters share it.
        """
        block, place = divmod(row, self.parameters_per_block)
        first = block * self.parameters_per_block
        return block, place, min(self.parameters_per_block, len(self.parameters) - first)

    @staticmethod
    def from_content(content: bytes) -> Layout:
        """Read a layout from the content of its tag.

        Raises:
            NewerVersionError: If a newer version wrote it.
            FormatError: If it is no layout.
        """
        fields = _read_content(content)
        try:
            modules = fields.get("modules") or [""] * len(fields["parameters"])
            others = fields.get("other_optimizers") or [""] * len(fields["unoptimized"])
            layout = Layout(
                tuple(
                    Parameter(
                        str(name), _shape(shape), str(dtype), int(read), int(group), str(module)
                    )
                    for (name, shape, dtype, read, group), module in zip(
                        fields["parameters"], modules, strict=True
                    )
                ),
                tuple(
                    Group(
                        str(optimizer),
                        _options(options),
                        tuple(map(str, undefined)),
                        _texts(meanings),
                        _texts(storage),
                    )
                    for optimizer, options, undefined, meanings, storage in fields["groups"]
                ),
                tuple(map(str, fields["statistics"])),
                tuple(
                    Quantity(str(name), bool(signed), int(lowest))
                    for name, signed, lowest in fields["quantities"]
                ),
                tuple(
                    Unoptimized(str(name), _shape(shape), bool(trainable), str(other))
                    for (name, shape, trainable), other in zip(
                        fields["unoptimized"], others, strict=True
                    )
                ),
                int(fields.get("parameters_per_block", 1)),  # version 1 has none
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise FormatError(f"not a layout: {error!r}") from error
        if any(not 0 <= p.group < len(layout.groups) for p in layout.parameters):
            raise FormatError("not a layout: a parameter names a group that does not exist")
        if any(not 0 <= p.elements_read <= _MOST_ELEMENTS for p in layout.parameters):
            raise FormatError("not a layout: a number of elements that are read is out of range")
        for named in (layout.parameters, layout.quantities):
            if len({item.name for item in named}) < len(named):
                raise FormatError("not a layout: a name stands for two parameters or quantities")
        if not 1 <= layout.parameters_per_block <= MOST_PARAMETERS_PER_BLOCK:
            raise FormatError("not a layout: the number of parameters in a block is wrong")
        if any(abs(q.lowest_exponent) > 150 for q in layout.quantities):
            raise FormatError("not a layout: a quantity's bins lie outside float32")
        return layout


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of a matrix's columns."""

    names: tuple[str, ...]

    def content(self) -> bytes:
        """Return the names as canonical JSON."""
        return _canonical({"version": VERSION, "columns": list(self.names)})

    @property
    def id(self) -> str:
        """A hash of the content."""
        return short_hash(self.content())

    @staticmethod
    def from_content(content: bytes) -> Columns:
        """Read the names from the content of a tag.

        Raises:
            NewerVersionError: If a newer version wrote it.
            FormatError: If there are no names in it.
        """
        names = _read_content(content).get("columns")
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            raise FormatError("the content names no columns")
        return Columns(tuple(names))


HYPERPARAMETERS = Columns(("lr", "beta1", "beta2", "eps", "weight_decay"))

# One row for every optimizer step. Scalars that the user records follow these columns by name.
#   wall_time              seconds since the epoch, at the end of the step
#   gradient_norm          L2 norm over all parameters; NaN when switched off
#   lr                     of the first parameter group, as this step used it
#   callback_milliseconds  what the callback cost this step, the writing of the step before included
#   dropped_records        records given up so far because the disk did not keep up
#   skipped_steps          steps so far that a gradient scaler made the optimizer leave out
#   every_n_steps          interval of the records, which max_overhead may have lengthened
STEP_COLUMNS = (
    "step",
    "wall_time",
    "gradient_norm",
    "lr",
    "callback_milliseconds",
    "dropped_records",
    "skipped_steps",
    "every_n_steps",
)
# Columns that are there where there is something to record, among the user's.
#   gain_ratio             change of the loss on the same batch over Σ g·Δw, at recorded steps
#   stale_gradient_ratio   norm of what .grad still held over that of the gradient that came, of one
#                          parameter; the smallest since the step before
#   wanted_every_n_steps   what every_n_steps would be without max_overhead
#   max_overhead           largest share of the training time that recording may take
#   gradient_norm_every_n_steps
#                          where gradient_norm is known at multiples of this and at records alone
OPTIONAL_STEP_COLUMNS = (
    "gain_ratio",
    "stale_gradient_ratio",
    "wanted_every_n_steps",
    "max_overhead",
    "gradient_norm_every_n_steps",
)


@dataclass(frozen=True, slots=True)
class HistogramSource:
    """Which parameters a histograms tag belongs to, for readers that see no layout."""

    parameters: tuple[str, ...]
    quantities: tuple[str, ...]

    def content(self) -> bytes:
        """Return the fields as canonical JSON."""
        return _canonical(
            {
                "version": VERSION,
                "parameters": list(self.parameters),
                "quantities": list(self.quantities),
            }
        )


# --- tags ---------------------------------------------------------------------------------------

Kind = Literal["statistics", "hyperparameters", "histograms", "steps", "gradient_norms"]
_KINDS: tuple[Kind, ...] = get_args(Kind)


class Tag(NamedTuple):
    """The parts of a tag.

    Attributes:
        kind: What the tensor is.
        id: The layout's id; for ``steps`` and ``gradient_norms`` that of the columns.
        row: Index of the block of the layout's parameters, for ``histograms``; else None.
    """

    kind: Kind
    id: str
    row: int | None = None  # not "index", which a tuple has already

    def __str__(self) -> str:
        """Return the tag as it is written."""
        end = "" if self.row is None else f"/{self.row}"
        return f"{PLUGIN_NAME}/{self.kind}/{self.id}{end}"


def parse_tag(tag: str) -> Tag | None:
    """Split a tag, or return None if it is not one of ours."""
    parts = tag.split("/")
    if len(parts) not in (3, 4) or parts[0] != PLUGIN_NAME:
        return None
    kind = next((k for k in _KINDS if k == parts[1]), None)
    indexed = len(parts) == 4
    if kind is None or indexed != (kind == "histograms") or not parts[2]:
        return None
    if not indexed:
        return Tag(kind, parts[2])
    digits = parts[3]
    if not (digits.isascii() and digits.isdigit() and len(digits) < 8):
        return None
    return Tag(kind, parts[2], int(digits))


# --- one event's worth --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TaggedTensor:
    """One summary: what :mod:`tb_adam_plugin.callback.write.event_log` writes.

    Attributes:
        tag: Where it belongs.
        tensor: float32, float64 or uint8; the shape that :mod:`tb_adam_plugin.schema` lists.
        content: For the first summary of the tag in a file.
    """

    tag: str
    tensor: npt.NDArray[Any]
    content: bytes


def statistics_tensor(layout: Layout, values: npt.NDArray[np.float32]) -> TaggedTensor:
    """Wrap the statistics of one step, float32 ``[parameters, statistics]``."""
    expected = (len(layout.parameters), len(layout.statistics))
    tag = str(Tag("statistics", layout.id))
    return TaggedTensor(tag, _checked(values, "<f4", expected), layout.content())


def hyperparameters_tensor(
    layout: Layout, values: npt.NDArray[np.float64], columns: Columns = HYPERPARAMETERS
) -> TaggedTensor:
    """Wrap the hyperparameters of one step, float64 ``[groups, columns]``."""
    expected = (len(layout.groups), len(columns.names))
    tag = str(Tag("hyperparameters", layout.id))
    return TaggedTensor(tag, _checked(values, "<f8", expected), columns.content())


def steps_tensor(columns: Columns, rows: npt.NDArray[np.float64]) -> TaggedTensor:
    """Wrap the rows of the steps since the last record, float64 ``[steps, columns]``."""
    tag = str(Tag("steps", columns.id))
    return TaggedTensor(
        tag, _checked(rows, "<f8", (len(rows), len(columns.names))), columns.content()
    )


def gradient_norms_tensor(
    names: Sequence[str], steps: npt.NDArray[np.int64], norms: npt.NDArray[np.float64]
) -> TaggedTensor:
    """Wrap the gradient norms of the steps around an event, one row a step.

    Args:
        names: Of the parameters.
        steps: Step numbers, int64 ``[steps]``.
        norms: L2 norm of each parameter's gradient, float64 ``[steps, parameters]``.
    """
    columns = Columns(("step", *names))
    table = np.concatenate([steps[:, None].astype(np.float64), norms], axis=1)
    tag = str(Tag("gradient_norms", columns.id))
    return TaggedTensor(
        tag, _checked(table, "<f8", (len(steps), 1 + len(names))), columns.content()
    )


def histogram_tensors(
    layout: Layout, counts: npt.NDArray[np.integer[Any]] | SparseHistograms
) -> list[TaggedTensor]:
    """Wrap one step's histograms.

    Args:
        layout: Whose.
        counts: Integer ``[parameters, quantities, BINS + len(SPECIAL)]``, none negative; or the
            same without empty bins.
    """
    expected = (len(layout.parameters), len(layout.quantities), BINS + len(SPECIAL))
    if counts.shape != expected:
        raise ValueError(f"expected an array of shape {expected}, got {counts.shape}")
    blocks = encode_histograms(counts, layout.parameters_per_block)
    return [
        TaggedTensor(tag, np.frombuffer(block, np.uint8), content)
        for (tag, content), block in zip(layout._histogram_tags, blocks, strict=True)
    ]


def short_hash(content: bytes) -> str:
    """Return 10 hexadecimal digits that identify ``content``."""
    return hashlib.sha256(content).hexdigest()[:10]


def _checked(array: npt.NDArray[Any], dtype: str, shape: Sequence[int]) -> npt.NDArray[Any]:
    if array.shape != tuple(shape):
        raise ValueError(f"expected an array of shape {tuple(shape)}, got {array.shape}")
    return np.ascontiguousarray(array, dtype=dtype)


def _canonical(value: object) -> bytes:
    text = json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


def _read_content(content: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"content is not JSON: {error}") from error
    version = fields.get("version") if isinstance(fields, dict) else None
    if type(version) is not int:
        raise FormatError("content has no version")
    if version > VERSION:
        raise NewerVersionError(
            f"written by format version {version}, this reader knows up to {VERSION}: "
            "update tb-adam-plugin"
        )
    assert isinstance(fields, dict)
    return fields


def _options(value: Any) -> dict[str, Option]:
    options = dict(value)
    for name, option in options.items():
        if not isinstance(name, str) or not isinstance(option, Option):
            raise TypeError(f"option {name!r} is {option!r}")
    return options


def _texts(value: Any) -> dict[str, str]:
    return {str(name): str(text) for name, text in dict(value).items()}


def _shape(value: Any) -> tuple[int, ...]:
    shape = tuple(int(n) for n in value)
    elements = 1
    for n in shape:
        if n < 0:
            raise ValueError(f"negative size {n} in a shape")
        elements *= n
        if elements > _MOST_ELEMENTS:  # looked at with each size: the product stays short
            raise ValueError("a shape of 2^63 elements or more")
    return shape
