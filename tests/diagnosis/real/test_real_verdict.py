"""What counts as harm, as named and as an alarm in runs with published recipes."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import replace

import numpy as np
import pytest
from real.recordings.cases import Case
from real.recordings.keeping import Advised, Outcome
from real.verdict.judged import Baseline, JudgedRun, Recorded, baselines, harm_of
from real.verdict.replay import Replay, first_advice, replay_table
from real.verdict.tables import report, verdict_of
from real_cases import case_of, one_core  # noqa: F401 - one_core is used by itself

from tb_adam_plugin.diagnosis.compass import Reading
from tb_adam_plugin.diagnosis.rule import Finding, Severity

# --- the verdict ----------------------------------------------------------------------------------


def finding(
    rule: str, severity: Severity = "warning", first: float = 1, advice: str = ""
) -> Finding:
    return Finding(rule, severity, rule, "", advice, "", (), first, 9, None, 1.0, 0.5)


def reading(factor: float) -> Reading:
    return Reading("", "", factor, 0.5, np.zeros(0), np.zeros(0))


def judged(case: Case, harm: float, *findings: Finding, factor: float = math.nan) -> JudgedRun:
    outcome = Outcome(
        case.family.name, case.kind.name, case.half, case.seed, {}, "nats", 5.0, 3.0 + harm, 3.0,
        case.settings.steps, 9, 1.0,
    )  # fmt: skip
    return JudgedRun(case, outcome, harm, 0.03, (Recorded(findings, reading(factor), 12),))


def test_harm_is_counted_beyond_what_healthy_runs_differ_by() -> None:
    case = case_of("vae", "healthy")
    run = judged(case, 0.0).outcome
    other = case_of("vae", "lr x10"), replace(run, kind="lr x10", after=9.0)
    found = baselines([(case, replace(run, after=3.0)), (case, replace(run, after=3.2)), other])
    baseline = found["vae", "tuning"]
    assert (baseline.median, baseline.spread) == pytest.approx((3.1, 0.2))
    assert harm_of(replace(run, after=4.0), baseline) == pytest.approx((0.9, 0.4))
    accuracy = replace(run, measure="accuracy", after=0.5)
    assert harm_of(accuracy, Baseline(0.9, 0.0)) == pytest.approx((0.4, 0.015))
    of_returns = replace(run, measure="return", after=50.0)
    assert harm_of(of_returns, Baseline(100.0, 0.0)) == pytest.approx((50, 15))
    assert math.isnan(harm_of(run, None)[0])


def test_a_learning_rate_that_did_no_harm_is_a_healthy_one() -> None:
    case = case_of("small_language_model", "lr x3")
    assert judged(case, 0.01).is_healthy
    assert not judged(case, 0.5).is_healthy
    assert judged(case, 0.5).is_counted
    other = judged(case_of("small_language_model", "decay on gains"), 0.0)
    assert not other.is_healthy
    assert not other.is_counted


def test_the_compass_is_held_against_the_truth_and_the_findings() -> None:
    high = case_of("small_language_model", "lr x10")
    assert judged(high, 1.0, factor=1.0).is_compass_right is False
    assert judged(high, 1.0, factor=8.0).is_compass_right is True
    assert judged(high, 1.0).is_compass_right is True
    assert judged(case_of("vae", "eps 1e-3"), 1.0, factor=1.0).is_compass_right is None
    asked = finding("lr_too_high", "info")
    assert judged(high, 1.0, asked, factor=1.0).is_at_odds
    assert not judged(high, 1.0, asked, factor=10.0).is_at_odds
    assert not judged(high, 1.0, asked).is_at_odds


def test_what_begins_before_the_fault_does_not_name_it() -> None:
    case = case_of("small_language_model", "bad batch")
    assert judged(case, 1.0, finding("gradient_spike", first=20)).rank is None
    assert judged(case, 1.0, finding("gradient_spike", first=133)).rank == 1


def test_the_tables_count_named_first_alarms_and_questions() -> None:
    runs = [
        judged(case_of("vae", "lr x10"), 1.0, finding("lr_too_high", "error")),
        judged(case_of("vae", "lr x30"), 1.0, finding("plateau"), finding("lr_too_high", "info")),
        judged(case_of("vae", "lr x0.1"), 1.0),
        judged(case_of("vae", "lr x3"), 0.0, finding("dead_units")),
        judged(case_of("vae", "healthy"), 0.0, finding("plateau", "info"), factor=1.5),
    ]
    lines = report(runs).split("\n")
    rows = {line.strip("| ").split(" | ")[0]: line.split(" | ")[1:] for line in lines}
    assert rows["faults that did harm, named"][0] == "2/3 (66.7 %)"
    assert rows["with an alarm"][0] == "1/3 (33.3 %)"
    assert rows["named first"][0] == "1/3 (33.3 %)"
    assert rows["healthy runs with an alarm"][0] == "1/2 (50.0 %)"
    assert rows["questions a healthy run"][0] == "0.50"
    assert "- vae, lr x3: 1 of 1: dead_units" in lines
    assert [verdict_of(run) for run in runs] == [
        "first", "place 2 as a question", "NOT NAMED", "ALARM", "quiet",
    ]  # fmt: skip


def test_advice_is_followed_and_said_to_have_helped_or_not() -> None:
    run = judged(
        case_of("vae", "lr x10"), 1.0, finding("lr_too_high", "error", advice="Try lr 0.001.")
    )
    assert first_advice(run) == ("lr_too_high", Advised("learning_rate", 0.001))
    assert Advised.parse(str(Advised("epsilon", 1e-8))) == Advised("epsilon", 1e-8)
    outcome = dataclasses.replace(run.outcome, after=3.1)
    replay = Replay(run, "lr_too_high", Advised("learning_rate", 0.001), outcome, 0.1)
    assert replay.verdict == "improved"
    assert "| +1.000 | +0.100 | improved |" in replay_table([replay])
    assert replace(replay, harm=2.0).verdict == "worse"
    assert replace(replay, harm=1.01).verdict == "same"
