"""Conditions that several rules share."""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.arrays import Flags, Float32s, Float64s, Indices
from tb_adam_plugin.languages.sentences import joined, say

from . import thresholds
from .recording import thinned_records
from .rule import Condition, Persistence
from .signals import Signals
from .windows import count_windows
from .wording import counted, step

NONE: Indices = np.empty(0, np.intp)
A_SURROGATE = say("the loss is a surrogate, which does not measure progress")
RESUMED = say("the run was resumed, and its first steps were not recorded")


def median_beyond(
    signals: Signals,
    name: str,
    threshold: float,
    parameters: Indices,
    when: Flags | None = None,
    *,
    below: bool = False,
    since: float = -np.inf,
) -> Condition:
    """Where the median of a statistic over some parameters is beyond a threshold.

    Args:
        signals: The run.
        name: Name of the statistic.
        threshold: The median is compared with this.
        parameters: The parameters.
        when: Records at which it can hold, bool ``[records]``; all by default.
        below: Whether to look for values below the threshold, rather than above.
        since: Records up to this step do not count.
    """
    value = signals.median(name, parameters)
    holds = (value < threshold if below else value > threshold) & (signals.run.step > since)

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
        since=since,
        compared=name,
    )


def each_beyond(
    signals: Signals,
    name: str,
    threshold: float,
    parameters: Indices,
    limits: Float32s | None = None,
    since: float = -np.inf,
) -> Condition | None:
    """Where a parameter's statistic is above a threshold, each separately; None without parameters.

    Args:
        signals: The run.
        name: Name of the statistic.
        threshold: The statistic is compared with this.
        parameters: The parameters to check.
        limits: A separate threshold for each parameter, ``[parameters]``, instead.
        since: Records up to this step do not count.
    """
    if not parameters.size:
        return None
    values = signals.statistic(name)
    above = threshold if limits is None else limits
    holds = signals.by_record(
        ("above", name, threshold, parameters.tobytes()),
        lambda part: values[part][:, parameters] > above,
    )
    known = signals.by_record(
        ("known", name, parameters.tobytes()),
        lambda part: np.asarray(~np.isnan(values[part][:, parameters]).all(axis=1)),
    )
    some = np.flatnonzero(holds.any(axis=0))
    chosen = parameters[some]
    return Condition(
        signals.run.step,
        holds[:, some] & (signals.run.step > since)[:, None],
        signals.values(name, chosen),
        threshold,
        chosen,
        since=since,
        known=known,
        compared=name,
    )


def at_every_step(
    signals: Signals,
    value: Float64s,
    holds: Flags,
    threshold: float,
    *,
    below: bool = False,
    compared: str = "",
) -> Condition:
    """A condition on a column of every step, for the run as a whole.

    Args:
        signals: The run.
        value: What is compared with the threshold at each step.
        holds: Where it does.
        threshold: The rule's.
        below: Whether the smallest value is the worst.
        compared: The column that has such values; see :class:`Condition`.
    """
    return Condition(
        signals.steps,
        holds,
        value,
        threshold,
        lowest_is_worst=below,
        every_step=True,
        compared=compared,
    )


def all_along(
    signals: Signals, parameters: Indices = NONE, names: tuple[str, ...] = ()
) -> Condition | None:
    """A condition that some parameters meet from the first step to the last, or None without any.

    Args:
        signals: The run.
        parameters: Indices of recorded parameters, or
        names: names of parameters that are not recorded.
    """
    columns = len(names) or len(parameters)
    if not columns:
        return None
    step = np.array([signals.run.first_step, signals.run.last_step])
    return Condition(
        step, np.ones((2, columns), bool), np.ones((2, columns)), 0.0, parameters, names
    )


def too_few(condition: Condition, persistence: Persistence, signals: Signals) -> str:
    """Return why a rule that found nothing could not have found anything, or "".

    Args:
        condition: The rule's condition.
        persistence: How long it has to hold.
        signals: The run.
    """
    if signals.is_warming_up and condition.since >= signals.warmup_end:
        last = step(signals.run.last_step)
        return say(
            "the learning rate still rises at the last step ({last}), needs a settled one",
            last=last,
        )
    if condition.lacking:
        return condition.lacking
    if condition.known is None:
        missing = np.isnan(condition.value)
        known: Flags = ~np.asarray(missing if missing.ndim == 1 else missing.all(axis=1))
    else:
        known = condition.known
    later = condition.step > condition.since
    counts: Flags = known & later
    needed, records = max(1, persistence.points), int(counts.sum())
    since = condition.since
    if condition.every_step:
        few = _after(counted(records, "step"), since)
        return "" if records >= needed else say("{seen}, needs {needed}", seen=few, needed=needed)
    windows, width = count_windows(condition.step, counts), thresholds.WINDOW_STEPS
    if windows >= needed:
        return ""
    why = _why_left_out(condition, later, counts, needed)
    if why:
        return _after(why, since)
    seen: str = counted(records, "record")
    if windows < records:
        within = say("{seen} within {count} steps", seen=seen, count=width * windows)
        seen = _after(within, since)
        return say("{seen}, needs {count} steps", seen=seen, count=width * needed)
    few = say("{seen}, needs {needed}", seen=_after(seen, since), needed=needed)
    apart = np.diff(condition.step[-4:])
    return _more_often(signals, few) if apart.size and np.median(apart) > width else few


def _after(seen: str, since: float) -> str:
    """Say since when something was seen, if it is not the first step."""
    return say("{seen} after step {since}", seen=seen, since=step(since)) if since > 0 else seen


def _why_left_out(condition: Condition, later: Flags, counts: Flags, needed: int) -> str:
    """Return why records that would suffice do not count, or "": the main reason first."""
    reasons = [(why, where & later & ~counts) for why, where in condition.left_out]
    whole = np.logical_or.reduce([counts, *(where for _, where in reasons)])
    for why, where in sorted(reasons, key=lambda reason: -int(reason[1].sum())):
        if count_windows(condition.step, counts | where) >= needed:
            return _at_some(why, int(where.sum()), int(whole.sum()))
    if count_windows(condition.step, whole) < needed:
        return ""
    every = joined((why for why, _ in reasons), " or ")
    return _at_some(every, int((whole & ~counts).sum()), int(whole.sum()))


def _at_some(why: str, some: int, records: int) -> str:
    """Say at how many records something was the case."""
    whole = counted(records, "record")
    return say("{why} at {some} of {whole}", why=why, some=f"{some:,}", whole=whole)


def _more_often(signals: Signals, few: str) -> str:
    """Say that there are few records, and which option records more often."""
    run = signals.run
    if thinned_records(run):
        return say("{few}: a larger max_overhead= records more often", few=few)
    if run.total_steps:
        return say("{few}: every_n_steps= records more often", few=few)
    return say("{few}: total_steps= or every_n_steps= records more often", few=few)


def too_few_steps(signals: Signals, needed: int) -> str:
    """Return a sentence if there are fewer steps than a rule needs, or ""."""
    n = int(signals.steps.size)
    if n >= needed:
        return ""
    return say("{seen}, needs {needed}", seen=counted(n, "step"), needed=needed)
