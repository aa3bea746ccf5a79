"""Which of two runs did better, from which step on, beyond the noise of their losses.

Losses are averaged over windows of steps, the same ones for both runs. The variation of the loss
around a line within a window gives the standard error of its average. One run is ahead in a window
if the averages of this window and its neighbours differ by several standard errors, and by more
than runs that only differ in their seed: these differ as if one had made a few more steps, so by
the change of the loss within a third of the previous steps; in any case by a small share of the
loss; and by as much as runs with the same settings did differ, if there are any.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from tb_adam_plugin.arrays import Flags, Float64s
from tb_adam_plugin.diagnosis.engine.blowup import is_loss_nan
from tb_adam_plugin.diagnosis.engine.signals import Signals

# Number of windows, and least number of losses in each: fewer say little about their own noise.
WINDOWS = 20
LEAST_LOSSES = 5
LEAST_WINDOWS = 4
# A window is judged together with this many on each side.
NEIGHBOURS = 2
# Significance in standard errors. The errors of short windows are imprecise.
STANDARD_ERRORS = 4.0
# Of 60 pairs of runs of two small tasks that only differ in their seed, these two found no
# difference, at learning rates from 3e-4 to 3e-2.
LEAST_SHARE, EARLIER = 0.02, 0.75
# Runs with the same settings may differ by more than the few observed ones.
REPEATS_FACTOR = 1.5
# A lead only counts if it lasts for this many windows.
LASTING_WINDOWS = 2
# With this many runs of each setting, the effect of the seed is known.
ENOUGH_REPEATS, REPEATED_ERRORS = 3, 3.0
# The final loss is the average over this many windows at the end.
FINAL_WINDOWS = 2
# Initial losses that differ by this factor are hardly the same loss on the same data.
OTHER_START = 3.0

# Why a run has no loss to compare.
Lack = Literal["", "no loss", "surrogate"]


@dataclass(frozen=True, slots=True)
class Losses:
    """The losses of a run, averaged over windows.

    Attributes:
        mean: float64 ``[windows]``; infinite where a loss was not finite, NaN where there are too
            few losses.
        error: Standard error of the mean, float64 ``[windows]``.
        runs: Number of runs with the same settings that it averages: their differences determine
            the errors.
    """

    mean: Float64s
    error: Float64s
    runs: int = 1

    @property
    def final(self) -> float:
        """The average of the last windows; NaN if unknown."""
        return float(self.mean[-FINAL_WINDOWS:].mean()) if self.mean.size else float("nan")


@dataclass(frozen=True, slots=True)
class Lead:
    """Which of two runs is ahead over a stretch of steps.

    Attributes:
        first: Whether the first of the two is ahead.
        start: The step from which on it leads.
        end: The step up to which it leads; the last common one, if it still leads.
        lasts: Whether it leads to the end.
    """

    first: bool
    start: float
    end: float
    lasts: bool


def lack_of(signals: Signals) -> Lack:
    """Return why the loss of a run cannot be compared, or ""."""
    if signals.has_surrogate_loss:
        return "surrogate"
    return "" if signals.has_loss or is_loss_nan(signals).any() else "no loss"


def common_windows(runs: Sequence[Signals]) -> Float64s:
    """Return the borders of windows over the steps at which all runs have losses.

    A run whose loss is no longer finite at its end is assumed to have continued like that.

    Returns:
        Ascending steps; empty if there are too few losses.
    """
    known = [_steps_with_loss(signals) for signals in runs]
    ends = [
        steps[-1]
        for steps, signals in zip(known, runs, strict=True)
        if steps.size and not _is_gone(signals)
    ]
    if not ends or not all(steps.size for steps in known):
        return np.empty(0)
    start, end = max(steps[0] for steps in known), min(ends)
    count = min(
        int(np.count_nonzero((steps >= start) & (steps <= end)))
        for steps, signals in zip(known, runs, strict=True)
        if not _is_gone(signals)
    )
    most = min(WINDOWS, count // LEAST_LOSSES)
    return np.linspace(start, end + 1, most + 1) if most >= LEAST_WINDOWS else np.empty(0)


def windows_before(runs: Sequence[Signals], borders: Float64s, end: float) -> Float64s:
    """Return the borders of windows over the common steps before one, using all losses there.

    Args:
        runs: The runs whose losses are compared.
        borders: Borders of windows over all common steps.
        end: The step before which the last window ends.

    Returns:
        Ascending steps; empty if there are too few losses.
    """
    start = borders[0]
    known = [_steps_with_loss(signals) for signals in runs]
    count = min(int(np.count_nonzero((steps >= start) & (steps < end))) for steps in known)
    alike = round((end - start) / (borders[1] - borders[0]))  # about as long as the others
    most = min(max(alike, LEAST_WINDOWS), count // LEAST_LOSSES)
    return np.linspace(start, end, most + 1) if most >= LEAST_WINDOWS else np.empty(0)


def _steps_with_loss(signals: Signals) -> Float64s:
    return signals.steps[~np.isnan(signals.column("loss")) | is_loss_nan(signals)]


def _is_gone(signals: Signals) -> bool:
    """Whether the last loss of a run is not finite."""
    gone = np.isinf(signals.column("loss")) | is_loss_nan(signals)
    known = np.flatnonzero(~np.isnan(signals.column("loss")) | is_loss_nan(signals))
    return bool(known.size and gone[known[-1]])


def gone_at(signals: Signals) -> float:
    """The step from which on no loss is finite; NaN if the last one is."""
    gone = np.isinf(signals.column("loss")) | is_loss_nan(signals)
    known = ~np.isnan(signals.column("loss")) | gone
    steps, gone = signals.steps[known], gone[known]
    if not gone.size or not gone[-1]:
        return float("nan")
    finite = np.flatnonzero(~gone)
    return float(steps[finite[-1] + 1 if finite.size else 0])


def final_loss(signals: Signals) -> float:
    """The average of the last tenth of a run's losses; infinite if they are not finite."""
    borders = common_windows([signals])
    if not borders.size:
        return float("inf") if _is_gone(signals) else float("nan")
    return float("inf") if _is_gone(signals) else averaged(signals, borders).final


def averaged(signals: Signals, borders: Float64s) -> Losses:
    """Average the losses of a run over windows.

    Args:
        signals: The run.
        borders: Steps at which windows start, and the one at which the last ends, ascending.
    """
    loss = signals.column("loss").copy()
    gone = np.isinf(loss) | is_loss_nan(signals)
    loss[gone] = np.inf
    count = max(0, borders.size - 1)
    mean, error = np.full(count, np.nan), np.full(count, np.nan)
    places = np.searchsorted(signals.steps, borders)
    for window in range(count):
        inside = slice(places[window], places[window + 1])
        known = ~np.isnan(loss[inside])
        values, steps = loss[inside][known], signals.steps[inside][known]
        if np.isinf(values).any():
            mean[window], error[window] = np.inf, 0.0
        elif values.size >= LEAST_LOSSES:
            mean[window], error[window] = values.mean(), _standard_error(steps, values)
    if count and _is_gone(signals):
        mean[borders[1:] > _steps_with_loss(signals)[-1]] = np.inf
        error[np.isinf(mean)] = 0.0
    return Losses(mean, error)


def _standard_error(steps: Float64s, values: Float64s) -> float:
    """The standard error of the mean of possibly correlated neighbours."""
    at = steps - steps.mean()
    residuals = values - values.mean() - at * (at @ values) / max(float(at @ at), 1e-300)
    total = float(residuals @ residuals)
    if total <= 0:
        return 0.0
    alike = min(max(float(residuals[1:] @ residuals[:-1]) / total, 0.0), 0.9)
    variance = total / max(1, values.size - 2)
    return float(np.sqrt(variance / values.size * (1 + alike) / (1 - alike)))


def least_difference(first: Losses, second: Losses, share: float) -> Float64s:
    """How much the averages of two runs must differ, float64 ``[windows]``.

    Args:
        first: One run.
        second: The other one.
        share: Relative difference of the losses of identical runs.
    """
    lower = np.minimum(np.abs(first.mean), np.abs(second.mean))
    errors = np.sqrt(_around(first.error**2 + second.error**2) / _counts(first.mean.size))
    if min(first.runs, second.runs) >= ENOUGH_REPEATS:
        seeds = _around(np.hypot(first.error, second.error))  # shared by neighbouring windows
        return REPEATED_ERRORS * seeds + LEAST_SHARE * lower
    change = (_change_nearby(first.mean) + _change_nearby(second.mean)) / 2
    return STANDARD_ERRORS * errors + np.maximum(share * lower, change)


def _around(values: Float64s) -> Float64s:
    """Averages of each window and its neighbours."""
    kernel = np.ones(2 * NEIGHBOURS + 1)
    total: Float64s = np.convolve(values, kernel)[NEIGHBOURS : NEIGHBOURS + values.size]
    return np.asarray(total / _counts(values.size))


def _counts(windows: int) -> Float64s:
    """Number of windows averaged around each."""
    counted: Float64s = np.convolve(np.ones(windows), np.ones(2 * NEIGHBOURS + 1))
    return counted[NEIGHBOURS : NEIGHBOURS + windows]


def _change_nearby(mean: Float64s) -> Float64s:
    """Change of a loss between :data:`EARLIER` of the steps and as much later."""
    smooth, window = _around(mean), np.arange(mean.size) + 0.5
    nearby = (np.interp(at, window, smooth) for at in (EARLIER * window, window / EARLIER))
    return np.asarray(np.maximum(*(np.abs(loss - smooth) for loss in nearby)))


def leads(first: Losses, second: Losses, borders: Float64s, share: float) -> list[Lead]:
    """Return the stretches in which one of two runs is ahead, in time order.

    Args:
        first: One run.
        second: The other one, over the same windows.
        borders: Borders of the windows.
        share: Relative difference of the losses of identical runs.
    """
    ahead = np.zeros(first.mean.size, np.int8)  # 1 is the first run, -1 the second
    finite = np.isfinite(first.mean) & np.isfinite(second.mean)
    # A non-finite loss stays so, or is a single one: the windows before it are judged separately.
    for part in _runs_of(finite):
        one, other = (Losses(x.mean[part], x.error[part], x.runs) for x in (first, second))
        distance = other.mean - one.mean
        least = least_difference(one, other, share)
        lower = np.minimum(np.abs(one.mean), np.abs(other.mean))
        for sign in (1, -1):
            clear = sign * _around(distance) > least
            ahead[part][clear & (sign * distance > LEAST_SHARE * lower)] = sign
    ahead[np.isinf(second.mean) & np.isfinite(first.mean)] = 1
    ahead[np.isinf(first.mean) & np.isfinite(second.mean)] = -1
    _fill_gaps(ahead)
    found = [*_stretches(ahead == 1, borders, True), *_stretches(ahead == -1, borders, False)]
    return sorted(found, key=lambda lead: lead.start)


def leads_before(first: Losses, second: Losses, borders: Float64s, share: float) -> list[Lead]:
    """Like :func:`leads`, for windows that end before a loss stops being finite."""
    if not borders.size:
        return []
    return [replace(lead, lasts=False) for lead in leads(first, second, borders, share)]


def _runs_of(holds: Flags) -> list[slice]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], holds, [0]]).astype(np.int8)))
    return [slice(a, b) for a, b in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)]


def _fill_gaps(ahead: npt.NDArray[np.int8]) -> None:
    """Let a run that is ahead before and after a few windows be ahead in them, too."""
    known = np.flatnonzero(ahead)
    for a, b in zip(known[:-1].tolist(), known[1:].tolist(), strict=True):
        if ahead[a] == ahead[b] and b - a <= NEIGHBOURS + 1:
            ahead[a:b] = ahead[a]


def _stretches(holds: Flags, borders: Float64s, first: bool) -> list[Lead]:
    return [
        Lead(
            first,
            float(np.ceil(borders[part.start])),
            float(np.ceil(borders[part.stop]) - 1),
            part.stop == holds.size,
        )
        for part in _runs_of(holds)
        if part.stop - part.start >= LASTING_WINDOWS
    ]


def share_of_repeats(repeats: Sequence[Sequence[Losses]]) -> float:
    """Return the relative difference of the final losses of runs with the same settings.

    Args:
        repeats: Runs with the same settings, in groups.

    Returns:
        At least :data:`LEAST_SHARE`.
    """
    seen = [LEAST_SHARE]
    for group in repeats:
        finals = np.array([losses.final for losses in group])
        finals = finals[np.isfinite(finals) & (finals > 0)]
        if finals.size > 1:
            seen.append(REPEATS_FACTOR * float(finals.max() / finals.min() - 1))
    return max(seen)
