"""A step before anything has a gradient: no optimizer has a state yet, and the run is recorded."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.run_data import load_runs

STEPS = 6
OF_TORCH = [
    "ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "Muon", "NAdam", "RAdam",
    "RMSprop", "Rprop", "SGD",
]  # fmt: skip
FURTHER = [("pytorch_optimizer", "AdEMAMix"), ("pytorch_optimizer", "ScheduleFreeAdamW")]


def record(folder: Path, kind: type[torch.optim.Optimizer], *, normalized: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(6, 6, bias=False)
    optimizer = kind(layer.parameters())  # type: ignore[call-arg]
    if hasattr(optimizer, "train"):
        optimizer.train()
    with (
        warnings.catch_warnings(),
        AdamDebugCallback(
            layer,
            optimizer,
            log_dir=folder,
            every_n_steps=1,
            normalized_update=normalized,
            on_error="raise",
        ),
    ):
        warnings.simplefilter("ignore")
        for step in range(STEPS):
            if step:
                layer(torch.randn(4, 6)).square().mean().backward()
            optimizer.step()
    (run,) = load_runs(folder)
    assert run.steps.tolist() == list(range(1, STEPS + 1))
    updates = run.statistic("update_rms")
    assert (updates[0] == 0).all()
    assert np.isfinite(updates).all()
    assert np.isnan(run.statistic("lost_update_fraction")[0]).all()


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("name", [name for name in OF_TORCH if hasattr(torch.optim, name)])
def test_optimizers_of_torch(tmp_path: Path, name: str, normalized: bool) -> None:
    record(tmp_path, getattr(torch.optim, name), normalized=normalized)


@pytest.mark.parametrize(("package", "name"), FURTHER)
def test_optimizers_of_other_packages(tmp_path: Path, package: str, name: str) -> None:
    kind = getattr(pytest.importorskip(package), name)
    record(tmp_path, kind, normalized=False)
