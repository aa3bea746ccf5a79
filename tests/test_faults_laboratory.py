"""The laboratory of planted faults: its own logic, and a few of its runs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from faults import confusion, scan
from faults.cases import Case, case_named, cases_of
from faults.compass_table import compass_rows
from faults.diagnosed_runs import (
    DiagnosedRun,
    best_losses,
    diagnose_run,
    progress_of,
    rank_of,
)
from faults.faults import FAULTS, Fault
from faults.recordings import Wanted, record_missing, wanted_runs
from faults.replay import advised_change, first_advice, verdict
from faults.report import report
from faults.settings import OPTIMIZERS, Settings, make_optimizer
from faults.tasks import SGD_WITHOUT_MOMENTUM, Task, tasks_of
from faults.training import Outcome

from tb_adam_plugin.diagnosis.compass import Reading
from tb_adam_plugin.diagnosis.registry import RULES
from tb_adam_plugin.diagnosis.rule import Finding, Severity

TUNING, REPORTING = cases_of("tuning"), cases_of("reporting")


@pytest.fixture(autouse=True)
def one_core() -> Iterator[None]:
    """As the laboratory trains: threads cost more than they bring in so small networks."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def case_of(what: str, task: str = "") -> Case:
    """The first case of the tuning half with this in its name."""
    return next(c for c in TUNING if what in c.name and f"/{task}" in c.name)


def finding(
    rule: str, severity: Severity = "warning", *, first: float = 10.0, last: float = 300.0,
    advice: str = "", consequence_of: str | None = None,
) -> Finding:  # fmt: skip
    return Finding(
        rule, severity, rule, "", advice, "", (), first, last, None, 1.0, 0.5, consequence_of
    )


def diagnosed(case: Case, progress: float, *findings: Finding) -> DiagnosedRun:
    return DiagnosedRun(case, progress, findings, 20.0 if findings else None)


# --- what there is --------------------------------------------------------------------------------


def test_the_halves_share_neither_task_nor_seed() -> None:
    for of in (lambda case: case.task.name, lambda case: case.seed):
        assert not set(map(of, TUNING)) & set(map(of, REPORTING))


def test_every_case_has_a_name_of_its_own() -> None:
    cases = [*TUNING, *REPORTING]
    assert len({case.name for case in cases}) == len(cases)
    assert all(case_named(case.name) == case for case in cases)


@pytest.mark.parametrize("cases", [TUNING, REPORTING], ids=["tuning", "reporting"])
def test_healthy_runs_are_at_least_as_many_as_faulty_ones(cases: list[Case]) -> None:
    healthy = sum(not isinstance(case.planted, Fault) for case in cases)
    faulty = sum(isinstance(case.planted, Fault) and case.planted.counted for case in cases)
    assert 0 < faulty <= healthy


@pytest.mark.parametrize("cases", [TUNING, REPORTING], ids=["tuning", "reporting"])
def test_both_halves_have_every_fault(cases: list[Case]) -> None:
    assert {id(c.planted) for c in cases if isinstance(c.planted, Fault)} == set(map(id, FAULTS))


def test_every_kind_of_fault_has_enough_runs_in_the_reporting_half() -> None:
    runs = Counter(c.planted.kind for c in REPORTING if isinstance(c.planted, Fault))
    assert min(runs.values()) >= 6


def test_where_no_learning_rate_suits_an_optimizer_nothing_trains_with_it() -> None:
    left_out = [
        (task.name, optimizer)
        for task in tasks_of(4)
        for optimizer in (*OPTIMIZERS, SGD_WITHOUT_MOMENTUM)
        if optimizer not in task.learning_rates
    ]
    assert left_out
    for task, optimizer in left_out:
        name, _, without_momentum = optimizer.partition(" ")
        for settings in (case.settings for case in REPORTING if case.task.name == task):
            alike = (settings.beta1 == 0) == bool(without_momentum)
            assert settings.optimizer != name or (name == "sgd" and not alike)


def test_faults_name_rules_that_exist() -> None:
    assert {rule for fault in FAULTS for rule in fault.rules} <= {rule.id for rule in RULES}


def test_the_learning_rate_follows_its_schedule() -> None:
    settings = Settings("adam", 1.0, 8, steps=100)
    assert settings.learning_rate_at(100) == 1
    steps = replace(settings, schedule="steps")
    assert [steps.learning_rate_at(s) for s in (1, 50, 51, 75, 76)] == [1, 1, 0.1, 0.1, 0.01]
    cosine = replace(settings, schedule="cosine", warm_up_steps=20, schedule_steps=60)
    rates = [cosine.learning_rate_at(s) for s in (1, 10, 20, 40, 60, 100)]
    assert rates == pytest.approx([0.05, 0.5, 1, 0.5, 0, 0])
    linear = replace(cosine, schedule="linear")
    assert [linear.learning_rate_at(s) for s in (20, 30, 60)] == pytest.approx([1, 0.75, 0])
    restarts = replace(settings, schedule="restarts", steps=90)
    rates = [restarts.learning_rate_at(s) for s in (15, 30, 45, 60, 75)]
    assert rates == pytest.approx([0.5, 1, 0.5, 1, 0.5])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_get_the_settings(name: str) -> None:
    if name == "lion":
        pytest.importorskip("pytorch_optimizer")
    settings = Settings(name, 0.5, 8, weight_decay=0.25)
    optimizer = make_optimizer(settings, [torch.nn.Parameter(torch.ones(2))], 0.125)
    group = optimizer.param_groups[0]
    assert (group["lr"], group["weight_decay"]) == (0.125, 0.25)
    assert group.get("amsgrad", False) == (name == "amsgrad")


# --- what is counted ------------------------------------------------------------------------------


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


def test_mild_faults_are_rows_of_the_compass() -> None:
    compass = Reading("", "", 1.0, 0.5, np.zeros(0), np.zeros(0))
    cases = case_of("3_times_too_low"), case_of("too_high_adamw_x30-"), case_of("weight_decay")
    runs = [replace(diagnosed(case, 1.0), reading=compass) for case in cases]
    assert [row.factor for row in compass_rows(runs)] == [0.33, 30]


# --- learning rates ------------------------------------------------------------------------------


def test_the_scan_goes_on_until_its_best_is_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    def losses(_: Task, settings: Settings) -> tuple[float, float]:
        return 5.0, 1 + abs(math.log10(settings.learning_rate) - 1)

    monkeypatch.setattr(scan, "_losses", losses)
    initial, final = scan.losses_of(TUNING[0].task, SGD_WITHOUT_MOMENTUM, -1)
    assert (initial, min(final), max(final)) == (5.0, -2, 3)
    assert scan.learning_rate(scan.chosen(initial, final)) == 10


def test_of_two_learning_rates_that_are_almost_as_good_the_lower_is_chosen() -> None:
    assert scan.chosen(3.0, {-4: 2.0, -3: 1.04, -2: 1.0, -1: math.inf}) == -3
    assert scan.chosen(3.0, {-4: 2.0, -3: 1.05, -2: 1.0, -1: math.inf}) == -2


# --- advice ---------------------------------------------------------------------------------------


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


# --- recordings -----------------------------------------------------------------------------------


def test_what_is_recorded_is_not_trained_again(tmp_path: Path) -> None:
    case = case_of("healthy_adamw-", "mlp")
    (run,) = wanted_runs([case], tmp_path)
    assert not run.is_recorded
    run.folder.mkdir(parents=True)
    (run.folder / "recipe.txt").write_text(run.recipe, encoding="utf-8")
    assert not run.is_recorded  # as after an interruption
    Outcome(2.0, 1.0, 0.1).save(run.folder / "outcome.json")
    assert run.is_recorded
    told: list[str] = []
    assert record_missing([run], 1, told.append) == {}
    assert told == []
    other = Wanted(case, run.folder, replace(case.settings, learning_rate=0.5))
    assert not other.is_recorded


@pytest.mark.parametrize(
    ("what", "task"),
    [("missing_zero_grad", "mlp"), ("too_high_adamw_x100", ""), ("healthy_adamw-", "mlp")],
)
def test_a_fault_is_found_in_its_event_file_and_a_healthy_run_is_quiet(
    what: str, task: str, tmp_path: Path
) -> None:
    planted = case_of(what).planted
    case = replace(case_of("healthy_adamw-", "mlp"), planted=planted)
    run = Wanted(case, tmp_path / "run")
    run.record()
    best = best_losses([run])["mlp"]
    result = diagnose_run(run, best)
    if isinstance(planted, Fault):
        assert result.rank == 1
        assert result.steps_until_named is not None
        assert 0 < result.steps_until_named < case.settings.steps
    else:
        assert result.alarms == ()
        assert result.progress == 1.0


def test_training_is_the_same_every_time(tmp_path: Path) -> None:
    case = case_of("healthy_adamw-", "mlp")
    settings = replace(case.settings, steps=20)
    losses = [case.train(tmp_path / name, settings).final_loss for name in ("a", "b")]
    assert losses[0] == losses[1]
