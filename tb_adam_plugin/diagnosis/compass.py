"""The learning-rate compass: how far a learning rate is from the best one, roughly.

Towards "too low" it is the cosine of exp_avg and the next gradient: gradients that agree say that
steps could be longer. Towards "too high" that cosine says nothing, so that the size of the first
updates has the say; see :data:`.thresholds.COMPASS_COSINES` for the calibration behind both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import thresholds
from .recorded_run import Float64s, Indices
from .signals import Signals, median

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
class Compass:
    """The readings of a run.

    Attributes:
        run: Of all weights.
        modules: Of each block of the model, in its order.
    """

    run: Reading
    modules: tuple[Reading, ...]


def read_compass(signals: Signals) -> Compass | None:
    """Return the readings of a run; None where the optimizer has no first moment, or no record."""
    if not signals.is_known(_COSINE):
        return None
    weights = signals.run.weights_or_matrices
    by_module: dict[str, list[int]] = {}
    for i in weights.tolist():
        by_module.setdefault(module_of(signals.run.names[i]), []).append(i)
    modules = [
        _reading(signals, name, np.array(members, np.intp)) for name, members in by_module.items()
    ]
    return Compass(_reading(signals, "", weights), tuple(modules))


def module_of(name: str) -> str:
    """The block that a parameter is in: up to the first number of its name, or its first part."""
    parts = name.split(".")
    numbers = [i for i, part in enumerate(parts) if part.isdigit()]
    return ".".join(parts[: numbers[0] + 1]) if numbers else parts[0]


def _reading(signals: Signals, name: str, parameters: Indices) -> Reading:
    step = signals.run.step
    cosine = _recent(signals.median(_COSINE, parameters))
    surprise = _recent(signals.median("gradient_surprise", parameters))
    factors = factor_of_cosine(cosine)
    factors[surprise < thresholds.LR_TOO_LOW_SURPRISE] = np.nan  # training is done, not slow
    factors[step <= signals.settled] = np.nan
    early = _early_factor(signals, parameters)
    if early > thresholds.COMPASS_ABOUT:
        # Large first updates fill v, which hides the learning rate for long.
        factors = np.where(cosine > thresholds.COMPASS_COSINES[1], factors, early)
    last = factors[-1] if factors.size else np.nan
    known = cosine[-1] if cosine.size else np.nan
    return Reading(name, in_words(float(last)), float(last), float(known), step, factors)


def factor_of_cosine(cosine: Float64s) -> Float64s:
    """Learning rate over the best one, from the cosine; NaN stays NaN."""
    logs = np.interp(cosine, thresholds.COMPASS_COSINES, np.log(thresholds.COMPASS_FACTORS))
    factors: Float64s = np.where(np.isnan(cosine), np.nan, np.exp(logs))
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


def _recent(values: Float64s) -> Float64s:
    """Median of the last records at each one, float64 ``[records]``."""
    window = thresholds.COMPASS_RECORDS
    padded = np.concatenate([np.full(window - 1, np.nan), values])
    return median(np.lib.stride_tricks.sliding_window_view(padded, window))


def _early_factor(signals: Signals, parameters: Indices) -> float:
    """Learning rate over the best one, from the largest ratio of the first steps; else 1."""
    run = signals.run
    if not run.step.size or run.step[0] > thresholds.FIRST_STEP:
        return 1.0
    started = np.intersect1d(parameters, signals.started_weights)
    if not started.size:
        return 1.0
    early = run.step <= signals.warmup_end + thresholds.COMPASS_RATIO_STEPS
    ratios = signals.median("update_to_weight_ratio", started)[early]
    ratios = ratios[np.isfinite(ratios)]
    # The first one alone may be that of an optimizer without bias correction.
    largest = float(np.sort(ratios)[-2]) if ratios.size > 1 else 0.0
    logs = np.log(thresholds.COMPASS_RATIO_FACTORS)
    return float(np.exp(np.interp(largest, thresholds.COMPASS_RATIOS, logs)))
