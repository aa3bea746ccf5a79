"""Training with the callback is the same, bit by bit."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tb_adam_plugin.callback import AdamDebugCallback

STEPS = 10
Setup = Callable[[], tuple[nn.Module, torch.optim.Optimizer]]
Loop = Callable[[nn.Module, torch.optim.Optimizer], None]


def make_model(dtype: torch.dtype = torch.float32, channels_last: bool = False) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Flatten(),
        nn.Linear(16 * 64, 24),  # more elements than are read of one parameter
        nn.Linear(24, 4),
    ).to(dtype)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def batch(model: nn.Module) -> Tensor:
    dtype = next(model.parameters()).dtype
    loss: Tensor = model(torch.randn(4, 3, 8, 8, dtype=dtype)).float().square().mean()
    return loss


def plain_loop(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    for _ in range(STEPS):
        optimizer.zero_grad()
        batch(model).backward()
        optimizer.step()


def closure_loop(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    def closure() -> float:
        optimizer.zero_grad()
        loss = batch(model)
        loss.backward()
        return loss.item()

    for _ in range(STEPS):
        optimizer.step(closure)


def accumulating_loop(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    for _ in range(STEPS):
        for _ in range(2):
            (batch(model) / 2).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
        scheduler.step()


def scaler_loop(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=3)
    for step in range(STEPS):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = batch(model)
        scaler.scale(loss * (torch.inf if step in (0, 5) else 1)).backward()
        scaler.step(optimizer)
        scaler.update()


def snapshot(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Everything that training leaves behind, in bytes."""
    found: dict[str, Any] = {}
    for name, value in model.state_dict().items():
        found[f"model {name}"] = value
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            found[f"gradient {name}"] = parameter.grad
        for key, value in optimizer.state[parameter].items():
            found[f"state {name} {key}"] = value
    found["torch rng"] = torch.get_rng_state()
    as_bytes = {
        name: value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        for name, value in found.items()
    }
    return {
        **as_bytes,
        "strides": {name: value.stride() for name, value in found.items()},
        "groups": [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups],
        "python rng": random.getstate(),
        "numpy rng": np.random.get_state(legacy=True)[1].tolist(),  # type: ignore
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
    }


def trained(setup: Setup, loop: Loop, **options: Any) -> dict[str, Any]:
    random.seed(1)
    np.random.seed(1)
    model, optimizer = setup()
    torch.manual_seed(2)
    if options:
        with AdamDebugCallback(
            model, optimizer, max_sampled_elements=1024, on_error="raise", **options
        ):
            loop(model, optimizer)
    else:
        loop(model, optimizer)
    return snapshot(model, optimizer)


def check(setup: Setup, loop: Loop, folder: Path, **options: Any) -> None:
    without = trained(setup, loop)
    # A schedule with steps that are recorded and steps that are not.
    watched = trained(setup, loop, log_dir=folder, every_n_steps=5, **options)
    assert watched.keys() == without.keys()
    for name, value in without.items():
        assert watched[name] == value, name


@pytest.mark.parametrize("loop", [plain_loop, closure_loop, accumulating_loop, scaler_loop])
@pytest.mark.parametrize("implementation", [{"foreach": False}, {"foreach": True}, {"fused": True}])
def test_with_every_loop_and_implementation(
    tmp_path: Path, loop: Loop, implementation: dict[str, Any]
) -> None:
    def setup() -> tuple[nn.Module, torch.optim.Optimizer]:
        model = make_model()
        return model, torch.optim.AdamW(model.parameters(), lr=1e-2, **implementation)

    check(setup, loop, tmp_path)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("exact", [False, True])
def test_with_every_precision_and_memory_order(
    tmp_path: Path, dtype: torch.dtype, channels_last: bool, exact: bool
) -> None:
    def setup() -> tuple[nn.Module, torch.optim.Optimizer]:
        model = make_model(dtype, channels_last)
        options = {"amsgrad": True, "maximize": True, "weight_decay": 0.1}
        return model, torch.optim.Adam(model.parameters(), lr=1e-2, **options)  # type: ignore[arg-type]

    check(setup, plain_loop, tmp_path, exact=exact)


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.RMSprop])
def test_with_a_sampled_parameter_and_other_optimizers(
    tmp_path: Path, make: Callable[..., torch.optim.Optimizer]
) -> None:
    def setup() -> tuple[nn.Module, torch.optim.Optimizer]:
        model = make_model()
        return model, make(model.parameters(), lr=1e-2, momentum=0.9)

    check(setup, plain_loop, tmp_path)
    check(setup, closure_loop, tmp_path)


def test_with_a_compiled_optimizer_step(tmp_path: Path) -> None:
    def compiled_loop(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        step = torch.compile(optimizer.step, backend="eager")
        for _ in range(3):
            optimizer.zero_grad()
            batch(model).backward()
            step()

    def setup() -> tuple[nn.Module, torch.optim.Optimizer]:
        model = make_model()
        return model, torch.optim.Adam(model.parameters(), lr=1e-2)

    check(setup, compiled_loop, tmp_path)
