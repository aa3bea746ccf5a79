"""The plain callback in loops with Accelerate, and with its gradient scaler."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from same_records import assert_same_records, trained
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from tb_adam_plugin.callback import AdamDebugCallback

accelerate: Any = importlib.import_module("accelerate")

# Warnings of newer versions of torch to Accelerate.
pytestmark = [
    pytest.mark.filterwarnings(rf"ignore::{category}:accelerate.*")
    for category in ("UserWarning", "DeprecationWarning", "FutureWarning")
]

BATCHES = 10


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 2))


def batches() -> DataLoader[tuple[Tensor, ...]]:
    torch.manual_seed(1)
    return DataLoader(TensorDataset(torch.randn(BATCHES * 4, 6)), batch_size=4)


def watch(model: nn.Module, optimizer: Any, folder: Path) -> AdamDebugCallback:
    return AdamDebugCallback(model, optimizer, log_dir=folder, every_n_steps=2, on_error="raise")


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_prepared_objects_with_accumulated_gradients(tmp_path: Path, precision: str) -> None:
    """Calls of ``step()`` in between do not count; the last batches of the loader are a step."""

    def train(folder: Path | None) -> Any:
        accelerate.state.AcceleratorState._reset_state()
        accelerator = accelerate.Accelerator(
            cpu=True, gradient_accumulation_steps=4, mixed_precision=precision
        )
        model = network()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        prepared = accelerator.prepare(model, optimizer, batches(), scheduler)
        model, optimizer, loader, scheduler = prepared
        debug = None if folder is None else watch(model, optimizer, folder)
        for (inputs,) in loader:
            with accelerator.accumulate(model):
                loss = model(inputs).square().mean()
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), 0.1)
                    if debug is not None:
                        debug.record(loss=loss)
                optimizer.step()
                scheduler.step()
                optimizer.zero_grad()
        if debug is not None:
            debug.close()
        return trained(model, optimizer.optimizer)

    with_callback = train(tmp_path / "accelerate")
    assert with_callback == train(None)

    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    with watch(model, optimizer, tmp_path / "plain") as debug:
        for index, (inputs,) in enumerate(batches(), start=1):
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                outputs = model(inputs)
            loss = outputs.float().square().mean()
            (loss / 4).backward()
            if index % 4 == 0 or index == BATCHES:
                nn.utils.clip_grad_norm_(model.parameters(), 0.1)
                debug.record(loss=loss)
                optimizer.step()
                scheduler.step()
                optimizer.zero_grad()
    assert with_callback == trained(model, optimizer)
    run = assert_same_records(tmp_path / "accelerate", tmp_path / "plain")
    assert sorted(run.steps) == [1, 2, 3]


@pytest.mark.parametrize("fused", [False, True])
def test_steps_that_its_scaler_skips_are_none(tmp_path: Path, fused: bool) -> None:
    accelerate.Accelerator(cpu=True)  # the state that its optimizer looks at

    def scaler() -> Any:
        # Large enough for the first gradients to overflow.
        return torch.amp.GradScaler("cpu", init_scale=2.0**127)

    def make() -> tuple[nn.Module, torch.optim.Optimizer]:
        model = network()
        return model, torch.optim.AdamW(model.parameters(), lr=1e-2, fused=fused)

    model, inner = make()
    optimizer = accelerate.optimizer.AcceleratedOptimizer(inner, scaler=scaler())
    skipped = []
    with watch(model, optimizer, tmp_path / "accelerate") as debug:
        for (inputs,) in batches():
            loss = model(inputs).square().mean() * 64
            optimizer.scaler.scale(loss).backward()
            debug.record(loss=loss)
            optimizer.step()
            optimizer.zero_grad()
            skipped.append(optimizer.step_was_skipped)

    plain, plain_optimizer = make()
    scale = scaler()
    with watch(plain, plain_optimizer, tmp_path / "plain") as debug:
        for (inputs,) in batches():
            loss = plain(inputs).square().mean() * 64
            scale.scale(loss).backward()
            debug.record(loss=loss)
            scale.step(plain_optimizer)
            scale.update()
            plain_optimizer.zero_grad()
    assert trained(model, inner) == trained(plain, plain_optimizer)
    run = assert_same_records(tmp_path / "accelerate", tmp_path / "plain")
    state = inner.state[next(model.parameters())]
    assert 0 < state["step"].item() == len(run.steps) < BATCHES
    if not fused:  # a fused optimizer is called all the same, which Accelerate takes for a step
        assert len(run.steps) == skipped.count(False)
