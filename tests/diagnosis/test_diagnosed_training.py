"""Faults planted in real training, recorded by the callback, and found in its recording."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.diagnosis.rule import Finding
from tb_adam_plugin.run_data import load_runs


class Training(NamedTuple):
    """What a fault may reach for at a step."""

    step: int
    model: nn.Sequential
    optimizer: torch.optim.Optimizer


def train(
    folder: Path,
    fault: Callable[[Training], None] | None = None,
    *,
    lr: float = 3e-3,
    zero_grad: bool = True,
    dtype: torch.dtype = torch.float32,
    scale: float = 1.0,
    steps: int = 120,
    make: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW,
) -> dict[str, Finding]:
    """Train a small network, and return what is found, the first finding of each rule."""
    torch.manual_seed(0)
    inputs = torch.randn(512, 16)
    labels = (inputs[:, :4].sum(1) > 0).long()
    model = nn.Sequential(
        nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2)
    ).to(dtype)
    optimizer = make(model.parameters(), lr=lr)
    with AdamDebugCallback(
        model, optimizer, log_dir=folder, every_n_steps=5, on_error="raise"
    ) as debug:
        for step in range(1, steps + 1):
            batch = torch.randint(0, 512, (64,))
            if zero_grad:
                optimizer.zero_grad()
            loss: Tensor = nn.functional.cross_entropy(
                model(inputs[batch].to(dtype)).float(), labels[batch]
            )
            (loss * scale).backward()
            if fault is not None:
                fault(Training(step, model, optimizer))
            debug.record(loss=loss)
            optimizer.step()
    (run,) = load_runs(folder)
    found: dict[str, Finding] = {}
    for finding in run.findings():
        found.setdefault(finding.rule, finding)
    return found


def clear_state(training: Training) -> None:
    if training.step == 62:
        training.optimizer.state.clear()


def jump(training: Training) -> None:
    if training.step == 60:
        training.optimizer.param_groups[0]["lr"] *= 100


def kill_units(training: Training) -> None:
    if training.step == 40:
        nn.init.constant_(training.model[2].bias, -100.0)  # type: ignore[arg-type]


def stop_counting(training: Training) -> None:
    for state in training.optimizer.state.values():
        state["step"].fill_(3)


def one_large_batch(training: Training) -> None:
    if training.step == 80:
        for parameter in training.model.parameters():
            assert parameter.grad is not None
            parameter.grad *= 200


def test_nothing_is_found_in_a_healthy_training(tmp_path: Path) -> None:
    assert train(tmp_path) == {}


@pytest.mark.parametrize("seed", range(8))
def test_a_bias_next_to_zero_is_no_alarm_in_the_smallest_of_models(
    tmp_path: Path, seed: int
) -> None:
    torch.manual_seed(seed)
    model = nn.Linear(8, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    with AdamDebugCallback(model, optimizer, log_dir=tmp_path, total_steps=20) as debug:
        for _ in range(20):
            optimizer.zero_grad()
            loss = model(torch.randn(32, 8)).square().mean()
            loss.backward()
            debug.record(loss=loss)
            optimizer.step()
    (run,) = load_runs(tmp_path)
    assert [f.rule for f in run.findings() if f.severity != "info"] == []


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        ("state_reset", clear_state),
        ("lr_jump", jump),
        ("dead_units", kill_units),
        ("step_not_counted", stop_counting),
        ("gradient_spike", one_large_batch),
    ],
)
def test_a_fault_at_a_step_is_found(
    tmp_path: Path, rule: str, fault: Callable[[Training], None]
) -> None:
    found = train(tmp_path, fault)
    assert rule in found
    assert found[rule].consequence_of is None


def test_faults_from_the_start_are_found(tmp_path: Path) -> None:
    stale = train(tmp_path / "stale", zero_grad=False, lr=1e-3)["stale_gradient"]
    assert stale.first_step == 2
    assert ".grad already held" in stale.text
    assert "gradient_scale" in train(tmp_path / "scaled", scale=65536.0)
    low = train(tmp_path / "bfloat16", dtype=torch.bfloat16, lr=1e-5)
    assert low["lost_updates"].severity == "error"
    small = train(tmp_path / "small", lr=1e-6)
    assert "lr_too_low" in small


def test_a_state_that_is_lost_is_found_without_a_first_moment(tmp_path: Path) -> None:
    found = train(tmp_path, clear_state, make=torch.optim.RMSprop, lr=1e-3)
    assert found["state_reset"].first_step == 64  # the first record after it
