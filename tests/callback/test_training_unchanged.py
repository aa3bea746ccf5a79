"""Training with the callback is bit-identical to training without it."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recorded_run import read_run
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
    """Everything that training leaves behind, as bytes."""
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
        "modes": [module.training for module in model.modules()],
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
    }


def nosy_closure(model: nn.Module, optimizer: torch.optim.Optimizer) -> Callable[[], Tensor]:
    """A loss that leaves as many traces as it can."""

    def closure() -> Tensor:
        optimizer.zero_grad(set_to_none=False)
        model.train(not model.training)
        random.random()
        np.random.rand()
        with torch.autocast("cpu", torch.bfloat16):
            batch(model)
        for buffer in model.buffers():
            buffer.add_(1)
        return batch(model)

    return closure


def trained(setup: Setup, loop: Loop, nosy: bool = False, **options: Any) -> dict[str, Any]:
    random.seed(1)
    np.random.seed(1)
    model, optimizer = setup()
    if nosy:
        options["loss_closure"] = nosy_closure(model, optimizer)
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


def still_differentiating_loop(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Buffers that a graph has kept are differentiated after the step."""
    for _ in range(STEPS):
        optimizer.zero_grad()
        batch(model).backward()
        scale = torch.ones(16, requires_grad=True)
        later = (model[1].running_mean * scale).sum()  # type: ignore[index]
        optimizer.step()
        later.backward()


def within_autocast_loop(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Autocast keeps cast weights until its region ends, for forward passes that come later."""
    with torch.autocast("cpu", torch.bfloat16):
        closure_loop(model, optimizer)


@pytest.mark.parametrize(
    "loop",
    [
        plain_loop, closure_loop, accumulating_loop, scaler_loop, still_differentiating_loop,
        within_autocast_loop,
    ],
)  # fmt: skip
def test_with_a_loss_closure(tmp_path: Path, loop: Loop) -> None:
    def setup() -> tuple[nn.Module, torch.optim.Optimizer]:
        model = make_model()
        return model, torch.optim.AdamW(model.parameters(), lr=1e-2)

    check(setup, loop, tmp_path, nosy=True)
    assert any("gain_ratio" in row for row in read_run(tmp_path).steps.values())


def test_with_a_model_in_parallel(tmp_path: Path) -> None:
    store = torch.distributed.HashStore()  # type: ignore[attr-defined]
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:

        def setup() -> tuple[nn.Module, torch.optim.Optimizer]:
            model = nn.parallel.DistributedDataParallel(make_model(), gradient_as_bucket_view=True)
            return model, torch.optim.AdamW(model.parameters(), lr=1e-2)

        check(setup, accumulating_loop, tmp_path, nosy=True)
    finally:
        torch.distributed.destroy_process_group()


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
