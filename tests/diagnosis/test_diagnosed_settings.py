"""Schedules, checkpoints and loss scales of real training, used correctly and incorrectly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.diagnosis.rule import Finding
from tb_adam_plugin.run_data import load_runs

Schedulers = torch.optim.lr_scheduler


def make_model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2)
    )


def train(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    steps: int,
    *,
    backward: Callable[[torch.Tensor], None] = torch.Tensor.backward,
    step: Callable[[], object] | None = None,
    after_step: Callable[[int], object] = lambda _: None,
    before: Callable[[], object] = lambda: None,
) -> dict[str, Finding]:
    """Train a small network, and return what is found, the first finding of each rule."""
    inputs = torch.randn(512, 16, generator=torch.Generator().manual_seed(1))
    labels = (inputs[:, :4].sum(1) > 0).long()
    generator = torch.Generator().manual_seed(2)
    with AdamDebugCallback(
        model, optimizer, log_dir=folder, total_steps=steps, on_error="raise", max_overhead=1
    ) as debug:
        before()
        for number in range(1, steps + 1):
            batch = torch.randint(0, 512, (64,), generator=generator)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs[batch]), labels[batch])
            backward(loss)
            debug.record(loss=loss)
            (step or optimizer.step)()
            after_step(number)
    (run,) = load_runs(folder)
    found: dict[str, Finding] = {}
    for finding in run.findings():
        found.setdefault(finding.rule, finding)
    return found


def every_so_often(schedule: Schedulers.LRScheduler, every: int) -> Callable[[int], None]:
    def after_step(step: int) -> None:
        if step % every == 0:
            schedule.step()

    return after_step


def alarms(found: dict[str, Finding]) -> set[str]:
    return {rule for rule, finding in found.items() if finding.severity != "info"}


@pytest.mark.parametrize("every", [1, 50])
def test_a_one_cycle_schedule_is_to_be_stepped_at_every_step(tmp_path: Path, every: int) -> None:
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    schedule = Schedulers.OneCycleLR(optimizer, max_lr=3e-3, total_steps=201)
    found = train(tmp_path, model, optimizer, 200, after_step=every_so_often(schedule, every))
    if every == 1:
        assert alarms(found) == set()
        return
    finding = found["lr_far_below_schedule"]
    assert finding.severity == "warning"
    assert "of the 3e-3" in finding.text
    assert "stays constant for 50 steps" in finding.advice


@pytest.mark.parametrize("per_step", [True, False])
def test_a_warm_up_by_epochs_and_a_cosine_are_healthy(tmp_path: Path, per_step: bool) -> None:
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    parts = [
        Schedulers.LinearLR(optimizer, start_factor=0.01, total_iters=4),
        Schedulers.CosineAnnealingLR(optimizer, T_max=6),
    ]
    schedule = Schedulers.SequentialLR(optimizer, parts, milestones=[4])
    every = 1 if per_step else 20
    found = train(tmp_path, model, optimizer, 200, after_step=every_so_often(schedule, every))
    assert "lr_jump" not in found
    assert ("lr_rises_again" in found) == per_step
    if per_step:
        assert "16 times" in found["lr_rises_again"].text


def saved(**settings: Any) -> dict[str, Any]:
    """A checkpoint after 20 steps with a schedule that has halved the learning rate."""
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), **settings)
    schedule = Schedulers.LinearLR(optimizer, 1.0, 0.5, 20)
    for _ in range(20):
        model(torch.randn(8, 16)).sum().backward()
        optimizer.step()
        schedule.step()
    return optimizer.state_dict()


def test_a_checkpoint_puts_settings_back(tmp_path: Path) -> None:
    checkpoint = saved(lr=3e-3, weight_decay=0.01, betas=(0.9, 0.999))
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.1)
    found = train(
        tmp_path, model, optimizer, 60, before=lambda: optimizer.load_state_dict(checkpoint)
    )
    assert "weight_decay 0.1 → 0.01" in found["replaced_settings"].text
    assert "lr 1e-4 → 3e-3" in found["replaced_settings"].text
    assert "beta" not in found["replaced_settings"].text
    assert found["replaced_settings"].first_step == 21


@pytest.mark.parametrize("scheduled", [True, False])
def test_the_schedule_of_a_checkpoint_is_no_setting(tmp_path: Path, scheduled: bool) -> None:
    checkpoint = saved(lr=3e-3)
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    if scheduled:  # which changes the learning rate at once
        Schedulers.LinearLR(optimizer, 0.1, 1.0, 20)
    found = train(
        tmp_path, model, optimizer, 60, before=lambda: optimizer.load_state_dict(checkpoint)
    )
    assert "replaced_settings" not in found


def test_nothing_is_known_of_what_was_loaded_before(tmp_path: Path) -> None:
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.1)
    optimizer.load_state_dict(saved(lr=3e-3))
    assert "replaced_settings" not in train(tmp_path, model, optimizer, 60)


@pytest.mark.parametrize("unscale", [True, False])
def test_clipping_comes_after_unscaling(tmp_path: Path, unscale: bool) -> None:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scaler = torch.amp.GradScaler("cpu", init_scale=65536.0)

    def backward(loss: torch.Tensor) -> None:
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if unscale:
            scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)

    def step() -> None:
        scaler.step(optimizer)
        scaler.update()

    found = train(tmp_path, model, optimizer, 120, backward=backward, step=step)
    if unscale:
        assert "clipped_before_unscaling" not in found
    else:
        assert found["clipped_before_unscaling"].severity == "error"
        assert "max_norm 0.1 " in found["clipped_before_unscaling"].text
        assert next(iter(found)) == "clipped_before_unscaling"
