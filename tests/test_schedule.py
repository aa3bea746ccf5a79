from __future__ import annotations

from pathlib import Path

import pytest
import torch
from recorded_run import read_run
from torch import nn

from tb_adam_plugin.callback import AdamDebugCallback, schedule


def due(every_n_steps: int | None, total_steps: int | None, up_to: int) -> list[int]:
    chosen = schedule.choose(every_n_steps, total_steps)
    return [step for step in range(1, up_to + 1) if chosen.is_due(step)]


def test_the_first_steps_are_looked_at_closely_and_then_every_fiftieth() -> None:
    assert due(None, None, 160) == [1, 2, 4, 8, 16, 32, 50, 100, 150]


def test_a_run_of_known_length_gets_about_200_records_and_its_last_step() -> None:
    steps = due(None, 100_003, 100_003)
    assert steps[:9] == [1, 2, 4, 8, 16, 32, 500, 1000, 1500]
    assert steps[-2:] == [100_000, 100_003]
    assert 200 <= len(steps) <= 210


def test_a_short_run_of_known_length_is_recorded_at_every_step() -> None:
    assert due(None, 7, 7) == [1, 2, 3, 4, 5, 6, 7]


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
    assert sorted(run.statistics) == [21, 32]
    assert sorted(run.histograms) == [21, 32]
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
    assert sorted(read_run(tmp_path).statistics) == [1, 71]


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
