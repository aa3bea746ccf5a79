"""Subclasses whose step clears the gradients: recorded, or unknown, and nothing is kept."""

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

from tb_adam_plugin import schema
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
@pytest.mark.parametrize("base", [torch.optim.Adam, torch.optim.SGD])
def test_removed_gradients_are_recorded_as_without_that(
    base: Any, with_closure: bool, interval: int, tmp_path: Path
) -> None:
    def is_cleared(parameters: list[nn.Parameter]) -> None:
        assert all(p.grad is None for p in parameters)

    kind = clearing(base, to_none=True)
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


def _zeroes(optimizer: Any, step: Callable[[], None]) -> None:
    step()
    optimizer.zero_grad(set_to_none=False)


def _zeroes_at_times(optimizer: Any, step: Callable[[], None]) -> None:
    step()
    if optimizer.calls % 4 == 0:
        optimizer.zero_grad(set_to_none=False)


def _starts_late(optimizer: Any, step: Callable[[], None]) -> None:
    step()
    if optimizer.calls > 30:
        optimizer.zero_grad(set_to_none=False)


def _clips_and_zeroes(optimizer: Any, step: Callable[[], None]) -> None:
    nn.utils.clip_grad_norm_(_parameters(optimizer), 0.05)
    _zeroes(optimizer, step)


def _zeroes_matrices(optimizer: Any, step: Callable[[], None]) -> None:
    nn.utils.clip_grad_norm_(_parameters(optimizer), 1e9)
    step()
    for p in _parameters(optimizer):
        if p.ndim > 1:
            _gradient(p).zero_()


def _frees(optimizer: Any, step: Callable[[], None]) -> None:
    step()
    for p in _parameters(optimizer):
        _gradient(p).untyped_storage().resize_(0)
        p.grad = None


def _empties(optimizer: Any, step: Callable[[], None]) -> None:
    step()
    for p in _parameters(optimizer):
        _gradient(p).data = torch.empty(0)
        p.grad = None


def _gradient(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def _parameters(optimizer: Any) -> list[nn.Parameter]:
    return [p for group in optimizer.param_groups for p in group["params"]]


LOSING = [
    _zeroes, _zeroes_at_times, _starts_late, _clips_and_zeroes, _zeroes_matrices, _frees, _empties,
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:Adam Debug. Loses")
@pytest.mark.parametrize("interval", [1, 7])
@pytest.mark.parametrize("base", [torch.optim.Adam, torch.optim.SGD])
@pytest.mark.parametrize("loses", LOSING, ids=lambda f: f.__name__)
def test_lost_gradients_are_unknown_and_no_fault(
    loses: Callable[[Any, Callable[[], None]], None], base: Any, interval: int, tmp_path: Path
) -> None:
    """Every value is that of the same training whose gradients stay, or NaN."""

    class Stays(base):  # type: ignore[misc]
        def step(self, closure: Any = None) -> None:
            if loses is _clips_and_zeroes:
                nn.utils.clip_grad_norm_(_parameters(self), 0.05)
            super().step(closure)

    class Loses(base):  # type: ignore[misc]
        calls = 0

        def step(self, closure: Any = None) -> None:
            self.calls += 1
            loses(self, super().step)

    expected, plain = train(tmp_path / "0", Stays, interval=interval)
    parameters, run = train(tmp_path / "1", Loses, interval=interval)
    assert all(map(torch.equal, parameters, expected))
    assert plain is not None
    assert run is not None
    for statistic in schema.STATISTICS:
        values, truth = (r.statistic(statistic.name) for r in (run, plain))
        known = ~np.isnan(values)
        np.testing.assert_array_equal(values[known], truth[known], statistic.name)
        if not {"gradient", "update", "previous step"} & set(statistic.needs):
            np.testing.assert_array_equal(known, ~np.isnan(truth), statistic.name)
    assert {f.rule for f in run.findings()} <= {f.rule for f in plain.findings()}
    norms = run.every_step()["gradient_norm"]
    # That before the step; what clipping within it made of it is lost.
    if loses is not _clips_and_zeroes:
        np.testing.assert_allclose(norms, plain.every_step()["gradient_norm"], rtol=1e-6)
    assert np.isfinite(norms).all()
    assert (norms > 0).all()


def test_a_sparse_gradient_that_is_zeroed_is_unknown(tmp_path: Path) -> None:
    layer = nn.Embedding(50, 4, sparse=True)
    optimizer = clearing(torch.optim.SGD, to_none=False)(layer.parameters(), lr=0.1)
    debug = AdamDebugCallback(layer, optimizer, log_dir=tmp_path, every_n_steps=1)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss = layer(torch.randint(50, (8,))).square().mean()
        loss.backward()
        debug.record(loss=loss)
        optimizer.step()

    with pytest.warns(UserWarning, match="Clears sets gradients to zero in place"):
        step()
    for _ in range(19):
        step()
    debug.close()
    (run,) = load_runs(tmp_path)
    assert np.isnan(run.statistic("gradient_rms")).all()
    assert (run.every_step()["gradient_norm"] > 0).all()
    assert not {finding.rule for finding in run.findings()} - {"plateau", "lr_too_low"}


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


def test_a_gradient_that_only_stays_zero_is_known() -> None:
    layer = nn.Linear(2, 2)
    cleared = ClearedGradients()
    for p in layer.parameters():
        p.grad = torch.zeros_like(p)
    cleared.hold(layer.parameters())
    with cleared.put_back(is_recording=True):
        assert layer.weight.grad is not None
        assert not layer.weight.grad.any()
    assert not cleared.are_unknown
