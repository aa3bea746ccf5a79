"""The callback keeps its own cost below a share of the training time."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from overhead_budgets import recording_may_take_any_time  # noqa: F401
from recorded_run import RecordedRun, read_run
from torch import nn

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.schedule import overhead
from tb_adam_plugin.callback.steps import own_time
from tb_adam_plugin.callback.steps.parameter_records import ParameterRecords
from tb_adam_plugin.callback.write.event_log import EventLog


class Clock:
    """Time that only passes when a test says so, in place of the module ``time``."""

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
    """Train with steps of 0.1 s; a record takes the given time, at three places."""
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
    # If the length of a run is unknown, time not spent in the first 1,000 steps lapses.
    assert 15 < spent("unknown", after=1.0) < 42
    assert spent("cheap", total_steps=20_000, after=0.01) < 3


def test_a_closer_look_counts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overhead, "ALLOWANCE_SECONDS", 0.0)
    run = train(
        tmp_path, monkeypatch, 4000, jumps=frozenset({1501, 1541}),
        after=0.099, every_n_steps=100, max_overhead=0.01,
    )  # fmt: skip
    # Each jump gets its closer look, and both are compensated for.
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
    """On the CPU, thread time counts, not how long other threads kept it waiting."""

    def stall(clock: Clock) -> None:
        clock.now += 30.0
        clock.stalled += 30.0

    run = train(tmp_path, monkeypatch, 200, after=0.02, total_steps=200, also=stall)
    assert sorted(run.statistics) == list(range(1, 201))
    assert run.steps[100]["callback_milliseconds"] > 30_000  # which is said all the same
