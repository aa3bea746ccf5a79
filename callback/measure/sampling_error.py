"""How far the update RMS of a sample is from that of the whole parameter.

Of the update only a sample is read. Of the gradient and of exp_avg the sums over all elements are
known, too, and where these are large the update mostly is. So Σd² of the sample's rows is regressed
on their Σg² and Σm² (Cochran, Sampling Techniques, 3rd ed., chapter 7: the regression estimator):
how far the sample's g² and m² are from the whole's says how far its d² is. What the regression
leaves over is the noise of that. Its variance is a jackknife's: a row's residual is that from the
regression through the other rows, ``residual / (1 - leverage)``, so that a row which alone decides
a slope vouches for nothing (Hinkley, Jackknifing in unbalanced situations, 1977).

The standard error is relative to the RMS of the whole parameter as the regression estimates it. It
is NaN where the sample cannot tell.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from tb_adam_plugin.arrays import Flags, Float64s

from .row_value_table import TINY

_Number = TypeVar("_Number", bound=np.generic)
# What is known of each row: that of the update, then what it is regressed on.
SQUARES = ("d²", "g²", "m²")
REGRESSORS = SQUARES[1:]
# That leaves five degrees of freedom, with which two standard errors still cover 90 %.
_LEAST_ROWS = 8
# Relative errors above this are no errors any more: the sample cannot tell.
_LARGEST_NOISE = 0.5
# Squared distance of two regressors from one line, in that of each: their sums are of float32.
_COLLINEAR = 1e-5
# Likewise the squared variation of one that is the same in all rows.
_CONSTANT = 1e-11
# Leverage that leaves no other row to check one with.
_LARGEST_LEVERAGE = 1 - 1e-6
# How far apart two estimates may be of the same thing.
_SAME = 0.01
# Variance of the rows over their squared mean, where nothing says what the other rows have.
_LARGEST_VARIATION = 1.0


class SampledRows(NamedTuple):
    """The rows that are read of the ``S`` parameters that are sampled, one after the other.

    Attributes:
        parameters: Their indices, ascending, int64 ``[S]``.
        squares: :data:`SQUARES` of each row, float64 ``[len(SQUARES), rows]``.
        first_rows: Where those of each parameter begin, int64 ``[S]``.
        row_elements: Elements of each row without its padding, int64 ``[rows]``.
    """

    parameters: npt.NDArray[np.int64]
    squares: Float64s
    first_rows: npt.NDArray[np.int64]
    row_elements: npt.NDArray[np.int64]


class _Segments:
    """Rows of several parameters: sums over those of each, and values spread over them."""

    def __init__(self, first_rows: npt.NDArray[np.int64], rows: int) -> None:
        self._first_rows = first_rows
        self.rows = np.diff(np.append(first_rows, rows))

    def sums(self, of_rows: npt.NDArray[Any]) -> Float64s:
        added: Float64s = np.add.reduceat(of_rows, self._first_rows, axis=-1)
        return added

    def largest(self, of_rows: Float64s) -> Float64s:
        found: Float64s = np.maximum.reduceat(of_rows, self._first_rows, axis=-1)
        return found

    def spread(self, of_parameters: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
        return np.repeat(of_parameters, self.rows, axis=-1)


class _Regressors(NamedTuple):
    """What the rows' Σd² are regressed on, in units of the sample's mean.

    Attributes:
        deviations: Of each row from what a row of its length has, ``[len(REGRESSORS), rows]``; 0
            for one that is left out.
        gaps: How far the mean of all elements is from the sample's, ``[len(REGRESSORS), S]``.
        inverse: Of the matrix of the sums of products: its diagonal, then what is beside it,
            ``[3, S]``.
        missed: Whether the sample has not seen what the whole parameter has, ``[S]``.
        any: Whether any is left, ``[S]``.
    """

    deviations: Float64s
    gaps: Float64s
    inverse: Float64s
    missed: Flags
    any: Flags


def relative_errors(
    rows: SampledRows, exact: Float64s, elements: npt.NDArray[np.int64]
) -> Float64s:
    """Return the relative standard error of the update RMS, ``[S]``; NaN where it is not known.

    Where nothing was updated in the sample it is 0 if nothing could be, without any gradient and
    exp_avg, else NaN.

    Args:
        rows: Of ``S`` parameters, each with a row.
        exact: Sums over all elements, of :data:`REGRESSORS`, ``[len(REGRESSORS), S]``.
        elements: Of the whole parameters, ``[S]``.
    """
    if not len(rows.parameters):
        return np.zeros(0)
    segments = _Segments(rows.first_rows, rows.squares.shape[1])
    with np.errstate(all="ignore"):
        read = segments.sums(rows.row_elements).astype(np.float64)
        # Rows are compared by what one of average length would have; only the last may be shorter.
        lengths = rows.row_elements * segments.spread(segments.rows / read)
        means = segments.sums(rows.squares) / segments.rows
        relative = rows.squares / segments.spread(np.where(means > 0, means, 1.0))
        deviations = relative - segments.spread((means > 0).astype(np.float64)) * lengths
        of_all = exact / elements * read / segments.rows
        found = _regressors(segments, deviations[1:], means[1:], of_all)
        errors = _errors(segments, deviations[0], found, 1 - read / elements)
        variation = segments.sums(deviations[0] ** 2) / segments.rows
        errors[~found.any & (variation > _LARGEST_VARIATION)] = np.nan
        is_still = means[0] == 0
        could_move = (exact != 0).any(0)  # what is not known could, too
        return np.where(is_still, np.where(could_move, np.nan, 0.0), errors)


def _regressors(
    segments: _Segments, deviations: Float64s, means: Float64s, of_all: Float64s
) -> _Regressors:
    """Choose what the update can be regressed on: nothing, one, or both.

    Args:
        segments: Of the rows.
        deviations: ``[len(REGRESSORS), rows]``.
        means: Of a row of the sample, ``[len(REGRESSORS), S]``.
        of_all: Of a row's length of all elements.
    """
    # Smaller squares than these are lost in float32; what is not finite is not known.
    known = np.isfinite(means) & np.isfinite(of_all) & (of_all > TINY)
    gaps = np.where(known & (means > 0), of_all / means - 1, 0.0)
    squares = segments.sums(deviations**2)
    varies = known & (squares > _CONSTANT * segments.rows)
    # Without spread no slope: then the sample must have as much as the whole parameter.
    missed = (known & ((means <= 0) | (~varies & (np.abs(gaps) > _SAME)))).any(0)
    used = np.where(segments.spread(varies), deviations, 0.0)
    x, z = used
    (xx, zz), xz = np.where(varies, squares, 0.0), segments.sums(x * z)
    determinant = xx * zz - xz**2
    both = np.all(varies, 0) & (determinant > _COLLINEAR * xx * zz)
    # Of two that say the same the first one is enough, if they say it of the whole, too.
    same = np.all(varies, 0) & ~both
    missed |= same & ~(np.abs(gaps[1] - xz / xx * gaps[0]) <= _SAME)
    only = np.array([varies[0] & ~both, varies[1] & ~varies[0]])
    inverse = np.where(
        both,
        np.array([zz, xx, -xz]) / determinant,
        np.where([*only, np.zeros_like(both)], 1 / np.array([xx, zz, zz]), 0.0),
    )
    return _Regressors(used, gaps, inverse, missed, np.any(varies, 0))


def _errors(segments: _Segments, update: Float64s, on: _Regressors, unread: Float64s) -> Float64s:
    """Return the errors as the regression tells them, ``[S]``.

    Args:
        segments: Of the rows.
        update: Deviations of their Σd², ``[rows]``.
        on: What it is regressed on.
        unread: Share of the elements that are not read, ``[S]``.
    """
    x, z = on.deviations
    first, second, mixed = segments.spread(on.inverse)
    solved = np.array([first * x + mixed * z, mixed * x + second * z])
    slopes = segments.sums(solved * update)
    residuals = update - (segments.spread(slopes) * on.deviations).sum(0)
    share = segments.spread(1 / segments.rows)
    leverages = share + (solved * on.deviations).sum(0)
    weights = share + (solved * segments.spread(on.gaps)).sum(0)
    variance = unread * segments.sums((weights * residuals / (1 - leverages)) ** 2)
    whole = 1 + (slopes * on.gaps).sum(0)  # mean d² of all elements, by that of the sample
    noise = 0.5 * np.sqrt(variance) / whole
    errors: Float64s = np.hypot(np.sqrt(1 / whole) - 1, noise)
    tells = (
        ~on.missed
        & (whole > 0)
        & (noise <= _LARGEST_NOISE)
        & (segments.largest(leverages) < _LARGEST_LEVERAGE)
    )
    errors[~tells | (segments.rows < _LEAST_ROWS)] = np.nan
    return errors
