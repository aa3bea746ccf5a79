"""A diagnosis that reads records where it looks at them says what one of whole arrays does."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from rule_runs.every_rule import PLANTED
from stored_by_record import by_record, check_same
from synthetic_runs import changed, make_run

from tb_adam_plugin.diagnosis.compass import read_compass
from tb_adam_plugin.diagnosis.diagnose import diagnose, why_not_evaluated
from tb_adam_plugin.diagnosis.engine.kept_by_record import KeptByRecord
from tb_adam_plugin.diagnosis.engine.recorded_run import RecordedRun
from tb_adam_plugin.diagnosis.engine.rule import Condition
from tb_adam_plugin.diagnosis.engine.signals import Signals
from tb_adam_plugin.diagnosis.engine.statistic import Statistic
from tb_adam_plugin.diagnosis.rules.registry import RULES

# Of a run that grows, a rule may look at few records again: the first one, the one before the new
# one, those of its evidence, and a column where a parameter is concerned for the first time.
ROWS_AGAIN = 12


def first_records(run: RecordedRun, records: int) -> RecordedRun:
    """The run as it was when it had so many records."""
    last = run.step[records - 1]
    known = run.every_step["step"] <= last
    return replace(
        run,
        step=run.step[:records],
        wall_time=run.wall_time[:records],
        statistics={n: v[:records] for n, v in run.statistics.items()},
        hyperparameters={n: v[:records] for n, v in run.hyperparameters.items()},
        every_step={n: v[known] for n, v in run.every_step.items()},
    )


@pytest.mark.parametrize("rule", PLANTED)
@pytest.mark.parametrize("at_once", [7, 10**6])
def test_every_rule_says_the_same_of_records(rule: str, at_once: int) -> None:
    run = changed(*PLANTED[rule])
    check_same(diagnose(by_record(run, at_once)[0]), diagnose(run))


@pytest.mark.parametrize("rule", PLANTED)
def test_a_run_that_grows_by_little_or_much_says_the_same(rule: str) -> None:
    run = changed(*PLANTED[rule])
    diagnosis = None
    for records in (1, 7, 20, 21, run.step.size - 1, run.step.size):
        part = first_records(run, records)
        diagnosis = diagnose(by_record(part, 5)[0], diagnosis)
        check_same(diagnosis, diagnose(part))


@pytest.mark.parametrize("rule", PLANTED)
def test_of_a_run_that_grew_only_new_records_are_read(rule: str) -> None:
    run = changed(*PLANTED[rule])
    earlier = diagnose(by_record(first_records(run, run.step.size - 1), 5)[0])
    grown, statistics = by_record(run, 5)
    diagnose(grown, earlier)
    rows = {record for _, start, stop in statistics.read for record in range(start, stop)}
    several = [(name, a, b) for name, a, b in statistics.read if b - a > 2]
    assert not several
    assert run.step.size - 1 in rows
    assert len(rows) <= ROWS_AGAIN


def test_a_restart_is_read_from_where_it_began() -> None:
    run = changed(*PLANTED["dead_units"])
    earlier = diagnose(by_record(run, 5)[0])
    again = replace(run, wall_time=run.wall_time + np.where(run.step >= run.step[-3], 1, 0))
    grown, statistics = by_record(again, 5)
    check_same(diagnose(grown, earlier), diagnose(again))
    rows = {record for _, start, stop in statistics.read for record in range(start, stop)}
    assert {run.step.size - 3, run.step.size - 1} <= rows
    assert len(rows) <= ROWS_AGAIN


def test_a_diagnosis_reads_each_record_of_a_statistic_once_or_twice() -> None:
    """However many rules ask: the pass, and what turns out to be needed after it."""
    run = make_run(last=3000)
    stored, statistics = by_record(run, 16)
    diagnose(stored)
    in_parts = [(a, b) for _, a, b in statistics.read if 2 < b - a < run.step.size]
    assert max(b - a for a, b in in_parts) <= 17
    order = [start for start, _ in in_parts]
    assert sum(after + 17 < before for before, after in pairwise(order)) == 0


# --- parts --------------------------------------------------------------------------------------


def test_a_statistic_is_indexed_as_an_array_is() -> None:
    values = np.arange(12, dtype=np.float32).reshape(4, 3)
    statistic = Statistic(lambda start, stop: values[start:stop], 4)
    assert len(statistic) == 4
    for key in (slice(1, None), slice(None), slice(0, 0), slice(2, 100), slice(None, None, 2)):
        np.testing.assert_array_equal(statistic[key], values[key])
    for record in (0, 3, -1, np.int64(2)):
        np.testing.assert_array_equal(statistic[record], values[record])
        chosen = np.array([2, 0])
        np.testing.assert_array_equal(statistic[record, chosen], values[record, chosen])
    with pytest.raises(IndexError):
        statistic[4]


@pytest.mark.parametrize("known", [0, 3, 10])
@pytest.mark.parametrize("at_once", [1, 4, 9, 50])
def test_one_pass_computes_what_is_made_of_another_array(known: int, at_once: int) -> None:
    values = np.random.default_rng(0).random((20, 2))

    def ask(kept: KeptByRecord) -> list[npt.NDArray[np.float64]]:
        def of_both(part: slice) -> npt.NDArray[np.float64]:
            return kept.get("first", lambda p: values[p] * 2)[part] + values[part]

        return [kept.get("made of it", of_both), kept.get("last", lambda p: values[p].sum(axis=1))]

    before = KeptByRecord(known)
    before.get("made of it", lambda _: values[:known] * 3)
    before.release()
    kept = KeptByRecord(20, before if known else None, known)
    with kept.in_one_pass(at_once):
        early = ask(kept)
        np.testing.assert_array_equal(early[0][:known], values[:known] * 3)
    both, last = ask(kept)
    np.testing.assert_allclose(both, values * 3)
    np.testing.assert_allclose(last, values.sum(axis=1))
    np.testing.assert_allclose(kept.get("first", lambda p: values[p] * 0), values * 2)


@pytest.mark.parametrize("rule", PLANTED)
def test_no_rule_trips_over_what_is_not_computed_yet(rule: str) -> None:
    stored, _ = by_record(changed(*PLANTED[rule]), 7)

    def ask(signals: Signals) -> None:
        for asked in RULES:
            if not why_not_evaluated(asked, signals):
                asked.condition(signals)
        read_compass(signals, (), RULES)

    with np.errstate(all="ignore"):
        Signals(stored).prepare(ask)


def test_a_rule_that_trips_beforehand_is_applied_all_the_same() -> None:
    """An array that is not computed yet is no reason for a finding, nor for an error."""
    run = make_run()
    values = run.statistics["weight_rms"]

    def condition(signals: Signals) -> Condition:
        seen = signals.by_record("seen", lambda part: signals.statistic("weight_rms")[part])
        np.testing.assert_array_equal(seen, values)
        return Condition(run.step, np.ones(run.step.size, bool), run.step, 0.0)

    rules = [replace(RULES[0], condition=condition, needs=(), needs_any=(), severity="info",
                     message=lambda _: "seen", advice=lambda _: "")]  # fmt: skip
    (finding,) = diagnose(by_record(run, 5)[0], rules=rules).findings
    assert finding.text == "seen"


def test_little_is_not_asked_for_beforehand() -> None:
    run = changed(*PLANTED["dead_units"])
    stored, _ = by_record(run, 5)
    asked: list[Signals] = []

    def trip(signals: Signals) -> None:
        asked.append(signals)
        signals.is_known("weight_rms")

    signals = Signals(stored)
    signals.prepare(trip)
    assert len(asked) == 1
    assert asked[0] is not signals
    small, _ = by_record(run, 10**6)
    Signals(small).prepare(trip)
    assert len(asked) == 1
