"""One weight in training, methods that fail, and scripts that train one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tb_adam_plugin.callback import AdamDebugCallback

Failure = Callable[[], Exception]


class Run:
    """One weight in training, and its value without a callback."""

    def __init__(self, folder: Path, elements: int = 2000, **options: Any) -> None:
        self.weight = nn.Parameter(torch.ones(elements))
        self.optimizer = torch.optim.Adam([self.weight])
        options = {"every_n_steps": 1, **options}
        self.debug = AdamDebugCallback(
            [("w", self.weight)], self.optimizer, log_dir=folder, **options
        )
        self.steps = 0

    def train(self, steps: int) -> None:
        for _ in range(steps):
            self.steps += 1
            self.debug.record(loss=float(self.steps))
            self.weight.grad = torch.full_like(self.weight, float(self.steps))
            self.optimizer.step()

    def check_training(self) -> None:
        twin = nn.Parameter(torch.ones_like(self.weight))
        optimizer = torch.optim.Adam([twin])
        for step in range(1, self.steps + 1):
            twin.grad = torch.full_like(twin, float(step))
            optimizer.step()
        assert torch.equal(twin, self.weight)


def fail_while(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, condition: Any) -> None:
    """Make a method raise the result of ``condition(self)``, if any."""
    original = getattr(owner, name)

    def method(self: Any, *arguments: Any, **named: Any) -> Any:
        error = condition(self)
        if error is not None:
            raise error
        return original(self, *arguments, **named)

    monkeypatch.setattr(owner, name, method)
