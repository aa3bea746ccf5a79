from __future__ import annotations

from pathlib import Path

import pytest
import torch
from recorded_run import read_run
from torch import nn

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.schedule import intervals


def due(every_n_steps: int | None, total_steps: int | None, up_to: int) -> list[int]:
    chosen = intervals.choose(every_n_steps, total_steps)
    return [step for step in range(1, up_to + 1) if chosen.is_due(step)]


def test_a_run_of_unknown_length_is_dense_for_its_first_thousand_steps() -> None:
    steps = due(None, None, 20_000)
    assert steps[:200] == list(range(1, 201))
    # At least a hundred records of as many steps or more, however long the run.
    assert all(sum(s <= n for s in steps) >= min(n, 100) for n in range(1, 1000))
    assert [s for s in steps if 196 < s < 206] == [197, 198, 199, 200, 202, 204]
    assert [s for s in steps if 395 < s < 411] == [396, 398, 400, 405, 410]
    assert [s for s in steps if 9900 < s <= 10_050] == [9950, 10_000, 10_050]
    assert {2**n for n in range(15)} <= set(steps)


def test_a_run_of_known_length_gets_about_200_records_and_its_last_step() -> None:
    steps = due(None, 100_003, 100_003)
    assert steps[:11] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 501, 512]
    assert steps[-2:] == [99_699, 100_003]
    assert 200 <= len(steps) <= 220


@pytest.mark.parametrize("total", range(1, 1000, 7))
def test_a_run_of_known_length_gets_at_least_a_hundred_records(total: int) -> None:
    steps = due(None, total, total)
    assert len(steps) >= min(100, total)
    assert {2**n for n in range(10) if 2**n <= total} <= set(steps)
    if total <= 200:
        assert steps == list(range(1, total + 1))
    # About as many as the budget assumes.
    wanted = intervals.choose(None, total).records(0, total)
    assert wanted - 1 <= len(steps) <= wanted + 12


def test_records_of_an_interval_that_grows_are_counted() -> None:
    growing = intervals.choose(None, None)
    for after, until, start in ((0, 1000, 0), (150, 5000, 0), (5000, 9000, 0), (70, 1070, 50)):
        steps = range(after + 1, until + 1)
        powers = [s for s in steps if s & (s - 1) == 0]
        found = [s for s in steps if growing.is_due(s, start=start)]
        wanted = growing.records(after, until, start)
        assert wanted - 2 <= len(found) <= wanted + len(powers) + 2


def test_an_interval_counts_more_than_the_length_of_the_run() -> None:
    assert due(10, 45, 45) == [1, 2, 4, 8, 10, 16, 20, 30, 32, 40, 45]


def train(optimizer: torch.optim.Optimizer, weight: nn.Parameter, steps: int) -> None:
    for _ in range(steps):
        weight.grad = torch.ones_like(weight)
        optimizer.step()


def test_a_resumed_run_goes_on_counting_and_records_its_first_step(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight])
    train(optimizer, weight, 20)
    with AdamDebugCallback([("w", weight)], optimizer, log_dir=tmp_path, on_error="raise") as debug:
        assert debug.step == 20
        train(optimizer, weight, 13)
        assert debug.step == 33
    run = read_run(tmp_path)
    assert sorted(run.statistics) == list(range(21, 34))  # as dense as a new one
    assert sorted(run.histograms) == list(range(21, 34))
    assert sorted(run.steps) == list(range(21, 34))


def test_a_checkpoint_loaded_after_the_callback_was_made_counts_too(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.ones(3))
    before = torch.optim.Adam([weight])
    train(before, weight, 70)
    optimizer = torch.optim.Adam([weight])
    with AdamDebugCallback([("w", weight)], optimizer, log_dir=tmp_path, on_error="raise") as debug:
        train(optimizer, weight, 1)
        optimizer.load_state_dict(before.state_dict())
        train(optimizer, weight, 2)
        assert debug.step == 72
    assert sorted(read_run(tmp_path).statistics) == [1, 71, 72]


def test_a_counter_of_the_users_own_is_followed(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight])
    with AdamDebugCallback(
        [("w", weight)], optimizer, log_dir=tmp_path, initial_step=1000, on_error="raise"
    ) as debug:
        train(optimizer, weight, 1)
        debug.step = 5000
        train(optimizer, weight, 1)
    assert sorted(read_run(tmp_path).steps) == [1001, 5001]


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.LBFGS])
def test_an_optimizer_without_a_count_starts_at_zero(
    tmp_path: Path, make: type[torch.optim.Optimizer]
) -> None:
    weight = nn.Parameter(torch.ones(3))
    optimizer = make([weight], lr=0.1)  # type: ignore[call-arg]

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss

    with AdamDebugCallback([("w", weight)], optimizer, log_dir=tmp_path, on_error="raise") as debug:
        assert debug.step == 0
        optimizer.step(closure)  # type: ignore[arg-type]
        optimizer.load_state_dict(optimizer.state_dict())
        assert debug.step == 1
    assert sorted(read_run(tmp_path).statistics) == [1]


def test_a_resumed_run_of_known_length_spreads_its_records_over_what_is_left() -> None:
    chosen = intervals.choose(None, 40_000)
    steps = [s for s in range(20_001, 40_001) if chosen.is_due(s, start=20_000)]
    assert 200 <= len(steps) <= 220
    assert steps[:7] == [20_001, 20_002, 20_004, 20_008, 20_016, 20_032, 20_064]
    assert steps[-1] == 40_000


@pytest.mark.parametrize("total", [1, 100, 300, 20_000])
def test_a_length_that_is_over_already_is_that_of_the_session(total: int) -> None:
    chosen = intervals.choose(None, total)
    steps = [s for s in range(20_001, 20_001 + total) if chosen.is_due(s, start=20_000)]
    assert min(total, 100) <= len(steps) <= 225
    assert steps[-1] == 20_000 + total


def test_a_counter_that_is_set_in_mid_run_begins_anew(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight])
    with AdamDebugCallback([("w", weight)], optimizer, log_dir=tmp_path, on_error="raise") as debug:
        train(optimizer, weight, 10)
        debug.step = 50_000
        train(optimizer, weight, 10)
    expected = [*range(1, 11), *range(50_001, 50_011)]
    assert sorted(read_run(tmp_path).statistics) == expected
