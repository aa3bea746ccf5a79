"""The learning-rate compass: how far a learning rate is from the best one, roughly.

Towards "too low" it is the cosine of exp_avg and the next gradient: gradients that agree say that
steps could be longer. Towards "too high" that cosine says nothing, so that the size of the first
updates has the say; see :data:`.thresholds.COMPASS_COSINES` for the calibration behind both. Where
the gain ratio was recorded, it is a second needle, which sees both sides and owes nothing to the
first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import thresholds
from .recorded_run import Float64s, Indices, Values
from .signals import Signals, median, sum_over_steps

_COSINE = "momentum_gradient_cosine"


@dataclass(frozen=True, slots=True)
class Reading:
    """Where the needle is.

    Attributes:
        name: Of the module; "" for the run.
        text: As "about 10× too low".
        factor: Learning rate over the best one; NaN where nothing can be told.
        cosine: Of exp_avg and the next gradient, median of the last records.
        step: float64 ``[records]``: those of the history.
        factors: float64 ``[records]``: the needle over time, NaN where nothing can be told.
    """

    name: str
    text: str
    factor: float
    cosine: float
    step: Float64s
    factors: Float64s


@dataclass(frozen=True, slots=True)
class GainReading:
    """Where the second needle is.

    Attributes:
        text: As "about 3× too high".
        factor: Learning rate over the best one; NaN where nothing can be told.
        gain_ratio: Median of the last records.
        step: float64 ``[records]``: those of the history.
        factors: float64 ``[records]``: the needle over time, NaN where nothing can be told.
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
        run: Of all weights.
        modules: Of each block of the model, in its order.
        gain: By the gain ratio; None where that was not recorded often enough.
    """

    run: Reading
    modules: tuple[Reading, ...]
    gain: GainReading | None = None


def read_compass(signals: Signals) -> Compass | None:
    """Return the readings of a run; None where the optimizer has no first moment, or no record."""
    if not signals.is_known(_COSINE):
        return None
    weights = signals.run.weights_or_matrices
    by_module: dict[str, list[int]] = {}
    for i in weights.tolist():
        by_module.setdefault(module_of(signals.run.names[i]), []).append(i)
    members = [np.array(rows, np.intp) for rows in by_module.values()]
    every = np.arange(signals.run.step.size)
    kept = np.unique(np.linspace(0, every.size - 1, thresholds.COMPASS_COLUMNS).astype(np.intp))
    (run,) = _readings(signals, [""], [weights], every)
    modules = tuple(_readings(signals, list(by_module), members, kept))
    return Compass(run, modules, _gain_reading(signals))


def _gain_reading(signals: Signals) -> GainReading | None:
    step, ratio = signals.gain_ratio
    if not ratio.size:
        return None
    factors = factor_of_gain_ratio(ratio)
    factor = float(factors[-1])
    return GainReading(in_words(factor), factor, float(ratio[-1]), step, factors)


def module_of(name: str) -> str:
    """The block that a parameter is in: up to the first number of its name, or its first part."""
    parts = name.split(".")
    numbers = [i for i, part in enumerate(parts) if part.isdigit()]
    return ".".join(parts[: numbers[0] + 1]) if numbers else parts[0]


def _readings(
    signals: Signals, names: list[str], members: list[Indices], kept: Indices
) -> list[Reading]:
    """Readings of some blocks at some records.

    Args:
        signals: The run.
        names: Of the blocks.
        members: Indices of the weights of each.
        kept: Indices of the records of the history, the last one among them.
    """
    step = signals.run.step[kept]
    cosine = _recent(_medians(signals, _COSINE, members), kept)
    surprise = _recent(_medians(signals, "gradient_surprise", members), kept)
    factors = factor_of_cosine(cosine)
    factors[surprise < thresholds.LR_TOO_LOW_SURPRISE] = np.nan  # training is done, not slow
    factors[step <= signals.settled] = np.nan
    early = _early_factors(signals, members)
    # Large first updates fill v, which hides the learning rate for long.
    hidden = (early > thresholds.COMPASS_ABOUT) & ~(cosine > thresholds.COMPASS_COSINES[1])
    factors = np.where(hidden, early, factors)
    return [
        Reading(
            name,
            in_words(float(factors[-1, i])),
            float(factors[-1, i]),
            float(cosine[-1, i]),
            step,
            factors[:, i],
        )
        for i, name in enumerate(names)
    ]


def _medians(signals: Signals, statistic: str, members: list[Indices]) -> Values:
    """Median of a statistic over each block, float32 ``[records, blocks]``."""
    key = ("blocks", statistic, tuple(rows.tobytes() for rows in members))
    return signals.by_record(
        key, lambda part: _by_block(signals.statistic(statistic)[part], members)
    )


def _by_block(values: Values, members: list[Indices]) -> Values:
    found = np.empty((len(values), len(members)), np.float32)
    single = np.array([rows.size == 1 for rows in members])
    alone = [int(rows[0]) for rows in members if rows.size == 1]
    found[:, single] = values[:, alone]
    for i in np.flatnonzero(~single):
        found[:, i] = median(values[:, members[i]])
    return found


def factor_of_cosine(cosine: Float64s) -> Float64s:
    """Learning rate over the best one, from the cosine; NaN stays NaN."""
    logs = np.interp(cosine, thresholds.COMPASS_COSINES, np.log(thresholds.COMPASS_FACTORS))
    factors: Float64s = np.where(np.isnan(cosine), np.nan, np.exp(logs))
    return factors


def factor_of_gain_ratio(ratio: Float64s) -> Float64s:
    """Learning rate over the best one, from the gain ratio; NaN where that is implausible."""
    logs = np.log(thresholds.COMPASS_GAIN_FACTORS)
    found = np.exp(np.interp(ratio, thresholds.COMPASS_GAIN_RATIOS, logs))
    factors: Float64s = np.where(ratio <= thresholds.COMPASS_GAIN_MOST, found, np.nan)
    return factors


def in_words(factor: float) -> str:
    """Say a factor as the gauge does."""
    if not factor > 0:
        return "cannot be told"
    off = max(factor, 1 / factor)
    if off < thresholds.COMPASS_ABOUT:
        return "about right"
    rounded = next((n for n in (3, 10, 30) if off < n * np.sqrt(3)), 100)
    return f"about {rounded}× too {'high' if factor > 1 else 'low'}"


def _recent(values: Values, kept: Indices) -> Float64s:
    """Median of the last records at each of some, float64 ``[kept, blocks]``."""
    records = kept[:, None] - np.arange(thresholds.COMPASS_RECORDS)
    last = np.where((records >= 0)[..., None], values[np.maximum(records, 0)], np.nan)
    rows = last.swapaxes(1, 2).reshape(-1, thresholds.COMPASS_RECORDS)
    return median(rows).reshape(kept.size, values.shape[1])


def _early_factors(signals: Signals, members: list[Indices]) -> Float64s:
    """Learning rate over the best one, from how far the first steps move the weights; else 1.

    Returns:
        float64 ``[blocks]``.
    """
    run = signals.run
    if not run.step.size or run.step[0] > thresholds.FIRST_STEP:
        return np.ones(len(members))
    ratio = run.statistics.get("update_to_weight_ratio")
    early = run.step <= signals.warmup_end + thresholds.LR_TOO_HIGH_STEPS
    if ratio is None or early.sum() < 2:
        return np.ones(len(members))
    resting = np.setdiff1d(np.arange(len(run.parameters)), signals.started_weights)
    first = ratio[early].copy()
    first[:, resting] = np.nan
    paths = sum_over_steps(
        run.step[early], _by_block(first, members), thresholds.LR_TOO_HIGH_PATH_STEPS
    )
    logs = np.log(thresholds.COMPASS_PATH_FACTORS)
    factors: Float64s = np.exp(np.interp(paths.max(axis=0), thresholds.COMPASS_PATHS, logs))
    return factors
