"""Defines rules and findings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from tb_adam_plugin.arrays import Flags, Float32s, Float64s, Indices
from tb_adam_plugin.languages.catalogues import catalogue
from tb_adam_plugin.languages.sentences import in_language
from tb_adam_plugin.schema import LOSS, OPTIONAL_STEP_COLUMNS, STATISTIC_BY_NAME, STEP_COLUMNS

from . import thresholds
from .recorded_run import RecordedRun
from .signals import Signals

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")


def worst_severity(*severities: Severity) -> Severity:
    """The worst of some severities."""
    return min(severities, key=SEVERITIES.index)


@dataclass(frozen=True, slots=True)
class Condition:
    """Where a rule holds.

    Attributes:
        step: float64 ``[points]``: the steps of the points, ascending.
        holds: bool ``[points]`` for the run as a whole, ``[points, columns]`` for each parameter.
        value: The compared values, same shape as ``holds``.
        threshold: What they were compared with.
        parameters: Indices of the columns; without columns, of the parameters concerned.
        names: Instead, names of parameters that have no statistics.
        lowest_is_worst: Whether the smallest value is the worst.
        blame: For the run as a whole: which parameters a point is about, by its index.
        every_step: Whether the points are steps, which are counted individually. Records are
            counted in windows, see :mod:`.windows`.
        since: Points up to this step do not count, such as a warm-up.
        known: At which points the value is known, bool ``[points]``; by default where it is not
            NaN. If too few are, a rule that finds nothing has not been evaluated.
        left_out: What is known but does not count, and why: sentences such as "training had
            converged" and bool ``[points]`` for each. Reported if too few remain.
        lacking: Any other shortage, such as "3 steps, needs 10"; "" if there is none.
        compared: The statistic, or column of every step, that has values like ``value`` and
            ``threshold``: as recorded, smoothed, or the median of several parameters. "" if they
            were derived from it and have other units, such as the factor by which it rose.
    """

    step: Float64s
    holds: Flags
    value: Float64s | Float32s
    threshold: float
    parameters: Indices | tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    lowest_is_worst: bool = False
    blame: Callable[[int], Indices] | None = None
    every_step: bool = False
    since: float = -np.inf
    known: Flags | None = None
    left_out: tuple[tuple[str, Flags], ...] = ()
    lacking: str = ""
    compared: str = ""


@dataclass(frozen=True, slots=True)
class Persistence:
    """How long a condition has to hold.

    Attributes:
        points: Consecutive windows of records, or steps if the condition is about every step.
        steps: At least this many steps from the first to the last of them.
    """

    points: int = 1
    steps: float = 0.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """A stretch of steps in which a rule's condition held.

    Attributes:
        signals: The run.
        parameters: Indices of the parameters concerned.
        names: Their names.
        first_step: Where it began.
        last_step: Where it, or the run, ended.
        worst_step: Where it was worst.
        value: The compared value there.
        threshold: What it was compared with.
        points: Number of points at which it held.
        compared: The statistic whose values were compared, or ""; see :class:`Condition`.
        course: Compared values at some points from the first to the last, including the worst,
            float64 ``[n, 2]``: a step and the worst value there.
    """

    signals: Signals
    parameters: Indices
    names: tuple[str, ...]
    first_step: float
    last_step: float
    worst_step: float
    value: float
    threshold: float
    points: int
    compared: str
    course: Float64s

    @property
    def worst_record(self) -> int:
        """Index of the record at which it was worst, or of the next record."""
        return int(np.searchsorted(self.signals.run.step, self.worst_step))

    @property
    def at_worst(self) -> Flags:
        """Selects the worst step among every step, bool ``[steps]``."""
        here: Flags = self.signals.steps == self.worst_step
        return here

    @property
    def is_over(self) -> bool:
        """Whether it ended well before the run."""
        return is_over(self.last_step, self.signals.run)


def is_over(last_step: float, run: RecordedRun) -> bool:
    """Whether something that ended at a step is over: stretches closer than that are merged."""
    gap = max(thresholds.MERGE_SHARE * (run.last_step - run.first_step), thresholds.WINDOW_STEPS)
    return bool(run.last_step - last_step > gap)


@dataclass(frozen=True, slots=True)
class Rule:
    """Something that can be wrong.

    Attributes:
        id: Id of the rule; its findings carry it.
        title: A few words.
        needs: Statistics, or columns of every step such as ``loss``, that it requires.
        condition: Where it holds; None if it does not apply, a reason if it cannot be evaluated.
        persistence: How long it must hold.
        severity: How bad it is, which may depend on the evidence.
        message: What was seen and why it matters.
        advice: What to change, in which direction and by how much; "" if there is nothing.
        reference: Source of the rule.
        explains: Ids of rules that fire as a consequence of this one.
        needs_any: If given, one of these is required; of a tuple all are required.
        uses: Additional inputs that it reads if they were recorded.
        question: The title if the severity is "info"; "" for the same one.
        once: Whether it is about a setting: all its stretches are then one finding, with one value
            to try.
        joined: Whether all its stretches are one finding although it is not about a setting: it may
            end.
        moves_lr: The direction in which its advice, also as a question, moves the learning rate; ""
            for neither.
        sets: The setting that its advice gives a value for. A consequence of such a finding does
            not give a second value for the same setting.
        symptom: Whether it usually follows from something else: then a question that explains it
            and began before is taken as its cause.
        shows: The statistic, or column of every step, that shows it best; by default the first one
            that it needs.
        silences_compass: Whether its alarm says what is wrong with the learning rate, or why the
            compass has no reading.
    """

    id: str
    title: str
    needs: tuple[str, ...]
    condition: Callable[[Signals], Condition | str | None]
    persistence: Persistence
    severity: Severity | Callable[[Evidence], Severity]
    message: Callable[[Evidence], str]
    advice: Callable[[Evidence], str]
    reference: str
    explains: tuple[str, ...] = ()
    needs_any: tuple[str | tuple[str, ...], ...] = ()
    uses: tuple[str, ...] = ()
    question: str = ""
    once: bool = False
    joined: bool = False
    moves_lr: Literal["down", "up", ""] = ""
    sets: str = ""
    symptom: bool = False
    shows: str = ""
    silences_compass: bool = False

    @property
    def statistic(self) -> str:
        """:attr:`shows` with its default; "" if no statistic shows it, such as for a setting."""
        needed = (name for name in self.needs if name in _CHARTED)
        return self.shows or next(needed, "")


_CHARTED = {*STATISTIC_BY_NAME, *STEP_COLUMNS, *OPTIONAL_STEP_COLUMNS, LOSS} - {"step"}


def together(names: str | tuple[str, ...]) -> tuple[str, ...]:
    """One entry of :attr:`Rule.needs_any` as a tuple of the required names."""
    return (names,) if isinstance(names, str) else names


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule reports about a run, in English; :meth:`in_language` translates it.

    Attributes:
        rule: Id of the rule.
        severity: How bad it is.
        title: A few words.
        text: What was seen and why it matters.
        advice: What to try, or "".
        reference: Source of the rule.
        parameters: Names of the parameters concerned.
        first_step: Where it began.
        last_step: Where it, or the run, ended.
        worst_step: Where to look, or None.
        value: The value there, which was compared with the threshold.
        threshold: The rule's threshold.
        consequence_of: Id of the rule whose finding explains this one, or None.
        statistic: The statistic, or column of every step, that shows it best, or "".
        course: Compared values at some steps from the first to the last, including the worst: pairs
            of a step and the worst value there.
        as_recorded: Whether value and threshold are values of the statistic, so the threshold can
            be drawn in its chart; False if they were derived from it or from others.
    """

    rule: str
    severity: Severity
    title: str
    text: str
    advice: str
    reference: str
    parameters: tuple[str, ...]
    first_step: float
    last_step: float
    worst_step: float | None
    value: float
    threshold: float
    consequence_of: str | None = None
    statistic: str = ""
    course: tuple[tuple[float, float], ...] = ()
    as_recorded: bool = False

    def in_language(self, language: str) -> Finding:
        """Return the same finding with title, text and advice in another language.

        Ids, numbers and names of parameters are unchanged.

        Args:
            language: "en" or "zh".

        Raises:
            ValueError: If the language does not exist.
        """
        words = catalogue(language)
        return replace(
            self,
            title=in_language(self.title, words),
            text=in_language(self.text, words),
            advice=in_language(self.advice, words),
        )


@dataclass(frozen=True, slots=True)
class NotEvaluated:
    """A rule that could not be evaluated for a run.

    Attributes:
        rule: Id of the rule.
        title: A few words.
        reason: Why it could not be evaluated.
    """

    rule: str
    title: str
    reason: str

    def in_language(self, language: str) -> NotEvaluated:
        """Return the same with title and reason in another language.

        Args:
            language: "en" or "zh".

        Raises:
            ValueError: If the language does not exist.
        """
        words = catalogue(language)
        title, reason = in_language(self.title, words), in_language(self.reason, words)
        return NotEvaluated(self.rule, title, reason)
