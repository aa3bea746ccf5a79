"""Small trainings that differ in their settings, to be compared."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tb_adam_plugin.callback import AdamDebugCallback

LRS = {"1e-4": 1e-4, "1e-3": 1e-3, "1e-2": 1e-2}


def train(
    folder: Path,
    lr: float,
    seed: int = 0,
    steps: int = 200,
    *,
    records_loss: bool = True,
    lost_at: int | None = None,
) -> None:
    """A small network learns the classes that another one draws.

    Args:
        folder: Of the run.
        lr: Learning rate.
        seed: Of the weights and batches.
        steps: How many there are.
        records_loss: Whether the loss is recorded.
        lost_at: From which step on it is NaN.
    """
    data = torch.Generator().manual_seed(1)
    inputs = torch.randn(1024, 16, generator=data)
    labels = (inputs @ torch.randn(16, 4, generator=data)).argmax(1)
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    with AdamDebugCallback(model, optimizer, log_dir=folder, every_n_steps=5) as debug:
        for step in range(1, steps + 1):
            chosen = torch.randint(len(inputs), (64,))
            optimizer.zero_grad()
            loss = cross_entropy(model(inputs[chosen]), labels[chosen])
            if lost_at is not None and step >= lost_at:
                loss = loss * float("nan")
            loss.backward()
            if records_loss:
                debug.record(loss=loss)
            optimizer.step()
