"""The laboratory's counts, and how it parses advice."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from faults.runs.training import Outcome
from faults.verdict import confusion
from faults.verdict.compass_table import compass_rows, count_needles
from faults.verdict.diagnosed_runs import DiagnosedRun, best_losses, progress_of, rank_of
from faults.verdict.recordings import wanted_runs
from faults.verdict.replay import advised_change, first_advice, verdict
from faults.verdict.report import report
from faults.verdict.side_by_side import common, differences, side_by_side
from laboratory_runs import (
    case_of,
    diagnosed,
    finding,
    one_core,  # noqa: F401
)

from tb_adam_plugin.diagnosis.compass import Reading


def test_progress_is_relative_to_the_best_run() -> None:
    assert progress_of(Outcome(3.0, 2.0, 0.0), best_loss=1.0) == 0.5
    assert progress_of(Outcome(3.0, 4.0, 0.0), best_loss=1.0) == -0.5
    assert progress_of(Outcome(3.0, math.inf, 0.0), best_loss=1.0) == -math.inf


@pytest.mark.parametrize("more", ["adamw_long", "adamw_large_batch", "adamw_accumulation"])
def test_a_run_with_more_examples_does_not_set_the_measure(more: str, tmp_path: Path) -> None:
    case = case_of(more)
    runs = wanted_runs([replace(case_of("healthy_adamw-"), task=case.task), case], tmp_path)
    for run, loss in zip(runs, (1.0, 0.5), strict=True):
        run.folder.mkdir(parents=True)
        Outcome(3.0, loss, 0.1).save(run.folder / "outcome.json")
    assert best_losses(runs) == {case.task.name: 1.0}
    assert best_losses(runs[1:]) == {case.task.name: 0.5}


def test_the_rank_leaves_out_what_began_before_the_fault() -> None:
    found = [finding("other"), finding("right", first=10), finding("right", first=60)]
    assert rank_of(["right"], 0, found) == 2
    assert rank_of(["right"], 50, found) == 3
    assert rank_of(["right"], 100, found) is None


def test_a_run_that_is_not_a_number_is_harmed() -> None:
    case = case_of("not_finite")
    assert diagnosed(case, -math.inf).is_harmed
    assert diagnosed(case, math.nan).is_harmed
    assert not diagnosed(case, 0.9).is_harmed


def test_an_alarm_that_is_over_before_the_fault_is_an_early_one() -> None:
    case = case_of("learning_rate_jumped")
    early, info = finding("lr_too_low", last=100), finding("plateau", "info", last=100)
    run = diagnosed(case, 0.5, early, info, finding("lr_jump", first=151))
    assert run.early_alarms == (early,)


def test_the_tables_count_named_first_harmed_and_false_alarms() -> None:
    decay, high, healthy = (case_of(w) for w in ("too_strong", "too_high", "healthy"))
    unclaimed, mild = case_of("noisy_labels"), case_of("10_times_too_high")
    runs = [
        diagnosed(decay, 0.2, finding("weight_decay_too_strong")),
        diagnosed(decay, 0.95, finding("weight_decay_too_strong")),
        diagnosed(decay, 0.3, finding("eps_dominates"), finding("weight_decay_too_strong")),
        diagnosed(high, 0.1, finding("plateau", "info")),
        diagnosed(high, 0.2, finding("dead_units"), finding("lr_too_high", "info")),
        diagnosed(unclaimed, 0.1, finding("weight_decay_too_strong")),
        diagnosed(case_of("random_labels"), 0.1),
        diagnosed(mild, 0.6),
        diagnosed(mild, 0.8, finding("lr_too_high", "info")),
        diagnosed(healthy, 1.0, finding("plateau", "info")),
        diagnosed(healthy, 0.7, finding("weight_decay_too_strong")),
    ]
    totals = confusion.totals(runs)
    assert [str(share) for share in vars(totals).values()] == ["3/4", "2/4", "1/4", "1/2"]
    by_fault = {row.kind: row for row in confusion.fault_rows(runs)}
    row = by_fault["weight decay too strong"]
    assert (row.runs, row.harmed) == (3, 2)
    assert (str(row.named), str(row.named_when_harmed), str(row.first_when_harmed)) == (
        "3/3", "2/2", "1/2",
    )  # fmt: skip
    assert row.others == (("eps_dominates", 1),)
    assert by_fault["learning rate too high"].steps_until_named == 20
    by_itself = by_fault["learning rate 10 times too high"]
    assert (str(by_itself.named_when_harmed), str(by_itself.first_when_harmed)) == ("1/2", "1/2")
    by_rule = {row.rule: row for row in confusion.rule_rows(runs)}
    assert str(by_rule["weight_decay_too_strong"].named) == "2/2"
    assert str(by_rule["weight_decay_too_strong"].false_alarms) == "1/2"
    assert str(by_rule["weight_decay_too_strong"].questions) == "0/2"
    asked = by_rule["lr_too_high"]
    assert (str(asked.named), str(asked.named_by_alarm)) == ("1/2", "0/2")
    assert [run.progress for run in confusion.missed(runs)] == [0.3, 0.1, 0.2, 0.1]
    text = report("tuning", runs, None)
    assert "| weight decay too strong | 3 | 2 | 3/3 | 2/2 | 1/2 | 20 | eps_dominates 1 |" in text


def test_ways_to_record_stand_side_by_side_and_their_differences_are_listed() -> None:
    decay, rounding, healthy, low = (
        case_of(w) for w in ("too_strong", "rounds_to_zero", "healthy", "too_low")
    )
    found = finding("weight_decay_too_strong")
    first = [
        diagnosed(decay, 0.2, found),
        diagnosed(rounding, 0.2, finding("eps_rounds_to_zero")),
        diagnosed(healthy, 1.0),
        diagnosed(low, 0.3, finding("lr_too_low", "info")),
    ]
    second = [
        diagnosed(decay, 0.2, finding("eps_dominates"), found),
        diagnosed(rounding, 0.2, finding("eps_rounds_to_zero")),
        diagnosed(healthy, 1.0, found),
        diagnosed(low, 0.3),
    ]
    rows = [
        line.strip("| ").split(" | ")
        for line in side_by_side({"a": first, "b": second}).split("\n")
    ]
    table = {row[0]: row[1:] for row in rows if len(row) == 3}
    assert table["harmful faults named"] == ["2/2 (100.0 %)", "2/2 (100.0 %)"]
    assert table["named first"] == ["2/2 (100.0 %)", "1/2 (50.0 %)"]
    assert table["of those with a threshold named"] == ["1/1 (100.0 %)", "1/1 (100.0 %)"]
    assert table["faults that are asked about, named"] == ["1/1 (100.0 %)", "0/1 (0.0 %)"]
    assert table["healthy runs with an alarm"] == ["0/1 (0.0 %)", "1/1 (100.0 %)"]
    differing = differences(first, second)
    assert [line.split("`")[1] for line in differing] == [decay.name, healthy.name, low.name]
    assert "quiet against alarm (weight_decay_too_strong)" in differing[1]
    assert [len(runs) for runs in common(first, second[1:])] == [3, 3]


def test_the_compass_is_counted_over_all_healthy_runs() -> None:
    def reading(variant: str, factor: float) -> DiagnosedRun:
        compass = Reading("", "", factor, 0.5, np.zeros(0), np.zeros(0))
        return replace(diagnosed(case_of(f"healthy_{variant}"), 1.0), reading=compass)

    runs = [
        reading("adamw-", 1.0), reading("adamw_cosine", 0.3), reading("sgd_cosine", 4.0),
        reading("adamw_lr_2", 0.2), reading("lion", math.nan),
        diagnosed(case_of("healthy_rmsprop"), 1.0),
    ]  # fmt: skip
    count = count_needles(runs)
    assert (count.near, count.silent, count.too_low, count.too_high) == (2, 2, 1, 1)
    assert str(count.near_or_silent) == "4/6"


def test_mild_faults_are_rows_of_the_compass() -> None:
    compass = Reading("", "", 1.0, 0.5, np.zeros(0), np.zeros(0))
    cases = case_of("3_times_too_low"), case_of("too_high_adamw_x30-"), case_of("weight_decay")
    runs = [replace(diagnosed(case, 1.0), reading=compass) for case in cases]
    assert [row.factor for row in compass_rows(runs)] == [0.33, 30]


@pytest.mark.parametrize(
    ("advice", "change"),
    [
        ("Try lr 3e-4 instead of 0.1: update-to-weight ratio", ("learning_rate", 3e-4)),
        ("Warm up, or try beta2 0.95.", ("beta2", 0.95)),
        ("Try eps 1e-10 instead of 0.1.", ("epsilon", 1e-10)),
        ("Try beta1 0.9 instead of 0.999.", ("beta1", 0.9)),
        ("Try weight_decay 0.03 instead of 30: decay / update 3.", ("weight_decay", 0.03)),
        ("Try something else: lr 3 is no advice.", None),
    ],
)
def test_advice_is_read_from_the_sentence(advice: str, change: tuple[str, float] | None) -> None:
    assert advised_change(advice) == change


def test_the_first_advice_that_is_no_consequence_is_followed() -> None:
    run = diagnosed(
        case_of("too_low"),
        0.5,
        finding("plateau", "info"),
        finding("lr_too_low", advice="Try lr 1e-2.", consequence_of="lr_decayed_early"),
        finding("eps_dominates", advice="Try eps 1e-8 instead of 1."),
    )
    advice = first_advice(run)
    assert advice is not None
    assert (advice[0].rule, *advice[1:]) == ("eps_dominates", "epsilon", 1e-8)


def test_small_differences_are_none() -> None:
    assert [verdict(0.5, after) for after in (0.6, 0.51, 0.49, 0.4)] == [
        "improved", "same", "same", "worse",
    ]  # fmt: skip
    assert verdict(-math.inf, 0.0) == "improved"
