"""A small network, and its training with or without a callback."""

from __future__ import annotations

import torch
from torch import nn

from tb_adam_plugin.callback import AdamDebugCallback


def make() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    return model, torch.optim.AdamW(model.parameters(), lr=1e-2)


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    steps: int,
    debug: AdamDebugCallback | None = None,
) -> list[float]:
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model(torch.randn(8, 6)).square().mean()
        loss.backward()
        if debug is not None:
            debug.record(loss=loss, batch=8)
        optimizer.step()
        losses.append(loss.item())
    return losses
