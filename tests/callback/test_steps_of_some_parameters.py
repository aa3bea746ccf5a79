"""Subclasses that step some parameters differently: the formula only applies to the others."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.run_data import Run, load_runs

FROM_FORMULA = ["update_rounding_error", "update_slope", "lost_update_fraction"]
BACKWARDS = ["momentum_gradient_cosine", "gradient_surprise", "second_moment_flicker"]
STEPS = 40


def params(optimizer: torch.optim.Optimizer) -> list[Any]:
    return [p for group in optimizer.param_groups for p in group["params"]]


class InBlocks(torch.optim.Adam):
    """Hides the gradients of all but two parameters from each step."""

    calls = 0

    def step(self, closure: Any = None) -> Any:
        self.calls += 1
        gradients = [p.grad for p in params(self)]
        for i, p in enumerate(params(self)):
            if i // 2 != self.calls // 5 % 3:
                p.grad = None
        super().step(closure)
        for p, gradient in zip(params(self), gradients, strict=True):
            p.grad = gradient


class SomeTimes(torch.optim.Adam):
    """Multiplies the steps of the first and the third parameter."""

    factor = 0.0

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        before = [p.clone() for p in params(self)]
        super().step(closure)
        for i in (0, 2):
            p = params(self)[i]
            p.copy_(before[i] + self.factor * (p - before[i]))


class Own(torch.optim.Adam):
    """Takes the steps of its base class, with its own code."""

    def step(self, closure: Any = None) -> Any:
        return super().step(closure)


class OwnSGD(torch.optim.SGD):
    """Likewise."""

    def step(self, closure: Any = None) -> Any:
        return super().step(closure)


def train(
    folder: Path, kind: Any, dtype: torch.dtype = torch.float32, steps: int = STEPS, **options: Any
) -> tuple[Run, Any]:
    torch.manual_seed(0)
    layers = [nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 4)]
    model = nn.Sequential(*layers).to(dtype)
    optimizer = kind(model.parameters(), **{"lr": 1e-3, **options})
    with AdamDebugCallback(model, optimizer, log_dir=folder, every_n_steps=1, on_error="raise"):
        for _ in range(steps):
            optimizer.zero_grad()
            inputs = torch.randn(32, 10, dtype=dtype)
            (model(inputs) - inputs[:, :4]).square().mean().backward()
            optimizer.step()
    (run,) = load_runs(folder)
    return run, optimizer


def assert_hidden(run: Run, names: list[str], is_hidden: Any) -> None:
    for name in names:
        values = run.statistic(name)[1:]
        np.testing.assert_array_equal(np.isnan(values), is_hidden[1:], name)


def test_blocks_that_are_not_stepped_lose_nothing(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="InBlocks does not move all weights as Adam") as said:
        run, _ = train(tmp_path, InBlocks)
    assert len(said) == 1
    assert not [finding for finding in run.findings() if finding.severity == "error"]
    block = (np.arange(1, STEPS + 1) // 5) % 3
    is_stepped = np.repeat(block[:, None] == np.arange(3), 2, axis=1)
    assert_hidden(run, FROM_FORMULA, ~is_stepped)
    # The first step of a block has none before it.
    is_second = is_stepped & (np.cumsum(is_stepped, axis=0) > 1)
    assert_hidden(run, BACKWARDS[:1], ~is_second)
    assert run.statistic("update_slope")[is_stepped] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("factor", [0.0, 0.1, -1.0, 3.0])
def test_what_is_scaled_has_no_numbers_of_the_formula(factor: float, tmp_path: Path) -> None:
    kind = type("SomeTimes", (SomeTimes,), {"factor": factor})
    with pytest.warns(UserWarning, match="SomeTimes does not move all weights") as said:
        run, _ = train(tmp_path, kind)
    assert len(said) == 1
    assert not [finding for finding in run.findings() if finding.severity == "error"]
    is_hidden = np.zeros((STEPS, 6), bool)
    is_hidden[:, [0, 2]] = True
    assert_hidden(run, FROM_FORMULA, is_hidden)
    assert_hidden(run, BACKWARDS, np.zeros((STEPS, 6), bool))  # the state is the formula's


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("kind", "options"), [(Own, {"eps": 1e-4}), (OwnSGD, {"momentum": 0.9, "lr": 0.05})]
)
def test_code_of_its_own_alone_changes_nothing(
    kind: Any, options: dict[str, Any], dtype: torch.dtype, tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run, _ = train(tmp_path / "0", kind, dtype, **options)
        plain, _ = train(tmp_path / "1", kind.__base__, dtype, **options)
    for name in [*FROM_FORMULA, *BACKWARDS]:
        np.testing.assert_array_equal(run.statistic(name), plain.statistic(name), name)


class Scales(nn.Module):
    """Weights of 1, as those of norms."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(256, dtype=torch.bfloat16))
        self.out = (torch.randn(256, 3) / 16).bfloat16()

    def forward(self, inputs: Tensor) -> Tensor:
        return (inputs.repeat(1, 26)[:, :256] * self.weight) @ self.out


class Renamed(torch.optim.Adam):
    """Takes the steps of its base class, by its code."""


@pytest.mark.parametrize("kind", [torch.optim.Adam, Renamed, Own])
def test_a_lower_learning_rate_of_half_precision_loses_all(kind: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Scales()
    optimizer = kind(model.parameters(), 1.6e-2, eps=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with AdamDebugCallback(model, optimizer, log_dir=tmp_path, every_n_steps=1):
            for step in range(60):
                optimizer.zero_grad()
                inputs = torch.randn(32, 10, dtype=torch.bfloat16)
                model(inputs).float().square().mean().backward()
                optimizer.step()
                if step == 20:
                    optimizer.param_groups[0]["lr"] /= 10
    (run,) = load_runs(tmp_path)
    lost = run.statistic("lost_update_fraction")
    assert np.isfinite(lost).all()
    assert (lost[30:] == 1).all()
    assert "lost_updates" in {finding.rule for finding in run.findings()}


def times(count: Any, base: Any) -> Any:
    """A subclass that repeats each step; it knows its momentum before the gradient."""

    class Times(base):  # type: ignore[misc]
        calls = 0

        @torch.no_grad()
        def step(self, closure: Any = None) -> None:
            self.calls += 1
            self.true = getattr(self, "true", [])
            moments = [
                self.state[p].get("exp_avg") if p in self.state else None for p in params(self)
            ]
            self.true.append(
                [
                    math.nan
                    if m is None
                    else torch.cosine_similarity(
                        m.double().flatten(), p.grad.double().flatten(), 0
                    ).item()
                    for m, p in zip(moments, params(self), strict=True)
                ]
            )
            for _ in range(count(self.calls)):
                super().step(closure)

    return Times


@pytest.mark.parametrize(
    "count", [lambda _: 1, lambda _: 2, lambda n: n % 2, lambda n: 1 + (n % 3 == 0)],
    ids=["once", "twice", "every second", "now and then twice"],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*(does not move|skips steps)")
def test_momentum_before_the_step_is_right_or_not_known(count: Any, tmp_path: Path) -> None:
    run, optimizer = train(tmp_path, times(count, torch.optim.Adam))
    is_one = np.array([count(step) == 1 for step in run.steps])
    is_one[0] = False
    found = run.statistic("momentum_gradient_cosine")
    assert np.isnan(found[~is_one]).all()
    assert found[is_one] == pytest.approx(np.array(optimizer.true)[is_one], abs=1e-4)
    for name in BACKWARDS:
        assert np.isnan(run.statistic(name)[~is_one]).all(), name


@pytest.mark.filterwarnings("ignore:.*does not move")
def test_without_a_count_nothing_is_computed_backwards_where_updates_differ(
    tmp_path: Path,
) -> None:
    run, _ = train(tmp_path / "1", times(lambda _: 1, torch.optim.SGD), momentum=0.9)
    assert np.isfinite(run.statistic("momentum_gradient_cosine")[1:]).all()
    run, _ = train(tmp_path / "2", times(lambda _: 2, torch.optim.SGD), momentum=0.9)
    assert np.isnan(run.statistic("momentum_gradient_cosine")).all()
