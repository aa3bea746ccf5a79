"""Tied weights that the optimizer got twice: torch warns and trains, and they are recorded."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.run_data import load_runs

STEPS = 12


def test_a_parameter_that_is_given_twice_is_recorded_once(tmp_path: Path) -> None:
    torch.manual_seed(0)
    embedding, head = nn.Embedding(20, 8), nn.Linear(8, 20, bias=False)
    head.weight = embedding.weight
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, about the same
        optimizer = torch.optim.AdamW([*embedding.parameters(), *head.parameters()], lr=1e-3)
    model = nn.Sequential(embedding, head)
    with pytest.warns(UserWarning, match=r"holds 0\.weight more than once"):
        debug = AdamDebugCallback(model, optimizer, log_dir=tmp_path, on_error="raise")
    before = embedding.weight.detach().clone()
    for _ in range(STEPS):
        optimizer.zero_grad()
        model(torch.randint(0, 20, (4,))).square().mean().backward()
        optimizer.step()
    debug.close()
    (run,) = load_runs(tmp_path)
    assert [p.name for p in run.parameters] == ["0.weight"]
    assert run.steps.tolist() == list(range(1, STEPS + 1))
    assert np.isfinite(run.statistic("update_rms")).all()
    assert not torch.equal(before, embedding.weight)
