"""Subclasses of known optimizers: the formula of the base class only applies if it fits."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.run_data import Run, load_runs

FROM_FORMULA = ("update_rounding_error", "update_slope", "lost_update_fraction")
STEPS = 12


class Same(torch.optim.AdamW):
    """Takes the steps of its base class."""


class Cautious(torch.optim.AdamW):
    """Moves only what moves against its gradient, as Liang et al. 2024 propose; longer for that."""

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        parameters = [p for group in self.param_groups for p in group["params"]]
        before = [p.detach().clone() for p in parameters]
        super().step()
        with torch.no_grad():
            for p, old in zip(parameters, before, strict=True):
                is_kept = ((p - old) * p.grad < 0).to(p.dtype)
                p.copy_(old + (p - old) * is_kept / is_kept.mean().clamp(min=1e-3))


class ShortensOne(torch.optim.AdamW):
    """Takes a tenth of a step once."""

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        parameters = [p for group in self.param_groups for p in group["params"]]
        before = [p.detach().clone() for p in parameters]
        super().step()
        if self.state[parameters[0]]["step"] == STEPS // 2:
            with torch.no_grad():
                for p, old in zip(parameters, before, strict=True):
                    p.copy_(old + 0.1 * (p - old))


class SchedulesItself(torch.optim.AdamW):
    """Sets the learning rate of the next step at the end of each."""

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        super().step()
        for group in self.param_groups:
            group["lr"] *= 1.5


def train(folder: Path, kind: type[torch.optim.Optimizer], dtype: torch.dtype) -> Run:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 32), nn.Tanh(), nn.Linear(32, 5)).to(dtype)
    optimizer = kind(model.parameters(), lr=1e-3)  # type: ignore[call-arg]
    with AdamDebugCallback(model, optimizer, log_dir=folder, total_steps=STEPS):
        for _ in range(STEPS):
            optimizer.zero_grad()
            inputs = torch.randn(16, 20, dtype=dtype)
            model(inputs).square().mean().backward()
            optimizer.step()
    (run,) = load_runs(folder)
    return run


def test_a_subclass_with_other_steps_is_not_read_by_the_formula_of_its_base(tmp_path: Path) -> None:
    with pytest.warns(
        UserWarning, match="Cautious does not move the weights as AdamW would"
    ) as said:
        run = train(tmp_path, Cautious, torch.float32)
    assert len(said) == 1
    # The first steps of Adam go against their gradients: there the formula fits.
    for name in FROM_FORMULA:
        assert np.isnan(run.statistic(name)[run.steps > 4]).all(), name
    for name in ("update_rms", "momentum_gradient_cosine", "epsilon_fraction"):
        assert np.isfinite(run.statistic(name)[run.steps > 4]).all(), name
    assert "lost_update_fraction" in run.diagnosis.signals.run.groups[0].undefined
    assert not run.findings()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_subclass_with_the_steps_of_its_base_keeps_the_formula(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = train(tmp_path, Same, dtype)
    for name in FROM_FORMULA:
        assert np.isfinite(run.statistic(name)).all(), name


def test_a_step_that_is_shorter_hides_that_record_alone(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = train(tmp_path, ShortensOne, torch.float32)
    is_hidden = run.steps == STEPS // 2
    for name in FROM_FORMULA:
        assert np.isnan(run.statistic(name)[is_hidden]).all(), name
        assert np.isfinite(run.statistic(name)[~is_hidden]).all(), name


def test_a_subclass_that_schedules_itself_is_taken_for_no_other_formula(tmp_path: Path) -> None:
    """Which learning rate a step had is not known then, nor what follows from it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = train(tmp_path, SchedulesItself, torch.float32)
    for name in FROM_FORMULA:
        assert np.isnan(run.statistic(name)).all(), name
    assert "update_slope" not in run.diagnosis.signals.run.groups[0].undefined


def test_what_a_hook_does_after_the_step_is_none_of_it(tmp_path: Path) -> None:
    """A hook that schedules and one that clamps, registered before the callback."""
    torch.manual_seed(0)
    layer = nn.Linear(20, 5)
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-3)
    used = []

    def schedule(*_: object) -> None:
        optimizer.param_groups[0]["lr"] *= 1.5
        with torch.no_grad():
            layer.weight.clamp_(-0.1, 0.1)

    optimizer.register_step_post_hook(schedule)
    with AdamDebugCallback(layer, optimizer, log_dir=tmp_path, total_steps=STEPS):
        for _ in range(STEPS):
            optimizer.zero_grad()
            layer(torch.randn(16, 20)).square().mean().backward()
            used.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
    (run,) = load_runs(tmp_path)
    assert run.every_step()["lr"].tolist() == pytest.approx(used)
    assert run.statistic("update_slope") == pytest.approx(1, abs=1e-3)
