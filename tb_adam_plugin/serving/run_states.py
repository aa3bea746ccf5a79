"""The state of every run: a summary of its findings in a few numbers, for the list of runs.

Runs are diagnosed in one low-priority thread, one after the other, the newest first, and only while
a client asks. Between two rules and before each read it lets requests go first; if one needs a
diagnosis itself, the thread discards what it has begun. A few hundred bytes are kept per run;
intermediate results of the rules are not.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from tensorboard import errors

from tb_adam_plugin.diagnosis.diagnose import diagnose
from tb_adam_plugin.diagnosis.engine.rule import Condition, Rule
from tb_adam_plugin.diagnosis.engine.signals import Signals
from tb_adam_plugin.diagnosis.rule import SEVERITIES, Finding, Severity
from tb_adam_plugin.diagnosis.rules.registry import RULES
from tb_adam_plugin.reading.answers import Runs
from tb_adam_plugin.reading.not_found import choice
from tb_adam_plugin.reading.record_source import Experiment, UnreadableError
from tb_adam_plugin.reading.run_for_rules import recorded_run
from tb_adam_plugin.reading.store import Store
from tb_adam_plugin.serving.findings_cache import FindingsCache
from tb_adam_plugin.serving.free_memory import give_back
from tb_adam_plugin.serving.traffic import Traffic
from tb_adam_plugin.untrusted_text import printable, quoted

# Without named runs, this many of the newest are diagnosed: half a minute's work.
MOST_RUNS = 300
# A growing run is diagnosed again after this many seconds, and this many times its last duration.
LEAST_PAUSE, PAUSE = 20.0, 20.0
# Longest time in seconds that requests go first.
_LONGEST_WAIT = 1.0
_LOOK_EVERY = 0.02
# After a run, the thread rests for this share of its duration, at most this many seconds.
_REST, _LONGEST_REST = 0.25, 1.0
# Longer diagnoses leave enough memory to be worth returning.
_LONG = 0.5
_NICENESS = 10

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunState:
    """The findings of a run, summarized.

    Attributes:
        counts: Number of findings of each severity.
        first: Title of the first finding, or "".
    """

    counts: Mapping[Severity, int]
    first: str = ""

    @property
    def worst(self) -> Severity | None:
        """The worst severity of a finding."""
        return next((severity for severity in SEVERITIES if self.counts[severity]), None)


NOTHING_FOUND = RunState(dict.fromkeys(SEVERITIES, 0))


@dataclass(frozen=True, slots=True)
class _Known:
    """A state, the version of the run it belongs to, and the time of the next diagnosis."""

    state: RunState
    version: int
    again_at: float


class RunStates:
    """States of the runs of one experiment, the last one requested. Thread-safe."""

    def __init__(
        self,
        store: Store,
        findings: FindingsCache,
        traffic: Traffic,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start empty; nothing is read yet.

        Args:
            store: The store that holds the runs.
            findings: A cache of diagnoses.
            traffic: Requests that go first.
            clock: Returns seconds.
        """
        self._store, self._findings, self._traffic = store, findings, traffic
        self._clock = clock
        self._lock = threading.Lock()
        self._experiment: Experiment | None = None
        self._known: dict[str, _Known] = {}
        self._newest_first: tuple[Runs, list[str]] | None = None
        self._queue: list[tuple[str, int]] = []
        self._current = ""  # the run being diagnosed
        self._thread: threading.Thread | None = None

    def get(
        self, experiment: Experiment, wanted: Collection[str] = ()
    ) -> tuple[dict[str, RunState | None], bool]:
        """Return what is known so far, at once, and have the rest diagnosed.

        Args:
            experiment: The experiment.
            wanted: Runs to diagnose first, even beyond the newest :data:`MOST_RUNS`.

        Returns:
            The state of each run by TensorBoard's name, the newest first, None if still unknown;
            and whether runs are being diagnosed.

        Raises:
            tensorboard.errors.NotFoundError: If one of the wanted runs does not exist.
            tb_adam_plugin.reading.record_source.UnreadableError: If the runs cannot be listed.
        """
        runs = self._store.runs(experiment)
        versions = self._store.versions(experiment)
        for run in wanted:
            if run not in versions:
                raise errors.NotFoundError(
                    f"no run {quoted(run)} with Adam Debug data; {choice(versions)}"
                )
        with self._lock:
            if self._experiment is None or self._experiment.id != experiment.id:
                self._known, self._newest_first = {}, None
            self._experiment = experiment
            order = self._in_order(runs, versions)
            self._known = {run: known for run, known in self._known.items() if run in versions}
            now = self._clock()
            self._queue = [
                (run, versions[run])
                for run in dict.fromkeys([*wanted, *order[:MOST_RUNS]])
                if self._is_due(run, versions[run], now)
            ]
            if self._queue and self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name="adam_debug states", daemon=True
                )
                self._thread.start()
            states = {
                run: known.state if (known := self._known.get(run)) else None for run in order
            }
            return states, self._thread is not None

    def _in_order(self, runs: Runs, versions: Collection[str]) -> list[str]:
        if self._newest_first is None or self._newest_first[0] is not runs:
            ordered = sorted(runs.runs, key=lambda run: run.last[1], reverse=True)
            self._newest_first = runs, [run.run for run in ordered if run.run in versions]
        return self._newest_first[1]

    def _is_due(self, run: str, version: int, now: float) -> bool:
        known = self._known.get(run)
        if run == self._current:
            return False
        return known is None or (known.version != version and now >= known.again_at)

    def _work(self) -> None:
        _lower_priority()
        while (task := self._next()) is not None:
            experiment, run, version = task
            start = self._clock()
            try:
                self._findings.turns.wait_in_background()
                state = self._look_at(experiment, run)
            except _WantedError:
                give_back()
                self._look_later(run, version)
                continue
            end = self._clock()
            again_at = end + max(LEAST_PAUSE, PAUSE * (end - start))
            with self._lock:
                if self._experiment is not None and self._experiment.id == experiment.id:
                    self._known[run] = _Known(state, version, again_at)
                self._current = ""
            if end - start > _LONG:
                give_back()
            time.sleep(min(_REST * (end - start), _LONGEST_REST))

    def _next(self) -> tuple[Experiment, str, int] | None:
        """Return the next run to diagnose; None, which ends the thread, if there is none."""
        with self._lock:
            if not self._queue or self._experiment is None:
                self._thread = None
                return None
            self._current, version = self._queue.pop(0)
            return self._experiment, self._current, version

    def _look_later(self, run: str, version: int) -> None:
        """Look at a run again from the start, before any other."""
        with self._lock:
            self._current = ""
            if all(run != other for other, _ in self._queue):
                self._queue.insert(0, (run, version))

    def _look_at(self, experiment: Experiment, run: str) -> RunState:
        """Apply the rules to a run; an unreadable one has no findings."""
        try:
            kept = self._findings.kept(experiment, run)
            if kept is not None:
                return _state_of(kept.findings)
            self._make_way()
            recorded = recorded_run(self._store, experiment, run, self._make_way)
            rules = [_after(self._make_way, rule) for rule in RULES]
            return _state_of(diagnose(recorded, rules=rules, with_compass=False).findings)
        except _WantedError:
            raise
        except (errors.PublicError, UnreadableError) as error:
            _logger.info("Run %s is not in the list of states: %s", printable(run), error)
        except Exception:
            _logger.exception("Adam Debug could not determine the state of run %r", run)
        return NOTHING_FOUND

    def _make_way(self) -> None:
        end = time.monotonic() + _LONGEST_WAIT
        while True:
            if self._findings.turns.is_wanted:
                raise _WantedError
            if self._traffic.wait_until_quiet(_LOOK_EVERY) or time.monotonic() > end:
                return


class _WantedError(Exception):
    """A request has or wants its turn at a diagnosis."""


def _after(make_way: Callable[[], None], rule: Rule) -> Rule:
    """Return a rule that makes way before it is applied."""

    def condition(signals: Signals) -> Condition | str | None:
        make_way()
        return rule.condition(signals)

    return replace(rule, condition=condition)


def _state_of(findings: Collection[Finding]) -> RunState:
    counts = {s: sum(finding.severity == s for finding in findings) for s in SEVERITIES}
    return RunState(counts, next((finding.title for finding in findings), ""))


def _lower_priority() -> None:
    """Let other threads go first, if the system has thread priorities."""
    if sys.platform.startswith("linux"):
        try:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        except OSError:
            return
