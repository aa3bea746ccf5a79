"""The settings of runs, and which of them differ."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from tb_adam_plugin.arrays import Float64s, Indices
from tb_adam_plugin.diagnosis.engine.over_time import median_of_all
from tb_adam_plugin.diagnosis.engine.signals import Signals
from tb_adam_plugin.diagnosis.engine.wording import decay, number, percent, step
from tb_adam_plugin.languages.sentences import joined, say

# Relative tolerance within which learning rates and other numbers are equal.
SAME = 1e-6
# Schedules are equal, or constant, if the shares of their peaks never differ by more than this.
SAME_SHAPE = 0.02
# Initial weights are the same numbers if their RMS is this close in every tensor, and have the same
# scale if its median is.
SAME_NUMBERS, SAME_SCALE = 1e-5, 0.05
# Implementation choices, and what schedulers write: the learning rate itself says more.
_NOT_SETTINGS = {
    "foreach", "fused", "capturable", "differentiable", "maximize", "initial_lr", "max_lr",
    "min_lr", "base_momentum", "max_momentum",
}  # fmt: skip
_DECAYS = ("beta1", "beta2", "beta3", "alpha", "momentum", "dampening", "nu1", "nu2")
# Settings that no one has set, or that only tell the length of a run: runs that only differ in
# these have the same settings.
LENGTH, INITIAL_WEIGHTS = "steps", "initial_weights"
OF_NO_SETTING = (LENGTH, INITIAL_WEIGHTS)

# What a run does not have.
_NONE = "–"

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of several runs.

    Attributes:
        name: Name of a hyperparameter or an option, or one of ours.
        label: Its name in a table.
        values: Its value in each run, in words.
        numbers: The same if it is a number; else NaN.
        same_as: For each run the index of the first one with the same value.
    """

    name: str
    label: str
    values: tuple[str, ...]
    numbers: tuple[float, ...]
    same_as: tuple[int, ...]

    @property
    def differs(self) -> bool:
        """Whether the runs have different values."""
        return len(set(self.same_as)) > 1

    @property
    def known(self) -> str:
        """The first value that a run has, or "" if no run has one."""
        return next((value for value in self.values if value != _NONE), "")


def differing_settings(runs: Sequence[Signals]) -> list[Setting]:
    """Return the settings in which runs differ."""
    return [setting for setting in settings_of(runs) if setting.differs]


def settings_of(runs: Sequence[Signals]) -> list[Setting]:
    """Return the settings of runs; unrecorded ones, such as the batch, are missing."""
    found = [_optimizer(runs), _lr(runs), _schedule(runs), *_hyperparameters(runs)]
    found += [
        *_options(runs),
        _parameters(runs),
        _types(runs),
        _initial_weights(runs),
        _length(runs),
    ]
    return [setting for setting in found if setting is not None]


def repeats(settings: Sequence[Setting], count: int) -> list[list[int]]:
    """Return groups of two or more runs with the same settings, by index."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for run in range(count):
        key = tuple(s.same_as[run] for s in settings if s.name not in OF_NO_SETTING)
        groups.setdefault(key, []).append(run)
    return [group for group in groups.values() if len(group) > 1]


def _setting(
    name: str,
    label: str,
    values: Sequence[str],
    numbers: Sequence[float] | None,
    keys: Sequence[Hashable],
) -> Setting:
    firsts: dict[Hashable, int] = {}
    same = tuple(firsts.setdefault(key, run) for run, key in enumerate(keys))
    none = (math.nan,) * len(values)
    return Setting(name, label, tuple(values), none if numbers is None else tuple(numbers), same)


def _optimizer(runs: Sequence[Signals]) -> Setting:
    names = [" / ".join(dict.fromkeys(g.optimizer for g in s.run.groups)) for s in runs]
    return _setting("optimizer", say("optimizer"), names, None, names)


# --- numbers over time ------------------------------------------------------------------------


def _lr(runs: Sequence[Signals]) -> Setting | None:
    """The highest learning rate of each group."""
    peaks = [_peaks(signals) for signals in runs]
    if not any(of_run for of_run in peaks):
        return None
    values = [" / ".join(map(_shown, dict.fromkeys(of_run))) for of_run in peaks]
    numbers = [of_run[0] if len(set(of_run)) == 1 else math.nan for of_run in peaks]
    if not any(len(set(of_run)) == 1 for of_run in peaks):
        numbers = [signals.peak_lr for signals in runs]
    return _setting("lr", "lr", values, numbers, peaks)


def _peaks(signals: Signals) -> tuple[float, ...]:
    """The highest learning rate of each group, rounded: the main group's is known at every step."""
    if not math.isfinite(signals.peak_lr):
        return ()
    values = signals.run.hyperparameters.get("lr")
    if values is None or not len(values):
        return (_rounded(signals.peak_lr),)
    main = values[:, signals.run.main_group]
    with np.errstate(all="ignore"):
        ratios = [median_of_all(values[:, g] / main) for g in range(values.shape[1])]
    return tuple(_rounded(signals.peak_lr * ratio) for ratio in ratios if math.isfinite(ratio))


def _hyperparameters(runs: Sequence[Signals]) -> list[Setting]:
    names = dict.fromkeys(name for s in runs for name in s.run.hyperparameters if name != "lr")
    return [_hyperparameter(name, runs) for name in names]


def _hyperparameter(name: str, runs: Sequence[Signals]) -> Setting:
    """A setting of each group; for one that changes, such as a cycled momentum, both ends."""
    keys: list[tuple[tuple[float, ...], ...]] = []
    for signals in runs:
        of_group = signals.run.hyperparameters.get(name, np.empty((0, 0))).T
        known = (values[np.isfinite(values)] for values in of_group)
        ends = [(_rounded(v[0]), _rounded(v[-1])) for v in known if v.size]
        keys.append(tuple(dict.fromkeys((a,) if a == b else (a, b) for a, b in ends)))
    shown = decay if name in _DECAYS else _shown
    values = [" / ".join(" → ".join(map(shown, ends)) for ends in of_run) for of_run in keys]
    numbers = [k[0][0] if len(k) == 1 and len(k[0]) == 1 else math.nan for k in keys]
    # A setting that an optimizer does not have is 0.
    same = [() if key == ((0.0,),) else key for key in keys]
    return _setting(name, name, [value or _NONE for value in values], numbers, same)


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _shown(value: float) -> str:
    short = number(value)
    is_whole = math.isclose(float(short), value, rel_tol=SAME) if math.isfinite(value) else True
    return short if is_whole else f"{value:.4g}"


def _schedule(runs: Sequence[Signals]) -> Setting | None:
    """The shape of the main group's learning rate, regardless of its height."""
    if not all(math.isfinite(signals.peak_lr) and signals.peak_lr > 0 for signals in runs):
        return None
    start = max(float(signals.steps[0]) for signals in runs)
    end = min(float(signals.steps[-1]) for signals in runs)
    if end < start:
        return None
    at = np.linspace(start, end, 201)
    curves = [np.interp(at, s.steps, _filled(s.lr) / s.peak_lr) for s in runs]
    classes = _classes(curves, lambda a, b: float(np.abs(a - b).max()) <= SAME_SHAPE)
    return _setting("schedule", say("schedule"), [*map(_shape, runs)], None, classes)


def _filled(values: Float64s) -> Float64s:
    known = np.flatnonzero(np.isfinite(values))
    filled: Float64s = np.interp(np.arange(values.size), known, values[known])
    return filled


def _shape(signals: Signals) -> str:
    """Describe how a learning rate changes."""
    lr, peak, warmup = _filled(signals.lr), signals.peak_lr, signals.warmup_end
    if signals.is_warming_up:
        return say("warm-up, not over at step {step}", step=step(signals.run.last_step))
    after = lr[signals.steps >= warmup] / peak
    parts = [say("warm-up of {steps} steps", steps=step(warmup))] if warmup else []
    if float(np.ptp(after)) <= SAME_SHAPE:
        parts.append(say("constant"))
    else:
        middle, last = percent(float(after[after.size // 2])), percent(float(after[-1]))
        parts.append(
            say("at {last} of the peak at the end, {middle} half-way", last=last, middle=middle)
        )
    return joined(parts, ", ")


# --- settings that are not numbers ------------------------------------------------------------


def _options(runs: Sequence[Signals]) -> list[Setting]:
    known = {name for signals in runs for name in signals.run.hyperparameters}
    groups = [group for signals in runs for group in signals.run.groups]
    names = dict.fromkeys(name for group in groups for name in group.options)
    found = []
    for name in names:
        if name in known or name in _NOT_SETTINGS:
            continue
        of_runs = [
            tuple(dict.fromkeys(g.options.get(name) for g in signals.run.groups))
            for signals in runs
        ]
        values = [
            " / ".join(_NONE if o is None else str(o) for o in options) for options in of_runs
        ]
        # An option that an optimizer does not have is off.
        keys = [tuple(dict.fromkeys(option or None for option in options)) for options in of_runs]
        found.append(_setting(name, name, values, None, keys))
    return found


def _parameters(runs: Sequence[Signals]) -> Setting:
    keys = [tuple(sorted((p.name, p.shape) for p in s.run.parameters)) for s in runs]
    values = [
        say(
            "{tensors} tensors, {elements} elements",
            tensors=f"{len(s.run.parameters):,}",
            elements=f"{int(s.run.elements.sum()):,}",
        )
        for s in runs
    ]
    return _setting("parameters", say("trained parameters"), values, None, keys)


def _types(runs: Sequence[Signals]) -> Setting:
    values = [" / ".join(sorted({p.dtype for p in s.run.parameters})) for s in runs]
    return _setting("dtype", say("type of weights"), values, None, values)


def _initial_weights(runs: Sequence[Signals]) -> Setting | None:
    """Whether the initial weights are the same numbers, and their size; None if unknown."""
    first = [_first_rms(signals) for signals in runs]
    if not all(first):
        return None
    classes = _classes(first, _are_same_numbers)
    medians = [float(np.median([*rms.values()])) for rms in first]
    values: list[str] = []
    for run, median in enumerate(medians):
        base = medians[classes[0]]
        is_other = classes[run] != 0 and abs(median / base - 1) <= SAME_SCALE if base else False
        shown = number(median)
        values.append(
            say("RMS {rms}, other random numbers", rms=shown)
            if is_other
            else say("RMS {rms}", rms=shown)
        )
    return _setting(INITIAL_WEIGHTS, say("initial weights"), values, None, classes)


def _first_rms(signals: Signals) -> Mapping[str, float]:
    """RMS of each weight before the first step, by name; empty if unknown."""
    run = signals.run
    if "weight_rms" not in run.statistics or not run.step.size or run.step[0] > 1:
        return {}
    chosen: Indices = run.weights_or_matrices
    row = run.statistic("weight_rms")[0, chosen]
    return {
        run.names[i]: float(rms)
        for i, rms in zip(chosen.tolist(), row.tolist(), strict=True)
        if math.isfinite(rms)
    }


def _are_same_numbers(first: Mapping[str, float], second: Mapping[str, float]) -> bool:
    return first.keys() == second.keys() and all(
        math.isclose(first[name], second[name], rel_tol=SAME_NUMBERS) for name in first
    )


def _length(runs: Sequence[Signals]) -> Setting:
    lengths = [signals.run.last_step for signals in runs]
    return _setting(LENGTH, say("steps"), [*map(step, lengths)], lengths, lengths)


def _classes(items: Sequence[_Item], are_same: Callable[[_Item, _Item], bool]) -> list[int]:
    """For each item the index of the first equal one."""
    found: list[int] = []
    for place, item in enumerate(items):
        earlier = (i for i in dict.fromkeys(found) if are_same(items[i], item))
        found.append(next(earlier, place))
    return found
