"""Trainings by Lightning: a small network, its batches, a module around it, and a Trainer."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, TensorDataset

from tb_adam_plugin.callback.lightning import AdamDebugLightningCallback

BATCHES = 10
EPOCHS = 2
Configure = Callable[[nn.Module], Any]


def network() -> nn.Sequential:
    """Return the same network each time."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 2))


def batches(batch_size: int = 4) -> DataLoader[tuple[Tensor, ...]]:
    """Return the same batches each time, inputs and targets."""
    torch.manual_seed(1)
    inputs = torch.randn(BATCHES * batch_size, 6)
    return DataLoader(TensorDataset(inputs, inputs[:, :2].sin()), batch_size=batch_size)


def adamw(model: nn.Module) -> torch.optim.Optimizer:
    """Return the usual optimizer."""
    return torch.optim.AdamW(model.parameters(), lr=1e-2)


def lightning(name: str = "lightning.pytorch") -> Any:
    """Return Lightning, by one of its names."""
    return importlib.import_module(name)


def make_module(configure: Configure = adamw, package: Any = None, **steps: Any) -> Any:
    """A LightningModule around the network, with other methods where they are given."""

    def training_step(self: Any, batch: Any, index: int) -> Tensor:
        loss: Tensor = mse_loss(self.network(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    package = package or lightning()
    methods = {
        "training_step": training_step,
        "configure_optimizers": configure,
        "validation_step": lambda self, batch, index: self.network(batch[0]).sum(),
        "test_step": lambda self, batch, index: self.network(batch[0]).sum(),
        **steps,
    }
    module = type("Module", (package.LightningModule,), methods)()
    module.network = network()
    return module


def trainer(folder: Path, *callbacks: Any, package: Any = None, **options: Any) -> Any:
    """Return a Trainer on the CPU that logs and prints nothing."""
    options = {
        "accelerator": "cpu", "max_epochs": EPOCHS, "logger": False, "num_sanity_val_steps": 0,
        "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False,
        **options,
    }  # fmt: skip
    return (package or lightning()).Trainer(
        callbacks=list(callbacks), default_root_dir=folder, **options
    )


def adam_debug(**options: Any) -> AdamDebugLightningCallback:
    """Return a callback that records every second step and raises what goes wrong."""
    return AdamDebugLightningCallback(**{"every_n_steps": 2, "on_error": "raise", **options})
