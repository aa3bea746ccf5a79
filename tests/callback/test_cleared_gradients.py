"""Subclasses whose step clears the gradients: these are recorded, and nothing is kept."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.probes.cleared_gradients import ClearedGradients
from tb_adam_plugin.run_data import Run, load_runs

STEPS = 60
FALSE_ALARMS = {"no_gradient", "dead_units", "without_gradient", "moved_without_gradient"}
OF_GRADIENTS = ("gradient_rms", "zero_gradient_fraction", "momentum_gradient_cosine")


def clearing(base: Any, *, to_none: bool, every: int = 1) -> Any:
    class Clears(base):  # type: ignore[misc]
        calls = 0

        def step(self, closure: Any = None) -> Any:
            found = super().step(closure)
            self.calls += 1
            if self.calls % every == 0:
                self.zero_grad(set_to_none=to_none)
            return found

    return Clears


def train(
    folder: Path, kind: Any, *, with_closure: bool = False, interval: int = 1,
    look: Callable[[list[nn.Parameter]], None] = lambda _: None, watches: bool = True,
) -> tuple[list[nn.Parameter], Run | None]:  # fmt: skip
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 3))
    parameters = list(model.parameters())
    optimizer = kind(parameters, lr=1e-3)
    debug = None
    if watches:
        debug = AdamDebugCallback(
            model, optimizer, log_dir=folder, every_n_steps=interval, on_error="raise"
        )

    def backward() -> Tensor:
        optimizer.zero_grad()
        inputs = torch.randn(16, 10)
        loss: Tensor = (model(inputs) - inputs[:, :3]).square().mean()
        loss.backward()
        return loss

    for _ in range(STEPS):
        if with_closure:
            optimizer.step(backward)
        else:
            backward()
            optimizer.step()
        look(parameters)
    if debug is None:
        return parameters, None
    debug.close()
    (run,) = load_runs(folder)
    return parameters, run


@pytest.mark.parametrize("interval", [1, 7])
@pytest.mark.parametrize("with_closure", [False, True])
@pytest.mark.parametrize("to_none", [True, False])
@pytest.mark.parametrize("base", [torch.optim.Adam, torch.optim.SGD])
def test_it_is_recorded_as_without_that(
    base: Any, to_none: bool, with_closure: bool, interval: int, tmp_path: Path
) -> None:
    def is_cleared(parameters: list[nn.Parameter]) -> None:
        for p in parameters:
            assert (p.grad is None) == to_none
            assert p.grad is None or not p.grad.any()

    kind = clearing(base, to_none=to_none)
    _, plain = train(tmp_path / "0", base, with_closure=with_closure, interval=interval)
    _, run = train(
        tmp_path / "1", kind, with_closure=with_closure, interval=interval, look=is_cleared
    )
    assert plain is not None
    assert run is not None
    assert not FALSE_ALARMS & {finding.rule for finding in run.findings()}
    for name in OF_GRADIENTS:
        np.testing.assert_array_equal(run.statistic(name), plain.statistic(name), name)
    np.testing.assert_array_equal(
        run.every_step()["gradient_norm"], plain.every_step()["gradient_norm"]
    )


@pytest.mark.parametrize("to_none", [True, False])
def test_what_is_cleared_now_and_then_is_never_0(to_none: bool, tmp_path: Path) -> None:
    _, run = train(tmp_path, clearing(torch.optim.Adam, to_none=to_none, every=4))
    assert run is not None
    norms = run.every_step()["gradient_norm"]
    assert not (norms == 0).any()
    assert np.isnan(norms).sum() <= (0 if to_none else 1)
    assert np.isnan(run.statistic("gradient_rms")).any(axis=1).sum() <= (0 if to_none else 1)


@pytest.mark.parametrize("with_closure", [False, True])
@pytest.mark.parametrize("to_none", [True, False])
def test_training_is_the_same(to_none: bool, with_closure: bool, tmp_path: Path) -> None:
    kind = clearing(torch.optim.Adam, to_none=to_none)
    one, _ = train(tmp_path, kind, with_closure=with_closure)
    other, _ = train(tmp_path, kind, with_closure=with_closure, watches=False)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("to_none", [True, False])
def test_no_gradient_is_kept_after_the_step(to_none: bool, tmp_path: Path) -> None:
    """Even if the step fails: not once the next one starts or the callback is closed."""

    class Fails(clearing(torch.optim.Adam, to_none=to_none)):  # type: ignore[misc]
        fails = False

        def step(self, closure: Any = None) -> Any:
            super().step()
            if self.fails:
                raise KeyError("user's")

    layer = nn.Linear(10, 3)
    optimizer = Fails(layer.parameters())
    debug = AdamDebugCallback(layer, optimizer, log_dir=tmp_path, every_n_steps=1)
    for fails in (False, True):
        optimizer.fails = fails
        optimizer.zero_grad()
        layer(torch.randn(4, 10)).sum().backward()
        gone = [weakref.ref(p.grad) for p in layer.parameters()]
        if fails:
            with pytest.raises(KeyError, match="user's"):
                optimizer.step()
            debug.close()
        else:
            optimizer.step()
        optimizer.zero_grad()
        gc.collect()
        assert [reference() for reference in gone] == [None] * 2


def test_gradients_that_are_zero_are_not_taken_for_cleared_ones() -> None:
    layer = nn.Linear(2, 2)
    cleared = ClearedGradients()
    for p in layer.parameters():
        p.grad = torch.zeros_like(p)
    cleared.hold(layer.parameters(), with_copies=True)
    layer.weight.grad.zero_()  # type: ignore[union-attr]
    with cleared.put_back(is_recording=True):
        assert layer.weight.grad is not None
        assert not layer.weight.grad.any()
    assert not cleared.are_unknown
