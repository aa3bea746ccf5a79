"""Compares runs: settings that differ, losses, the best value of a sweep, and where runs differ."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tb_adam_plugin.arrays import Float64s
from tb_adam_plugin.comparison.losses import (
    LEAST_SHARE,
    OTHER_START,
    Lack,
    Lead,
    Losses,
    averaged,
    common_windows,
    final_loss,
    gone_at,
    lack_of,
    leads,
    leads_before,
    share_of_repeats,
    windows_before,
)
from tb_adam_plugin.comparison.parting import Parting, partings
from tb_adam_plugin.comparison.settings import Setting, repeats, settings_of
from tb_adam_plugin.comparison.sweep import Sweep, sweep_of
from tb_adam_plugin.diagnosis.engine.recorded_run import RecordedRun, in_order
from tb_adam_plugin.diagnosis.engine.signals import Signals

# The best run's statistics are compared with this many others: each pair reads all of them.
MOST_PARTED = 3


@dataclass(frozen=True, slots=True)
class RunLoss:
    """The loss of one run.

    Attributes:
        run: Its name.
        last_step: Its last step.
        lack: Why there is no loss to compare, or "".
        final: The average of its last tenth; NaN if unknown, infinite if it is not finite.
        common: The same up to the last step that all runs have.
        gone_at: The step from which on no loss is finite, or NaN.
    """

    run: str
    last_step: float
    lack: Lack
    final: float
    common: float
    gone_at: float


@dataclass(frozen=True, slots=True)
class Pair:
    """How the best run and another one compare.

    Attributes:
        best: Name of the best run.
        other: Name of the other one.
        leads: Which of them was ahead when; ``first`` is the best one.
        partings: The statistics in which they part first.
        parted: Whether the statistics were compared.
        gone_at: The step from which on no loss of the other one is finite, if that is why the best
            one leads at the end; else NaN.
    """

    best: str
    other: str
    leads: tuple[Lead, ...]
    partings: tuple[Parting, ...]
    parted: bool
    gone_at: float = math.nan

    @property
    def lead(self) -> Lead | None:
        """The lead that lasts to the end, or None if there is no difference beyond noise."""
        return next((lead for lead in self.leads if lead.lasts), None)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The comparison of several runs.

    Attributes:
        runs: Their names.
        settings: Settings that differ.
        same: Settings that are the same in all runs.
        losses: The loss of each run.
        common_end: The last step that all runs with a loss have; NaN if there are too few losses.
        best: The run with the lowest loss there; "" if unknown.
        pairs: The best run with each of the others; without losses, the first run.
        sweep: The sweep, if only one setting differs.
        other_start: Whether the initial losses are too far apart to be comparable.
        repeats: Number of groups of runs with the same settings, if there are other runs: their
            spread counts as noise.
    """

    runs: tuple[str, ...]
    settings: tuple[Setting, ...]
    same: tuple[Setting, ...]
    losses: tuple[RunLoss, ...]
    common_end: float
    best: str
    pairs: tuple[Pair, ...]
    sweep: Sweep | None
    other_start: bool
    repeats: int


def compare(runs: Mapping[str, RecordedRun], *, parts: bool = True) -> Comparison:
    """Compare runs.

    Args:
        runs: The recorded runs, by display name: two or more.
        parts: Whether to find where their statistics first differ, which reads all of them.
    """
    names = tuple(runs)
    signals = [Signals(in_order(run)) for run in runs.values()]
    with np.errstate(all="ignore"):
        recorded = settings_of(signals)
        settings = [setting for setting in recorded if setting.differs]
        groups = repeats(settings, len(names))
        judged = _Judged.of(signals, groups)
        best = judged.best
        pairs = [
            _pair(names, signals, judged, best or 0, other, parts and place < MOST_PARTED)
            for place, other in enumerate(i for i in range(len(names)) if i != (best or 0))
        ]
        sweep = sweep_of(settings, judged.losses, judged.borders, judged.share)
    for of_run in signals:
        of_run.release()
    return Comparison(
        names,
        tuple(settings),
        tuple(setting for setting in recorded if not setting.differs and setting.known),
        tuple(
            _run_loss(n, s, judged.losses.get(i))
            for i, (n, s) in enumerate(zip(names, signals, strict=True))
        ),
        float(judged.borders[-1] - 1) if judged.borders.size else math.nan,
        "" if best is None else names[best],
        tuple(pairs),
        sweep,
        judged.other_start,
        sum(len(group) < len(names) for group in groups),
    )


@dataclass(frozen=True, slots=True)
class _Judged:
    """The losses that can be compared.

    Attributes:
        losses: By index of the run.
        borders: Borders of their windows.
        share: Relative difference of the losses of identical runs.
        groups: Runs with the same settings, by index.
    """

    losses: Mapping[int, Losses]
    borders: Float64s
    share: float
    groups: Sequence[Sequence[int]]

    @classmethod
    def of(cls, signals: Sequence[Signals], groups: Sequence[Sequence[int]]) -> _Judged:
        chosen = {i: s for i, s in enumerate(signals) if not lack_of(s)}
        borders = common_windows([*chosen.values()]) if len(chosen) > 1 else np.empty(0)
        if not borders.size:
            return cls({}, borders, 0.0, groups)
        losses = {i: averaged(s, borders) for i, s in chosen.items()}
        same = [[losses[i] for i in group if i in losses] for group in groups]
        return cls(losses, borders, share_of_repeats(same), groups)

    def are_same(self, first: int, second: int) -> bool:
        """Whether two runs have the same settings."""
        return any(first in group and second in group for group in self.groups)

    @property
    def best(self) -> int | None:
        """The run with the lowest loss at the end."""
        finals = {i: losses.final for i, losses in self.losses.items()}
        known = {i: final for i, final in finals.items() if math.isfinite(final)}
        return min(known, key=known.__getitem__) if known else None

    @property
    def other_start(self) -> bool:
        """Whether the first losses are far apart."""
        first = [float(losses.mean[0]) for losses in self.losses.values()]
        known = [loss for loss in first if math.isfinite(loss) and loss > 0]
        return len(known) > 1 and max(known) > OTHER_START * min(known)


def _pair(
    names: Sequence[str],
    signals: Sequence[Signals],
    judged: _Judged,
    best: int,
    other: int,
    parts: bool,
) -> Pair:
    first, second = judged.losses.get(best), judged.losses.get(other)
    # Runs with the same settings may differ in something unrecorded: their spread is not noise
    # then.
    share = LEAST_SHARE if judged.are_same(best, other) else judged.share
    parted = partings(signals[best].run, signals[other].run) if parts else []
    gone, end = math.nan, math.nan
    found: list[Lead] = []
    if first is not None and second is not None:
        gone, end = gone_at(signals[other]), float(judged.borders[-1] - 1)
        if math.isfinite(first.final) and gone <= end:
            both = [signals[best], signals[other]]
            # The step at which it is lost decides, not the window that contains it.
            before = windows_before(both, judged.borders, gone)
            one, two = (averaged(s, before) for s in both)
            found = [*leads_before(one, two, before, share), Lead(True, gone, end, True)]
        else:
            gone, found = math.nan, leads(first, second, judged.borders, share)
    return Pair(names[best], names[other], tuple(found), tuple(parted), parts, gone)


def _run_loss(name: str, signals: Signals, losses: Losses | None) -> RunLoss:
    lack = lack_of(signals)
    common = math.nan if losses is None else losses.final
    final = math.nan if lack else final_loss(signals)
    return RunLoss(name, signals.run.last_step, lack, final, common, gone_at(signals))
