"""A step that moves nothing: either skipped, or lost to rounding."""

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


class Same(torch.optim.SGD):
    """Takes the steps of its base class."""


class SameAdamW(torch.optim.AdamW):
    """Likewise."""


class LeavesOut(torch.optim.SGD):
    """Takes every second step."""

    calls = 0

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        self.calls += 1
        if self.calls % 2 == 0:
            super().step()


def train(
    folder: Path, kind: Any, scale: Any, dtype: torch.dtype = torch.float32, **options: Any
) -> Run:
    """Train with a loss that is ``scale(step)`` times as large."""
    torch.manual_seed(0)
    layers = [layer for _ in range(3) for layer in (nn.Linear(16, 16), nn.Sigmoid())]
    model = nn.Sequential(*layers, nn.Linear(16, 1)).to(dtype)
    optimizer = kind(model.parameters(), **options)
    inputs, wanted = torch.randn(8, 16, dtype=dtype), torch.randn(8, 1, dtype=dtype)
    with AdamDebugCallback(model, optimizer, log_dir=folder, every_n_steps=1):
        for step in range(60):
            optimizer.zero_grad()
            ((model(inputs) - wanted).square().mean() * scale(step)).backward()
            optimizer.step()
    (run,) = load_runs(folder)
    return run


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("kind", [torch.optim.SGD, Same])
def test_updates_too_small_for_their_weights_are_lost(
    kind: Any, dtype: torch.dtype, tmp_path: Path
) -> None:
    tiny = 1e-9 if dtype == torch.float32 else 1e-20
    first = 1e3 if dtype == torch.bfloat16 else tiny
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # In half precision a step has arrived before: that says nothing of a far shorter one.
        run = train(tmp_path, kind, lambda step: first if step < 3 else tiny, dtype, lr=1e-3)
    assert (run.statistic("update_to_weight_ratio")[5:] == 0).all()
    assert (run.statistic("lost_update_fraction")[5:] == 1).all()
    assert "lost_updates" in {finding.rule for finding in run.findings()}


@pytest.mark.parametrize("weight_decay", [0.0, 1e-3])
def test_so_are_those_of_a_tiny_learning_rate(weight_decay: float, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = train(tmp_path, SameAdamW, lambda _: 1, lr=1e-14, weight_decay=weight_decay)
    assert np.nanmin(run.statistic("lost_update_fraction")) == 1
    assert "lost_updates" in {finding.rule for finding in run.findings()}


@pytest.mark.parametrize("scale", [1.0, 1e-2])
def test_a_step_that_would_have_arrived_was_left_out(scale: float, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="skips steps") as said:
        run = train(tmp_path, LeavesOut, lambda _: scale, lr=0.1)
    assert len(said) == 1
    assert np.isnan(run.statistic("lost_update_fraction")[::2]).all()
    assert "lost_updates" not in {finding.rule for finding in run.findings()}
