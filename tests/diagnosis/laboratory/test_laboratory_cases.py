"""The laboratory's cases, halves, optimizers and learning rates."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from faults.runs import scan
from faults.runs.cases import Case, case_named
from faults.runs.fault import Fault
from faults.runs.faults import FAULTS
from faults.runs.settings import OPTIMIZERS, Settings, make_optimizer
from faults.tasks.task import SGD_WITHOUT_MOMENTUM, Task
from faults.tasks.tasks import tasks_of
from laboratory_runs import (
    REPORTING,
    TUNING,
    one_core,  # noqa: F401
)

from tb_adam_plugin.diagnosis.rules.registry import RULES


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
