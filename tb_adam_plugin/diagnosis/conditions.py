"""Conditions that several rules share."""

from __future__ import annotations

import numpy as np

from .recorded_run import Flags, Float64s, Indices, Values
from .rule import Condition
from .signals import Signals

NONE: Indices = np.empty(0, np.intp)


def median_beyond(
    signals: Signals,
    name: str,
    threshold: float,
    parameters: Indices,
    when: Flags | None = None,
    *,
    below: bool = False,
) -> Condition:
    """Where the median of a statistic over some parameters is beyond a threshold.

    Args:
        signals: The run.
        name: Of the statistic.
        threshold: What the median is compared with.
        parameters: Over which.
        when: Records that count, bool ``[records]``; all by default.
        below: Whether values below the threshold are meant, rather than above.
    """
    value = signals.median(name, parameters)
    holds = value < threshold if below else value > threshold

    def blame(record: int) -> Indices:
        row = signals.statistic(name)[record, parameters]
        chosen: Indices = parameters[row < threshold if below else row > threshold]
        return chosen

    return Condition(
        signals.run.step,
        holds if when is None else holds & when,
        value,
        threshold,
        parameters,
        lowest_is_worst=below,
        blame=blame,
    )


def each_beyond(
    signals: Signals,
    name: str,
    threshold: float,
    parameters: Indices,
    when: Flags | None = None,
    limits: Values | None = None,
) -> Condition:
    """Where a statistic of a parameter is above a threshold, for each parameter by itself.

    Args:
        signals: The run.
        name: Of the statistic.
        threshold: What the statistic is compared with.
        parameters: Which are looked at.
        when: Records that count, bool ``[records]``; all by default.
        limits: Instead, what each parameter's is compared with, ``[parameters]``.
    """
    values = signals.statistic(name)
    above = threshold if limits is None else limits
    holds = signals.by_record(
        ("above", name, threshold, parameters.tobytes()),
        lambda part: values[part][:, parameters] > above,
    )
    some = np.flatnonzero(holds.any(axis=0))
    holds, chosen = holds[:, some], parameters[some]
    return Condition(
        signals.run.step,
        holds if when is None else holds & when[:, None],
        values[:, chosen],
        threshold,
        chosen,
    )


def at_every_step(
    signals: Signals, value: Float64s, holds: Flags, threshold: float, *, below: bool = False
) -> Condition:
    """A condition on a column of every step, for the run as a whole."""
    return Condition(signals.steps, holds, value, threshold, lowest_is_worst=below, every_step=True)


def all_along(
    signals: Signals, parameters: Indices = NONE, names: tuple[str, ...] = ()
) -> Condition | None:
    """A condition that some parameters meet from the first step to the last, or None for none.

    Args:
        signals: The run.
        parameters: Indices of those that are recorded, or
        names: the names of those that are not.
    """
    columns = len(names) or len(parameters)
    if not columns:
        return None
    step = np.array([signals.run.first_step, signals.run.last_step])
    return Condition(
        step, np.ones((2, columns), bool), np.ones((2, columns)), 0.0, parameters, names
    )
