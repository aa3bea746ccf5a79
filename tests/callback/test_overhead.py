"""The callback keeps its own cost below a share of the training time."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from recorded_run import RecordedRun, read_run
from torch import nn

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.schedule import overhead
from tb_adam_plugin.callback.schedule.intervals import Schedule
from tb_adam_plugin.callback.schedule.overhead import OverheadBudget
from tb_adam_plugin.callback.steps import own_time
from tb_adam_plugin.callback.steps.parameter_records import ParameterRecords
from tb_adam_plugin.callback.write.event_log import EventLog


@pytest.fixture(autouse=True)
def recording_may_take_any_time() -> None:
    """Here it may not."""


_AFTER_ALLOWANCE = 2000


def budget(
    share: float | None,
    record: float,
    step: float,
    *,
    every: int | None = 10,
    total: int | None = None,
    after: int = _AFTER_ALLOWANCE,
) -> OverheadBudget:
    """A budget that has seen some steps, by default until nothing is left of the allowance."""
    found = OverheadBudget(share, (Schedule(every, total),))
    found.begin_at(1)
    for number in range(1, after + 1):
        found.add_training(step)
        recorded = number in (1, 2, 4, 8, 16)
        found.add_own(number, record if recorded else 0.0, recorded=recorded)
    if after == _AFTER_ALLOWANCE and share is not None:
        found.add_outside(overhead.ALLOWANCE_SECONDS + share * step * after - 5 * record)
    return found


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
    """What was measured of two small layers: steps of 0.3 ms, norms of 0.1, records of 3."""
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


class Clock:
    """Time that passes only where a test says so, in place of the module ``time``."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.stalled = 0.0

    def perf_counter(self) -> float:
        return self.now

    def thread_time(self) -> float:
        return self.now - self.stalled

    def time(self) -> float:
        return self.now


def train(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    steps: int,
    *,
    before: float = 0.0,
    after: float = 0.0,
    writing: float = 0.0,
    jumps: frozenset[int] = frozenset(),
    also: Callable[[Clock], None] = lambda _: None,
    **options: Any,
) -> RecordedRun:
    """Train with steps of 0.1 s; a record takes as long as it is said to, at three places."""
    clock = Clock()
    monkeypatch.setattr(own_time, "time", clock)

    def slowly(owner: type, name: str, seconds: float) -> None:
        original = getattr(owner, name)

        def slow(*arguments: Any, **named: Any) -> Any:
            clock.now += seconds
            if name == "after_step":
                also(clock)
            return original(*arguments, **named)

        monkeypatch.setattr(owner, name, slow)

    slowly(ParameterRecords, "before_step", before)
    slowly(ParameterRecords, "after_step", after)
    slowly(EventLog, "write", writing)
    weight = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight])
    with AdamDebugCallback([("w", weight)], optimizer, log_dir=folder, on_error="raise", **options):
        for step in range(1, steps + 1):
            clock.now += 0.1
            weight.grad = torch.full((3,), 1e3 if step in jumps else 1.0)
            optimizer.step()
    return read_run(folder)


def test_the_interval_grows_where_records_are_expensive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overhead, "ALLOWANCE_SECONDS", 0.0)
    run = train(
        tmp_path, monkeypatch, 2000,
        before=0.1, after=0.2, writing=0.095, every_n_steps=10, max_overhead=0.01,
    )  # fmt: skip
    # A record takes 0.3 s in its step and 0.095 s in the row after it: 1 % of 395 steps.
    assert [run.steps[s]["every_n_steps"] for s in (1, 2)] == [10, 10]
    assert run.steps[2000]["every_n_steps"] == 640
    assert set(run.statistics) >= {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1280, 1920}
    assert {row["wanted_every_n_steps"] for row in run.steps.values()} == {10}
    assert {row["max_overhead"] for row in run.steps.values()} == {0.01}


def test_the_time_of_the_callback_is_in_the_rows_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times: dict[str, Any] = {"before": 0.001, "after": 0.02, "writing": 0.3}
    run = train(tmp_path, monkeypatch, 20, every_n_steps=10, **times)
    milliseconds = {s: round(run.steps[s]["callback_milliseconds"]) for s in range(1, 21)}
    # Writing a row counts for the next one.
    expected = {s: 0 for s in range(1, 21)}
    for recorded in (1, 2, 4, 8, 10, 16, 20):
        expected[recorded] += 21
        if recorded < 20:
            expected[recorded + 1] += 300
    assert milliseconds == expected


@pytest.mark.parametrize(
    "options", [{"every_n_steps": 10}, {"every_n_steps": 10, "max_overhead": 1}]
)
def test_an_interval_that_the_user_chose_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    run = train(tmp_path, monkeypatch, 40, after=100.0, **options)
    assert sorted(run.statistics) == [1, 2, 4, 8, 10, 16, 20, 30, 32, 40]
    assert {row["every_n_steps"] for row in run.steps.values()} == {10}
    assert not any("max_overhead" in row for row in run.steps.values())


@pytest.mark.parametrize("total", [None, 40, 100, 200, 201, 300, 600, 3000])
def test_a_run_at_default_settings_has_a_hundred_records_whatever_they_cost_up_to_the_allowance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, total: int | None
) -> None:
    steps = total or 300
    # Steps of 0.1 s: 1 % of them would pay for a record in 40 steps.
    run = train(tmp_path, monkeypatch, steps, after=0.04, total_steps=total)
    assert min(100, steps) <= len(run.statistics) <= 260
    if steps <= 200:
        assert sorted(run.statistics) == list(range(1, steps + 1))
    assert {2**n for n in range(12) if 2**n <= steps} <= set(run.statistics)


def test_the_callbacks_own_choice_of_interval_keeps_to_one_percent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spent(folder: str, **options: Any) -> float:
        run = train(tmp_path / folder, monkeypatch, 20_000, **options)
        return sum(row["callback_milliseconds"] for row in run.steps.values()) / 1000

    # 10 s and 1 % of 2,000 s, whatever a record costs; the last step is recorded all the same.
    assert 25 < spent("known", total_steps=20_000, after=1.0) < 32
    assert 23 < spent("dear", total_steps=20_000, after=0.5, writing=0.5) < 32
    # Where it is not known how long a run is, what is not spent in the first 1,000 steps lapses.
    assert 15 < spent("unknown", after=1.0) < 42
    assert spent("cheap", total_steps=20_000, after=0.01) < 3


def test_a_closer_look_counts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overhead, "ALLOWANCE_SECONDS", 0.0)
    run = train(
        tmp_path, monkeypatch, 4000, jumps=frozenset({1501, 1541}),
        after=0.099, every_n_steps=100, max_overhead=0.01,
    )  # fmt: skip
    # Each jump gets its closer look, and both are made up for.
    assert {*range(1502, 1518), *range(1542, 1558)} <= set(run.statistics)
    assert run.steps[1400]["every_n_steps"] == 100
    assert run.steps[4000]["every_n_steps"] == 200


def test_where_gradients_jump_all_the_time_looking_closer_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spent(folder: str, **options: Any) -> float:
        run = train(
            tmp_path / folder, monkeypatch, 2000, jumps=frozenset(range(100, 2000, 9)),
            after=0.1, every_n_steps=100, **options,
        )  # fmt: skip
        return sum(row["callback_milliseconds"] for row in run.steps.values()) / 1000

    # 10 s and 1 % of 200 s, and as much again for what is recorded after jumps.
    assert 12 < spent("limited", max_overhead=0.01) < 26
    assert spent("unlimited") > 180


@pytest.mark.parametrize("given", ["nothing", "a number", "a tensor"])
def test_where_norms_are_left_out_a_given_one_shows_the_jump(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overhead.OverheadBudget, "norm_interval", lambda *_: 16)
    weight = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight])
    with AdamDebugCallback(
        [("w", weight)], optimizer, log_dir=tmp_path, every_n_steps=100, on_error="raise"
    ) as callback:
        for step in range(1, 401):
            weight.grad = torch.full((3,), 1e3 if step == 301 else 1.0)
            norm = weight.grad.norm()
            if given != "nothing":
                callback.record(
                    gradient_norm_before_clip=norm if given == "a tensor" else norm.item()
                )
            optimizer.step()
    run = read_run(tmp_path)
    assert math.isnan(run.steps[301]["gradient_norm"])
    assert ({*range(302, 318)} <= set(run.statistics)) == (given != "nothing")
    assert 320 not in run.statistics


def test_frequent_histograms_count_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overhead, "ALLOWANCE_SECONDS", 0.0)
    run = train(
        tmp_path, monkeypatch, 1200, after=0.099,
        every_n_steps=100, histograms_every_n_steps=10, max_overhead=0.01,
    )  # fmt: skip
    assert run.steps[1200]["every_n_steps"] == 160
    assert run.steps[1200]["wanted_every_n_steps"] == 10


def test_a_busy_machine_takes_no_records_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What counts on the CPU is the time that the thread ran, not how long others kept it off."""

    def stall(clock: Clock) -> None:
        clock.now += 30.0
        clock.stalled += 30.0

    run = train(tmp_path, monkeypatch, 200, after=0.02, total_steps=200, also=stall)
    assert sorted(run.statistics) == list(range(1, 201))
    assert run.steps[100]["callback_milliseconds"] > 30_000  # which is said all the same


def test_one_record_that_takes_long_does_not_end_recording() -> None:
    found = budget(0.01, 0.01, 0.1, every=1, total=300, after=16)
    found.add_own(17, 1000.0, recorded=True)
    assert found.stretch(17) == 1
    for number in range(18, 40):  # it stays so
        found.add_own(number, 1000.0, recorded=True)
    assert found.stretch(40) > 4
