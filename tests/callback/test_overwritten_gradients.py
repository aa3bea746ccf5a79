"""Gradients that a step overwrites are recorded as the step consumed them, closures included."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD, Optimizer

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.run_data import load_runs

STEPS = 12


class Halving(Optimizer):
    """An unknown optimizer: it writes into the gradients."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {"lr": 0.1})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.add_(parameter.grad.mul_(0.5), alpha=-group["lr"])
        return loss


def nesterov(parameters: Any) -> Optimizer:
    return SGD(parameters, lr=0.01, momentum=0.9, nesterov=True, foreach=True)


@pytest.mark.filterwarnings("ignore:Adam Debug. Halving is not a known optimizer")
@pytest.mark.parametrize("make", [nesterov, Halving])
@pytest.mark.parametrize("closure", ["no closure", "positional", "keyword"])
@pytest.mark.parametrize("sampled", [16_384, 256])
def test_the_gradient_that_counts_is_the_one_that_was_consumed(
    tmp_path: Path, make: Callable[[Any], Optimizer], closure: str, sampled: int
) -> None:
    torch.manual_seed(0)
    parameter = nn.Parameter(torch.randn(40, 30))
    optimizer = make([parameter])
    consumed: list[torch.Tensor] = []

    def evaluate() -> float:
        optimizer.zero_grad()
        parameter.grad = torch.randn_like(parameter) * (len(consumed) + 1)
        consumed.append(parameter.grad.double().clone())
        return 1.0

    with AdamDebugCallback(
        [("p", parameter)],
        optimizer,
        log_dir=tmp_path,
        every_n_steps=3,  # the norms of the other steps are computed, too
        max_sampled_elements=sampled,
        on_error="raise",
    ) as debug:
        for _ in range(STEPS):
            if closure == "positional":
                optimizer.step(evaluate)
            elif closure == "keyword":
                optimizer.step(closure=evaluate)
            else:
                evaluate()
                optimizer.step()
        assert debug.step == STEPS
    (run,) = load_runs(tmp_path)
    true = np.array([float(g.square().mean().sqrt()) for g in consumed])
    recorded = run.steps.astype(int) - 1
    assert run.statistic("gradient_rms")[:, 0] == pytest.approx(true[recorded], rel=1e-6)
    norms = run.every_step().values[run.every_step().names.index("gradient_norm")]
    assert norms == pytest.approx(true * np.sqrt(parameter.numel()), rel=1e-6)


def test_a_wrapped_closure_gives_the_loss_back(tmp_path: Path) -> None:
    parameter = nn.Parameter(torch.ones(4))
    optimizer = nesterov([parameter])
    with AdamDebugCallback([("p", parameter)], optimizer, log_dir=tmp_path):
        parameter.grad = torch.ones(4)
        assert optimizer.step(lambda: 7.0) == 7.0

        def failing() -> float:
            raise KeyError("of the trainer")

        with pytest.raises(KeyError, match="of the trainer"):
            optimizer.step(failing)


@pytest.mark.parametrize("every", [1, 5])
def test_a_step_without_any_gradient_is_no_alarm(tmp_path: Path, every: int) -> None:
    """Alternating losses, one side of a GAN, a skipped batch."""
    torch.manual_seed(0)
    model, target = nn.Linear(8, 8), torch.randn(8, 8)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with AdamDebugCallback(model, optimizer, log_dir=tmp_path, every_n_steps=every) as debug:
        for step in range(120):
            optimizer.zero_grad()
            inputs = torch.randn(16, 8)
            loss = (model(inputs) - inputs @ target).square().mean()
            if step not in (50, 51, 52):
                loss.backward()
            debug.record(loss=loss)
            optimizer.step()
    (run,) = load_runs(tmp_path)
    norms = run.every_step().values[run.every_step().names.index("gradient_norm")]
    assert np.flatnonzero(norms == 0).tolist() == [50, 51, 52]
    assert not [f for f in run.findings() if f.severity != "info"]


def test_memory_is_bounded_whatever_the_length_of_rows() -> None:
    from tb_adam_plugin.callback.read import norms

    tensor = torch.zeros(3_000_000, 2)
    tensor[5] = tensor[2_999_999] = 1.0
    assert int(norms.count_nonzero_rows(tensor)) == 2


def test_a_number_that_is_too_large_is_named(tmp_path: Path) -> None:
    parameter = nn.Parameter(torch.ones(4))
    optimizer = torch.optim.Adam([parameter])
    with (
        AdamDebugCallback([("p", parameter)], optimizer, log_dir=tmp_path) as debug,
        pytest.raises(ValueError, match=r"record\(loss=...\)"),
    ):
        debug.record(loss=10**400)
