"""A loss that does not measure progress, recorded as a surrogate."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.run_data import load_runs


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_a_surrogate_that_is_not_finite_is_a_finding(tmp_path: Path, bad: float) -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with AdamDebugCallback(model, optimizer, log_dir=tmp_path, total_steps=30) as debug:
        for step in range(30):
            loss = model(torch.randn(8, 4)).square().mean()
            loss = loss * (bad if step >= 20 else 1)
            optimizer.zero_grad()
            loss.backward()
            debug.record(surrogate_loss=loss)
            optimizer.step()
    (run,) = load_runs(tmp_path)
    (finding,) = [f for f in run.findings() if f.rule == "nonfinite"]
    assert finding.first_step == 21
    assert "loss" in finding.text
    assert not np.isfinite(run.every_step().values[:, -1]).all()
