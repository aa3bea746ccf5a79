"""Subclasses that skip steps: rounding is not blamed for it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.run_data import Run, load_runs

STEPS = 120
WARM = "skips steps: at 2 recorded steps it moved no weight, although"
FROM_FORMULA = ("update_rounding_error", "update_slope", "lost_update_fraction")


def leaving_out(base: Any, every: int, *, adds_up: bool) -> Any:
    """A subclass that takes every n-th step, of the last gradient or of the sum of all."""

    class LeavesOut(base):  # type: ignore[misc]
        calls = 0

        def step(self, closure: object = None) -> None:
            self.calls += 1
            if self.calls % every == 0:
                super().step()
                if adds_up:
                    super().zero_grad()

        def zero_grad(self, set_to_none: bool = True) -> None:
            if not adds_up:
                super().zero_grad(set_to_none)

    return LeavesOut


def train(
    folder: Path, kind: Any, dtype: torch.dtype = torch.float32, *, steps: int = STEPS,
    interval: int = 1, **options: Any,
) -> Run:  # fmt: skip
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 64), nn.Tanh(), nn.Linear(64, 1)).to(dtype)
    optimizer = kind(model.parameters(), **options)
    with AdamDebugCallback(model, optimizer, log_dir=folder, every_n_steps=interval) as debug:
        for _ in range(steps):
            inputs = torch.randn(32, 10, dtype=dtype)
            optimizer.zero_grad()
            loss = (model(inputs) - inputs[:, :1]).square().mean()
            loss.backward()
            debug.record(loss=loss)
            optimizer.step()
    (run,) = load_runs(folder)
    return run


SGD, ADAMW = (torch.optim.SGD, {"lr": 0.02}), (torch.optim.AdamW, {"lr": 1e-3})
ALARMS = {"lost_updates", "stale_gradient", "step_not_counted"}


@pytest.mark.parametrize("adds_up", [False, True])
@pytest.mark.parametrize("every", [2, 4, 9])
@pytest.mark.parametrize("case", [SGD, ADAMW], ids=["SGD", "AdamW"])
@pytest.mark.parametrize("interval", [1, 5])
def test_steps_that_a_subclass_leaves_out_are_no_fault(
    interval: int, case: Any, every: int, adds_up: bool, tmp_path: Path
) -> None:
    base, options = case
    kind = leaving_out(base, every, adds_up=adds_up)
    with pytest.warns(UserWarning, match=WARM) as said:
        run = train(tmp_path, kind, interval=interval, **options)
    assert len(said) == 1
    assert not ALARMS & {finding.rule for finding in run.findings()}
    moved = (run.statistic("update_to_weight_ratio") > 0).any(axis=1)
    assert 0 < moved.sum() < len(run.steps)
    for name in FROM_FORMULA:
        assert np.isnan(run.statistic(name)[~moved]).all(), name
        if not adds_up:
            assert run.statistic("update_slope")[moved] == pytest.approx(1, abs=1e-3)


@pytest.mark.filterwarnings("ignore:.*skips steps")
def test_half_precision_too_once_a_step_has_arrived(tmp_path: Path) -> None:
    kind = leaving_out(torch.optim.SGD, 3, adds_up=False)
    run = train(tmp_path, kind, torch.bfloat16, lr=0.1)
    moved = (run.statistic("update_to_weight_ratio") > 0).any(axis=1)
    lost = run.statistic("lost_update_fraction")
    later = np.arange(run.steps.size) > np.flatnonzero(moved)[0]
    assert np.isnan(lost[later & ~moved]).all()
    assert np.isfinite(lost[moved]).all()


class Same(torch.optim.SGD):
    """Takes the steps of its base class."""


@pytest.mark.parametrize("kind", [torch.optim.SGD, Same])
def test_what_half_precision_loses_is_lost_all_the_same(kind: Any, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = train(tmp_path, kind, torch.bfloat16, lr=1e-6)
    assert np.nanmedian(run.statistic("lost_update_fraction")) > 0.9
    assert "lost_updates" in {finding.rule for finding in run.findings()}


def test_gradients_that_nobody_clears_are_found_all_the_same(tmp_path: Path) -> None:
    class Forgets(torch.optim.AdamW):
        def zero_grad(self, set_to_none: bool = True) -> None:
            pass

    run = train(tmp_path, Forgets, lr=1e-3)
    assert "stale_gradient" in {finding.rule for finding in run.findings()}
