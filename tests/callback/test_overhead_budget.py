"""How the share of the training time determines the interval between records."""

from __future__ import annotations

import math

import pytest
from overhead_budgets import (
    budget,
    recording_may_take_any_time,  # noqa: F401
)

from tb_adam_plugin.callback.schedule.intervals import Schedule
from tb_adam_plugin.callback.schedule.overhead import OverheadBudget


@pytest.mark.parametrize(
    ("share", "record", "step", "every", "stretch"),
    [
        (0.01, 0.010, 0.1, 10, 1),  # exactly 1 % at every 10 steps
        (0.01, 0.011, 0.1, 10, 2),
        (0.01, 0.010, 0.1, 1, 16),  # 10 or more; of powers of two the steps lie in one another
        (0.01, 0.010, 0.1, 1000, 1),
        (0.5, 0.010, 0.1, 1, 1),
        (0.01, 1.000, 0.1, 50, 32),
        (None, 1.000, 0.1, 1, 1),
    ],
)
def test_the_interval_is_as_long_as_the_share_demands(
    share: float | None, record: float, step: float, every: int, stretch: int
) -> None:
    assert budget(share, record, step, every=every).stretch(2000) == stretch


def test_nothing_is_stretched_before_both_times_are_known() -> None:
    unknown = OverheadBudget(0.01, (Schedule(1, 10_000),))
    unknown.begin_at(1)
    assert unknown.stretch(0) == 1
    unknown.add_own(1, 5.0, recorded=True)
    unknown.add_training(1.0)
    assert unknown.stretch(1) == 1
    unknown = OverheadBudget(0.01, (Schedule(1, 10_000),))
    unknown.begin_at(1)
    for number in (1, 2):
        unknown.add_own(number, 5.0, recorded=True)
    assert unknown.stretch(2) == 1
    unknown.add_training(0.0)
    assert unknown.stretch(2) == 1
    unknown.add_training(1.0)
    assert unknown.stretch(2) > 1


@pytest.mark.parametrize("total", [None, 300, 1000])
def test_a_short_run_takes_its_allowance_first(total: int | None) -> None:
    cheap = budget(0.01, 0.010, 0.001, every=1, total=total, after=16)  # 10 s for 1000 records
    assert cheap.stretch(16) == 1
    dear = budget(0.01, 0.2, 0.001, every=1, total=total, after=16)
    # 9 s are left, and 1 % of a run of a second; 5 s where the run may end after 200 steps.
    wanted, seconds = (184, 5.0) if total is None else (total - 16, 9.01)
    assert dear.stretch(16) == 2 ** math.ceil(math.log2(wanted * 0.2 / seconds))
    if total is None:
        for _ in range(17, 251):
            dear.add_training(0.001)
        assert dear.stretch(250) == 2 ** math.ceil(math.log2(150 * 0.2 / 7.0))
        assert dear.stretch(450) == 2 ** math.ceil(math.log2(550 * 0.2 / 9.0))


def test_a_long_run_spreads_what_is_left_over_its_records() -> None:
    # 10 s and 1 % of 10,000 s, for 10,000 records of a second each.
    assert budget(0.01, 1.0, 1.0, every=1, total=10_000, after=16).stretch(16) == 128


@pytest.mark.parametrize("closer_look", [False, True])
def test_everything_that_the_callback_does_counts(closer_look: bool) -> None:
    found = budget(0.01, 0.02, 0.01, every=1, total=400, after=100)
    assert found.stretch(100) == 1
    if closer_look:
        for number in range(101, 111):
            found.add_own(number, 0.5, recorded=True, asked_for=False)
    else:
        found.add_outside(9.0)
    assert found.stretch(110) > 4


def test_steps_between_records_leave_them_half_of_the_share() -> None:
    def stretch(between: float) -> int:
        found = budget(0.01, 0.0, 1.0, after=0)
        for number in range(1, 2200):
            found.add_training(1.0)
            found.add_own(number, between, recorded=False)
        for number in range(2200, 2240):
            found.add_own(number, between + 0.4, recorded=True)
        return found.stretch(2240)

    assert [stretch(between) for between in (0.0, 0.004, 0.02, 1.0)] == [4, 8, 8, 8]


@pytest.mark.parametrize(
    ("norm", "interval"), [(0.0004, 1), (0.0006, 2), (0.0012, 4), (1.0, 64), (0.0, 1)]
)
def test_gradient_norms_are_left_out_where_the_share_is_too_small(
    norm: float, interval: int
) -> None:
    # 1 % of a tenth of a second, half of that for records.
    found = budget(0.01, 0.01, 0.1)
    for step in range(2001, 2101):
        found.add_norm(norm)
        found.add_own(step, norm, recorded=False)
    found.add_outside(-100 * norm)
    assert found.norm_interval(2100) == interval
    unlimited = budget(None, 0.01, 0.1)
    unlimited.add_norm(1.0)
    assert unlimited.norm_interval(2001) == 1


@pytest.mark.parametrize("total", [None, 100_000])
def test_steps_of_a_fraction_of_a_millisecond_keep_to_the_allowance(total: int | None) -> None:
    """Measured on two small layers: steps of 0.3 ms, norms of 0.1, records of 3."""
    found = OverheadBudget(0.01, (Schedule(None, total),))
    found.begin_at(1)
    stretch = interval = records = norms = 0
    spent = 0.0
    for step in range(1, 100_001):
        schedule = Schedule(None, total)
        recorded = schedule.is_due(step, max(1, stretch))
        took = 0.003 if recorded else 0.00002
        records += recorded
        if not recorded and step % max(1, interval) == 0:
            norms += 1
            took += 0.0001
            found.add_norm(0.0001)
        spent += took
        found.add_training(0.0003)
        found.add_own(step, took, recorded=recorded)
        if recorded or step % 16 == 0:
            stretch = found.stretch(step) if recorded else stretch
            interval = found.norm_interval(step)
    assert spent <= 10 + 0.01 * 30 + 0.1
    assert records >= (200 if total else 400)
    assert norms > 20_000


def test_longer_intervals_make_up_for_a_closer_look() -> None:
    found = budget(0.01, 0.010, 0.1)
    for step in range(2001, 2017):
        found.add_own(step, 0.010, recorded=True, asked_for=False)
        assert found.stretch(step) == 2
    for step in range(2017, 2033):
        assert found.stretch(step) == 2
        found.add_own(step, 0.010, recorded=True)
    assert found.stretch(2033) == 1
    unlimited = budget(None, 0.010, 0.1)
    for step in range(2001, 2041):
        unlimited.add_own(step, 0.010, recorded=True, asked_for=False)
        assert unlimited.stretch(step) == 1


def test_old_times_are_forgotten() -> None:
    found = budget(0.01, 1.0, 0.1)
    for step in range(2001, 2041):
        found.add_own(step, 0.009, recorded=True)
    assert found.stretch(2041) == 1
    for _ in range(40):
        found.add_training(0.000905)
    assert found.stretch(2041) == 128


def test_the_first_record_allocates_memory_and_says_nothing_of_the_others() -> None:
    found = OverheadBudget(0.01, (Schedule(10),))
    found.begin_at(1)
    for number, seconds in ((1, 5.0), (2001, 0.009)):
        found.add_training(0.1)
        found.add_own(number, seconds, recorded=True)
    assert found.stretch(2001) == 1


def test_where_a_run_is_resumed_its_first_thousand_steps_are_dense_again() -> None:
    found = OverheadBudget(0.01, (Schedule(None),))
    found.begin_at(50_001)
    assert [found.interval(50_000 + n) for n in (1, 200, 201, 1000, 5000)] == [1, 1, 2, 5, 50]
    found.begin_at(1)
    assert found.start == 50_000
    found.begin_at(1, again=True)
    assert found.start == 0


def test_one_record_that_takes_long_does_not_end_recording() -> None:
    found = budget(0.01, 0.01, 0.1, every=1, total=300, after=16)
    found.add_own(17, 1000.0, recorded=True)
    assert found.stretch(17) == 1
    for number in range(18, 40):  # it stays so
        found.add_own(number, 1000.0, recorded=True)
    assert found.stretch(40) > 4
