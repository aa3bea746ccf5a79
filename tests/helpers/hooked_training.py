"""Small recorded trainings, and the actual changes of their steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo
from recorded_run import RecordedRun
from torch import Tensor, nn

from tb_adam_plugin.callback import AdamDebugCallback

Optimizers = Callable[..., torch.optim.Optimizer]


def make_model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2))


def loss_of(model: Callable[[Tensor], Tensor]) -> Tensor:
    return model(torch.randn(8, 6)).square().mean()


def watch(
    model: nn.Module | Any, optimizer: Any, folder: Path, **options: Any
) -> AdamDebugCallback:
    options = {"every_n_steps": 1, "on_error": "raise", **options}
    return AdamDebugCallback(model, optimizer, log_dir=folder, **options)


def rms(tensor: Tensor) -> float:
    return tensor.detach().double().square().mean().sqrt().item()


class Weights:
    """The weights of a model, to measure a step's actual change."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._before = self._copy()

    def _copy(self) -> dict[str, Tensor]:
        return {name: p.detach().clone() for name, p in self._model.named_parameters()}

    def check_update(self, run: RecordedRun, step: int) -> None:
        """Compare the recorded update with the change since the last call."""
        before, self._before = self._before, self._copy()
        for name, weight in self._before.items():
            expected = rms(weight - before[name])
            assert expected > 0
            assert run.of(step, name)["update_rms"] == pytest.approx(expected, rel=1e-5), name


def take_step(weight: nn.Parameter, optimizer: torch.optim.Optimizer, value: float = 1.0) -> None:
    weight.grad = torch.full_like(weight, value)
    optimizer.step()
