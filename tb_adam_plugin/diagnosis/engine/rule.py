"""What a rule is, and what it finds."""

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
        step: float64 ``[points]``: those that were looked at, ascending.
        holds: bool ``[points]`` for the run as a whole, ``[points, columns]`` for each parameter.
        value: What was compared, of the shape of ``holds``.
        threshold: What it was compared with.
        parameters: Indices of the columns; where there are none, of what is concerned.
        names: Instead, names of parameters that have no statistics.
        lowest_is_worst: Whether the worst point is that of the smallest value.
        blame: For the run as a whole: which parameters a point is about, by its index.
        every_step: Whether the points are steps, which are counted as they are. Records are counted
            in windows, see :mod:`.windows`.
        since: The points up to this step do not count: the warm-up, say.
        known: At which points anything is known, bool ``[points]``; by default where a value is no
            NaN. Where too few are, a rule that finds nothing has not been evaluated.
        left_out: What is known but does not count, and why: sentences such as "training had
            converged" and bool ``[points]`` for each. Where too few are known for that, it is said.
        lacking: What is too few for it otherwise, as "3 steps, needs 10"; "" if nothing is.
        compared: The statistic, or column of every step, that has values such as ``value`` and
            ``threshold``: as recorded, smoothed, or the median of several parameters. "" where they
            were derived from it in other units, as the factor by which it rose.
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
        points: Windows of records in a row, or steps where the condition is about every step.
        steps: From the first to the last of them, at least.
    """

    points: int = 1
    steps: float = 0.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """A stretch of steps in which a rule's condition held.

    Attributes:
        signals: The run.
        parameters: Indices of those concerned.
        names: Their names.
        first_step: Where it began.
        last_step: Where it ended, or the run does.
        worst_step: Where it was worst.
        value: What was compared, there.
        threshold: What it was compared with.
        points: At how many points it held.
        compared: The statistic whose values were compared, or ""; see :class:`Condition`.
        course: What was compared at some of the points from the first to the last, the worst one
            among them, float64 ``[n, 2]``: a step and the worst value there.
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
        """Index of the record at which it was worst, or of the next one where that has none."""
        return int(np.searchsorted(self.signals.run.step, self.worst_step))

    @property
    def at_worst(self) -> Flags:
        """Which step of every step it was worst at, bool ``[steps]``."""
        here: Flags = self.signals.steps == self.worst_step
        return here

    @property
    def is_over(self) -> bool:
        """Whether it ended well before the run does."""
        return is_over(self.last_step, self.signals.run)


def is_over(last_step: float, run: RecordedRun) -> bool:
    """Whether what ended at a step is over: stretches that are closer than that are one."""
    gap = max(thresholds.MERGE_SHARE * (run.last_step - run.first_step), thresholds.WINDOW_STEPS)
    return bool(run.last_step - last_step > gap)


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that can be wrong.

    Attributes:
        id: Of the rule; findings carry it.
        title: In a few words.
        needs: Statistics, or columns of every step as ``loss``, without which it says nothing.
        condition: Where it holds; None where there is nothing that it could be about, a reason
            where it cannot be evaluated.
        persistence: For how long it must.
        severity: How bad it is, which may depend on the evidence.
        message: What was seen and why it matters.
        advice: What to change, in which direction and by how much; "" if there is nothing.
        reference: Where that is known from.
        explains: Ids of rules that fire as a consequence of this one.
        needs_any: One of these is enough, where there are any; of a tuple all are needed.
        uses: What it reads as well where it was recorded.
        question: The title where the severity comes out as "info"; "" for the same one.
        once: Whether it is about a setting, so that all its stretches are one finding, with one
            value to try.
        joined: Whether all its stretches are one finding though it is about no setting: one that
            may end.
        moves_lr: Which way its advice moves the learning rate, as a question too; "" for neither.
        sets: The setting that its advice gives a value of: what follows from a finding that gives
            one of the same setting gives no second one.
        symptom: Whether it mostly follows from something else: then a question that explains it,
            and began before, is taken for its cause.
        shows: The statistic, or column of every step, in which it is seen best; by default the
            first one that it needs.
        silences_compass: Whether an alarm of it says what is wrong with the learning rate, or why
            the compass cannot tell.
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
        """:attr:`shows` with its default; "" for what is seen in none, as a setting."""
        needed = (name for name in self.needs if name in _CHARTED)
        return self.shows or next(needed, "")


_CHARTED = {*STATISTIC_BY_NAME, *STEP_COLUMNS, *OPTIONAL_STEP_COLUMNS, LOSS} - {"step"}


def together(names: str | tuple[str, ...]) -> tuple[str, ...]:
    """One of :attr:`Rule.needs_any` as all the names that are needed."""
    return (names,) if isinstance(names, str) else names


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule says about a run, in English; :meth:`in_language` says it in another language.

    Attributes:
        rule: Its id.
        severity: How bad it is.
        title: In a few words.
        text: What was seen and why it matters.
        advice: What to try, or "".
        reference: Where that is known from.
        parameters: Names of those concerned.
        first_step: Where it began.
        last_step: Where it ended, or the run does.
        worst_step: Where to look, or None.
        value: What was compared with the threshold, there.
        threshold: The rule's.
        consequence_of: Id of the rule whose finding explains this one, or None.
        statistic: The statistic, or column of every step, in which it is seen best, or "".
        course: What was compared at some steps from the first to the last, the worst one among
            them: pairs of a step and the worst value there.
        as_recorded: Whether value and threshold are values of the statistic, so that the threshold
            can be drawn in its chart; False where they were derived from it, or from others.
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

        Ids, numbers and names of parameters stay as they are.

        Args:
            language: "en" or "zh".

        Raises:
            ValueError: If there is no such language.
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
    """A rule that says nothing about a run.

    Attributes:
        rule: Its id.
        title: In a few words.
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
            ValueError: If there is no such language.
        """
        words = catalogue(language)
        title, reason = in_language(self.title, words), in_language(self.reason, words)
        return NotEvaluated(self.rule, title, reason)
