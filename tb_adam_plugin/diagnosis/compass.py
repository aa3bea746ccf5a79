"""The learning-rate compass: how far a learning rate is from the best one, roughly.

Towards "too low" it uses the cosine of exp_avg and the next gradient: if gradients agree, steps
could be longer. Towards "too high" that cosine is uninformative, so the size of the first updates
decides; :data:`COSINES` and :data:`.engine.first_steps.PATHS` are the calibration of both. If the
gain ratio was recorded, it is a second needle, which sees both sides and is independent of the
first.

A cosine near 0 occurs at the best learning rate, and with small batches at any. So there is no
reading if other numbers do not confirm it, if a finding says what is wrong or points the other way,
or if there are too few records: no reading is better than a wrong one. It refers to the peak of a
schedule: at a decayed learning rate, gradients agree for other reasons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from tb_adam_plugin.arrays import Flags, Float32s, Float64s, Indices
from tb_adam_plugin.languages.sentences import say

from .beside_compass import first_to_see
from .engine import thresholds
from .engine.first_steps import early_factors, loss_rose, off_by, rounded
from .engine.over_time import median_by_block, recent_median
from .engine.phases import has_converged, is_near_peak, is_settled, rectification
from .engine.rule import Finding, Rule
from .engine.signals import COSINE, RATIO, Signals
from .engine.windows import count_windows

# Median cosine of exp_avg and the next gradient at the end of runs, by the learning rate as a
# multiple of the usual one: Adam, AdamW, AMSGrad and NAdam on the tasks of the laboratory's tuning
# half. Above the best one it says nothing more. Close to the medians, chosen so that most readings
# are within half a decade.
TASKS = 26
COSINES = (0.0, 0.04, 0.12, 0.25, 0.58, 0.88)
FACTORS = (1.0, 1 / 2, 1 / 3, 1 / 10, 1 / 30, 1 / 100)
# Error of four in five runs of the laboratory's two halves with this reading, each distance with
# the same weight: 117 runs "about right", and 9, 7, 10 and 8 below. The lowest rate tried is a
# hundredth. There are too few readings of "too high".
LIKELY = {1.0: (1 / 3, 3.0), 3.0: (1 / 30, 1 / 2), 10.0: (1 / 100, 1 / 10), 30.0: (1 / 100, 1 / 30)}
# Below it, gradients turn back. Healthy: from -0.14; a discriminator of a GAN: -0.5 to -0.7.
LEAST_COSINE = -0.25
# The same for the gain ratio, of 17 other tasks. Further off, it differs too little from run to
# run. A larger value comes from a clipped gradient, or a coarse loss.
GAIN_RATIOS = (0.59, 0.68, 0.84, 0.93, 0.966)
GAIN_FACTORS = (10.0, 3.0, 1.0, 1 / 3, 1 / 10)
GAIN_MOST = 1.1
WINDOWS = 9
# Range of the update-to-weight ratio for a reading of "about right", and the largest growth of the
# weights by then. Healthy: 8e-4 to 1.2e-2, and by up to 2.6.
RATIOS = (7e-4, 1.2e-2)
GROWTH = 3.0
# Least growth after this many steps, scaled by the square root of the step count. A tenth of the
# learning rate of a language model, whose cosine is about 0 at any: 0.01 after 600 steps and 0.07
# after 2,000; at the usual one 0.48 and 0.84.
LEAST_GROWTH, LEAST_GROWTH_STEPS = 0.05, 300.0
# For "f times too low" it must be below this over the root of f: where gradients agree, a step is
# longer for the same learning rate. 100 times too low: up to 3.4e-4.
RATIO_TOO_LOW = 5e-3
# Number of points in a block's history.
COLUMNS = 24

NO_READING = say("no reading")
# Reasons for a missing reading.
TURNS_BACK = say(
    "gradients reverse at every step: either the steps overshoot, or two networks play against "
    "each other"
)
CONVERGED = say("the loss is close to zero compared with where it started")
FADED = say("gradients have become small compared with √v̂")
BORNE = say("the first updates were large, but the loss did not rise")
NOT_BORNE_OUT = say("the size of the updates does not confirm the cosine")
NO_COSINE = say("no cosine was recorded while the learning rate was near its peak")
NOT_ENOUGH_DATA = say("not enough data")
NO_MEASURE = say("no reading: this loss does not measure progress")
STILL_RISES = say("no reading: the learning rate is still rising")
# In the order of precedence; the last one applies if no other does.
_WHY = (NO_COSINE, TURNS_BACK, BORNE, CONVERGED, FADED, NOT_BORNE_OUT)


@dataclass(frozen=True, slots=True)
class Reading:
    """A reading of the needle.

    Attributes:
        name: Name of the module; "" for the run.
        text: Such as "about 10× too low".
        factor: Learning rate over the best one; NaN without a reading.
        cosine: Cosine of exp_avg and the next gradient, median of the last records.
        step: float64 ``[records]``: the steps of the history.
        factors: float64 ``[records]``: the needle over time, NaN without a reading.
        why: Why there is no reading, in a few words; "" if there is one, or if the text says it.
    """

    name: str
    text: str
    factor: float
    cosine: float
    step: Float64s
    factors: Float64s
    why: str = ""

    @property
    def likely(self) -> tuple[float, float] | None:
        """The error bar of the factor; see :data:`LIKELY`. None if there is none."""
        if not self.factor > 0:
            return None
        if off_by(self.factor) < thresholds.ABOUT_RIGHT:
            return LIKELY[1.0]
        return LIKELY.get(rounded(self.factor)) if self.factor < 1 else None

    @property
    def full_text(self) -> str:
        """The text, and the reason for a missing reading."""
        if not self.why:
            return self.text
        return say("{reading}: {why}", reading=self.text, why=self.why)


@dataclass(frozen=True, slots=True)
class GainReading:
    """A reading of the second needle.

    Attributes:
        text: Such as "about 3× too high".
        factor: Learning rate over the best one; NaN without a reading.
        gain_ratio: Median of the last records.
        step: float64 ``[records]``: the steps of the history.
        factors: float64 ``[records]``: the needle over time, NaN without a reading.
    """

    text: str
    factor: float
    gain_ratio: float
    step: Float64s
    factors: Float64s


@dataclass(frozen=True, slots=True)
class Compass:
    """The readings of a run.

    Attributes:
        run: Reading of all weights.
        modules: Readings of each block of the model, in order.
        gain: Reading from the gain ratio; None if it was not recorded often enough.
    """

    run: Reading
    modules: tuple[Reading, ...]
    gain: GainReading | None = None


def read_compass(
    signals: Signals, findings: Sequence[Finding], rules: Sequence[Rule]
) -> Compass | None:
    """Return the readings of a run; None without a first moment or without a record.

    Args:
        signals: The run.
        findings: The findings of the rules: the needle does not contradict them.
        rules: The rules that they come from.
    """
    if not signals.is_known(COSINE):
        return None
    weights = signals.run.weights_or_matrices
    by_module: dict[str, list[int]] = {}
    for i in weights.tolist():
        by_module.setdefault(module_of(signals.run.names[i]), []).append(i)
    members = [np.array(rows, np.intp) for rows in by_module.values()]
    every = np.arange(signals.run.step.size)
    kept = np.unique(np.linspace(0, every.size - 1, COLUMNS).astype(np.intp))
    counted = np.flatnonzero(_counted(signals))
    kept = np.union1d(kept, counted[-1:])
    (run,) = _readings(signals, [""], [weights], every)
    modules = tuple(_readings(signals, list(by_module), members, kept))
    gain = _gain_reading(signals)

    def beside(reading: _AnyReading, *, at_run: bool = False) -> _AnyReading:
        """Return a reading, or remove it if a finding says more, or the opposite."""
        title = first_to_see(reading.factor, findings, rules, signals, at_run=at_run)
        if not title:
            return reading
        return _silenced(reading, say("no reading: see “{title}” first", title=title))

    return Compass(beside(run, at_run=True), tuple(map(beside, modules)), gain and beside(gain))


_AnyReading = TypeVar("_AnyReading", Reading, GainReading)


def _silenced(reading: _AnyReading, text: str) -> _AnyReading:
    """Replace a reading by a text."""
    nothing = np.full(reading.factors.shape, np.nan)
    silent = replace(reading, text=text, factor=float("nan"), factors=nothing)
    return replace(silent, why="") if isinstance(silent, Reading) else silent


def _gain_reading(signals: Signals) -> GainReading | None:
    step, ratio = signals.gain_ratio
    if not ratio.size:
        return None
    factors = factor_of_gain_ratio(ratio)
    factor = float(factors[-1])
    return GainReading(in_words(factor), factor, float(ratio[-1]), step, factors)


def module_of(name: str) -> str:
    """The block of a parameter: its name up to the first number, or the first part."""
    parts = name.split(".")
    numbers = [i for i, part in enumerate(parts) if part.isdigit()]
    return ".".join(parts[: numbers[0] + 1]) if numbers else parts[0]


def _readings(
    signals: Signals, names: list[str], members: list[Indices], kept: Indices
) -> list[Reading]:
    """Readings of some blocks at some records.

    Args:
        signals: The run.
        names: Names of the blocks.
        members: Indices of the weights of each block.
        kept: Indices of the records of the history, including the last one and the last that
            counts.
    """
    step = signals.run.step[kept]
    counts = _counted(signals)
    cosine = _recent(signals, counts, signals.median_by_block(COSINE, members), kept)
    surprise = _recent(signals, counts, signals.median_by_block("gradient_surprise", members), kept)
    ratio = _recent(signals, counts, signals.median_by_block(RATIO, members), kept)
    growth = _recent(signals, counts, _growth(signals, members), kept)
    factors = factor_of_cosine(cosine)
    converged = has_converged(signals)[kept]
    faded = (surprise < thresholds.FADED_SURPRISE) | converged[:, None]
    factors[faded] = np.nan  # training is done, not slow
    early = early_factors(signals, members)
    # Large first updates fill v, which masks the learning rate for a long time. Some networks
    # tolerate them.
    hidden = (early > thresholds.ABOUT_RIGHT) & ~(cosine > COSINES[1])
    factors = np.where(hidden, early if loss_rose(signals) else np.nan, factors)
    factors[~hidden & ~_is_borne_out(step, factors, ratio, growth)] = np.nan
    factors[cosine < LEAST_COSINE] = np.nan
    factors[~counts[kept]] = np.nan
    why = np.select(
        [np.isnan(cosine), cosine < LEAST_COSINE, hidden, converged[:, None], faded],
        range(len(_WHY) - 1),
        default=len(_WHY) - 1,
    )
    # For example in reinforcement learning, where batches depend on the network's actions.
    no_measure = signals.has_surrogate_loss or (signals.has_loss and not signals.loss_is_measure)
    few = count_windows(signals.run.step, counts) < WINDOWS or no_measure
    unread = STILL_RISES if signals.is_warming_up else NOT_ENOUGH_DATA
    if no_measure:
        unread = NO_MEASURE
    if few:
        factors[:] = np.nan
    # The last record with a learning rate near its peak decides.
    told = np.flatnonzero(counts[kept])
    last = int(told[-1]) if told.size else -1
    decayed = bool(counts.size and not is_near_peak(signals)[-1])
    return [
        Reading(
            name,
            unread if few else in_words(float(factors[last, i]), at_peak=decayed),
            float(factors[last, i]),
            float(cosine[last, i]),
            step,
            factors[:, i],
            "" if few or factors[last, i] > 0 else _WHY[why[last, i]],
        )
        for i, name in enumerate(names)
    ]


def _counted(signals: Signals) -> Flags:
    """Records that the needle uses: settled, at steps with the full learning rate."""
    full = rectification(signals) > thresholds.NEAR_PEAK
    return is_settled(signals) & is_near_peak(signals) & full


def _is_borne_out(step: Float64s, factors: Float64s, ratio: Float64s, growth: Float64s) -> Flags:
    """Whether the size of the updates confirms the cosine.

    Args:
        step: Step of each record, float64 ``[records]``.
        factors: Learning rate over the best one, from the cosine, float64 ``[records, blocks]``.
        ratio: Update-to-weight ratio, ``[records, blocks]``.
        growth: RMS of the weights over the initial one, ``[records, blocks]``; NaN if unknown.
    """
    least, most = RATIOS
    too_low = factors < 1 / thresholds.ABOUT_RIGHT
    slow = ratio < RATIO_TOO_LOW * np.sqrt(factors)
    too_little = 1 + LEAST_GROWTH * np.sqrt(step / LEAST_GROWTH_STEPS)[:, None]
    grown = ~(growth < too_little) & ~(growth > GROWTH)
    usual = (ratio > least) & (ratio < most) & grown
    return np.where(np.isnan(ratio), True, np.where(too_low, slow, usual))


def _growth(signals: Signals, members: list[Indices]) -> Float32s:
    """Median RMS of the weights of each block over that of the first record.

    Returns:
        float32 ``[records, blocks]``; NaN if the run was resumed.
    """
    rms = signals.statistic("weight_rms")
    if not len(rms) or signals.run.step[0] > thresholds.FIRST_STEP:
        return np.full((len(rms), len(members)), np.nan, np.float32)
    first: Float32s = np.where(rms[0] > 0, rms[0], np.float32(np.nan))
    key = ("growth of blocks", tuple(rows.tobytes() for rows in members))
    return signals.by_record(key, lambda part: median_by_block(rms[part] / first, members))


def factor_of_cosine(cosine: Float64s) -> Float64s:
    """Learning rate over the best one, from the cosine; NaN stays NaN."""
    logs = np.interp(cosine, COSINES, np.log(FACTORS))
    factors: Float64s = np.where(np.isnan(cosine), np.nan, np.exp(logs))
    return factors


def factor_of_gain_ratio(ratio: Float64s) -> Float64s:
    """Learning rate over the best one, from the gain ratio; NaN where that is implausible."""
    logs = np.log(GAIN_FACTORS)
    found = np.exp(np.interp(ratio, GAIN_RATIOS, logs))
    factors: Float64s = np.where(ratio <= GAIN_MOST, found, np.nan)
    return factors


def in_words(factor: float, *, at_peak: bool = False) -> str:
    """Return a factor in the gauge's words.

    Args:
        factor: Learning rate over the best one; NaN without a reading.
        at_peak: Whether that was at the peak of a schedule that has decayed since.
    """
    if not factor > 0:
        return NO_READING
    if off_by(factor) < thresholds.ABOUT_RIGHT:
        return say("about right at its peak") if at_peak else say("about right")
    times = f"{rounded(factor):.0f}"
    if factor > 1:
        if at_peak:
            return say("about {times}× too high at its peak", times=times)
        return say("about {times}× too high", times=times)
    if at_peak:
        return say("about {times}× too low at its peak", times=times)
    return say("about {times}× too low", times=times)


def error_bar_in_words(likely: tuple[float, float]) -> str:
    """Return an error bar in words: ``1/3 to 3 times the best``, ``2 to 30 times too low``."""
    low, high = likely
    if high > 1:
        return say("1/{low} to {high} times the best", low=f"{1 / low:.0f}", high=f"{high:.0f}")
    return say("{low} to {high} times too low", low=f"{1 / high:.0f}", high=f"{1 / low:.0f}")


def _recent(signals: Signals, counts: Flags, values: Float32s, kept: Indices) -> Float64s:
    """Median of the last windows at each of some records, float64 ``[kept, blocks]``.

    Args:
        signals: The run.
        counts: Which records count.
        values: float32 ``[records, blocks]``.
        kept: Indices of the records.

    Returns:
        NaN at records that do not count, and with too few records before.
    """
    counted = np.flatnonzero(counts)
    found = np.full((kept.size, values.shape[1]), np.nan)
    at = np.flatnonzero(counts[kept])
    if at.size:
        place = np.searchsorted(counted, kept[at])
        windows = WINDOWS
        step = signals.run.step[counted]
        found[at] = recent_median(step, values[counted], windows, place, windows // 2)
    return found
