"""Which value of a sweep won, and whether it is at the edge of the range tried."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tb_adam_plugin.arrays import Float64s
from tb_adam_plugin.comparison.losses import Losses, leads
from tb_adam_plugin.comparison.settings import OF_NO_SETTING, Setting

# With fewer values, every one is at an edge.
LEAST_VALUES = 3

Edge = Literal["", "smallest", "largest"]


@dataclass(frozen=True, slots=True)
class Sweep:
    """Runs that differ in one number.

    Attributes:
        setting: Its name.
        values: The values tried, ascending, in words.
        finals: The final loss for each value, averaged over runs; infinite if none is finite.
        best: Index of the value with the lowest loss.
        ties: Indices of the values that are not significantly different.
        edge: Where the best value and all its ties are in the range tried.
    """

    setting: str
    values: tuple[str, ...]
    finals: tuple[float, ...]
    best: int
    ties: tuple[int, ...]
    edge: Edge


def sweep_of(
    settings: Sequence[Setting],
    losses: Mapping[int, Losses],
    borders: Float64s,
    share: float,
) -> Sweep | None:
    """Return the sweep that the runs form, or None.

    Args:
        settings: Settings in which the runs differ.
        losses: By index of the run.
        borders: Borders of their windows.
        share: Relative difference of the losses of identical runs.
    """
    swept = [setting for setting in settings if setting.name not in OF_NO_SETTING]
    if len(swept) != 1 or not losses:
        return None
    setting = swept[0]
    by_value: dict[float, list[int]] = {}
    for run in losses:
        by_value.setdefault(setting.numbers[run], []).append(run)
    tried = sorted(by_value)
    if len(tried) < LEAST_VALUES or not all(map(math.isfinite, tried)):
        return None
    averages = [_average([losses[run] for run in by_value[value]]) for value in tried]
    finals = [average.final for average in averages]
    known = [i for i, final in enumerate(finals) if math.isfinite(final)]
    if not known:
        return None
    best = min(known, key=finals.__getitem__)
    ties = [
        i
        for i in known
        if i != best
        and not any(lead.lasts for lead in leads(averages[best], averages[i], borders, share))
    ]
    shown = tuple(setting.values[by_value[value][0]] for value in tried)
    return Sweep(
        setting.name, shown, tuple(finals), best, tuple(ties), _edge(best, ties, len(tried))
    )


def _average(losses: Sequence[Losses]) -> Losses:
    """Return the losses of one value, averaged over all runs that had it."""
    means = np.array([of_run.mean for of_run in losses])
    errors = np.array([of_run.error for of_run in losses])
    count = len(losses)
    error = np.sqrt((errors**2).sum(axis=0)) / count
    if count > 1:
        error = np.fmax(error, means.std(axis=0, ddof=1) / np.sqrt(count))
    return Losses(means.mean(axis=0), np.where(np.isfinite(error), error, 0.0), count)


def _edge(best: int, ties: Sequence[int], count: int) -> Edge:
    """Where the best value is, unless an equally good one is further inside."""
    if any(0 < tie < count - 1 for tie in ties):
        return ""
    return {0: "smallest", count - 1: "largest"}.get(best, "")  # type: ignore[return-value]
