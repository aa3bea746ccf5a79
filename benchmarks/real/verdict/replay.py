"""Follows the advice: trains a harmed run again with the value that a finding gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from faults.verdict.replay import advised_change

from real.recordings.keeping import Advised, Outcome, folder_of, is_recorded
from real.recordings.queue import Queue
from real.verdict.judged import Baseline, JudgedRun, harm_of


@dataclass(frozen=True)
class Replay:
    """A run that was trained again with one value changed.

    Attributes:
        run: The run that got the advice.
        rule: Rule of the finding that gave it.
        advised: The new value.
        outcome: Outcome of the new run.
        harm: Harm of the new run, in the unit of the measure.
    """

    run: JudgedRun
    rule: str
    advised: Advised
    outcome: Outcome
    harm: float

    @property
    def verdict(self) -> str:
        """The effect of the advice, in terms of harm."""
        if self.harm < self.run.harm - self.run.least_harm:
            return "improved"
        return "worse" if self.harm > self.run.harm + self.run.least_harm else "same"


def first_advice(run: JudgedRun) -> tuple[str, Advised] | None:
    """Return the first finding with a value that is not a consequence of another; None without."""
    for recorded in run.recorded:
        for finding in recorded.findings:
            change = advised_change(finding.advice)
            if change is not None and finding.consequence_of is None:
                return finding.rule, Advised(*change)
    return None


def replay_advice(runs: Sequence[JudgedRun], queue: Queue) -> list[Replay]:
    """Follow the advice of harmed runs.

    Args:
        runs: All judged runs.
        queue: Trains them.
    """
    followed = [
        (run, *advice)
        for run in runs
        if run.is_harmed and (advice := first_advice(run)) is not None
    ]
    queue.train_missing([run.case for run, _, _ in followed], [a for _, _, a in followed])
    replays = []
    for run, rule, advised in followed:
        if is_recorded(run.case, queue.cache, advised):
            outcome = Outcome.load(folder_of(run.case, queue.cache, advised))
            # The harm is a difference: the healthy runs' value is lower by it.
            healthy = Baseline(_healthy_value(run), 0.0)
            replays.append(Replay(run, rule, advised, outcome, harm_of(outcome, healthy)[0]))
    return replays


def _healthy_value(run: JudgedRun) -> float:
    better_is_more = run.outcome.measure in ("accuracy", "return")
    return run.outcome.after + run.harm * (1 if better_is_more else -1)


def replay_table(replays: Sequence[Replay]) -> str:
    """Return the effect of following the advice, as Markdown."""
    lines = [
        "## What following the advice did\n",
        "| run | advice | harm before | after | |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.run.case.name} | {r.rule}: {r.advised} | {r.run.harm:+.3f} | {r.harm:+.3f} | "
        f"{r.verdict} |"
        for r in replays
    ]
    return "\n".join(lines) + "\n"
