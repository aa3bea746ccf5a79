"""Gradients that a step overwrites, and sparse ones: the same records, without copying them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recorded_run import RecordedRun, read_run
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.native.loading import VARIABLE
from tb_adam_plugin.callback.optimizer_state.adam import AdamState
from tb_adam_plugin.callback.optimizer_state.base import OptimizerState
from tb_adam_plugin.callback.optimizer_state.sgd import SGDState

STEPS = 3
SHAPES: dict[str, tuple[int, ...]] = {
    "read whole": (20, 40),
    "matrix": (300, 96),
    "short rows": (2000, 10),
    "filter": (64, 32, 3, 3),
    "vector": (9001,),
    "long rows": (2, 70_000),
    "small bias": (7,),
}
Change = Callable[[str, Tensor], None]


def as_it_is(name: str, gradient: Tensor) -> None:
    """Change nothing."""


def not_finite(name: str, gradient: Tensor) -> None:
    flat = gradient.view(-1)
    flat[5] = math.inf
    flat[17::1000] = math.nan


def too_large(name: str, gradient: Tensor) -> None:
    gradient.mul_(1e25)


def too_small(name: str, gradient: Tensor) -> None:
    gradient.mul_(1e-25)


def without_rows(name: str, gradient: Tensor) -> None:
    gradient[::3] = 0


def zero(name: str, gradient: Tensor) -> None:
    gradient.zero_()


CHANGES = (as_it_is, not_finite, too_large, too_small, without_rows, zero)


def make_parameters(dtype: torch.dtype) -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(1)
    made = {}
    for name, shape in SHAPES.items():
        weight = torch.randn(shape, generator=generator, dtype=torch.float32).to(dtype)
        if name == "filter":
            weight = weight.to(memory_format=torch.channels_last)
        made[name] = nn.Parameter(weight)
    return made


def gradient_of(name: str, like: Tensor, step: int, change: Change) -> Tensor:
    generator = torch.Generator().manual_seed(step)
    real = torch.float32
    drawn = torch.randn(*like.shape, 2, generator=generator, dtype=real) * 1e-3
    if like.is_complex():
        gradient = torch.view_as_complex(drawn).to(like.dtype)
    else:
        gradient = drawn[..., 0].to(like.dtype).contiguous()
    change(name, gradient)
    return gradient.to(memory_format=torch.channels_last) if name == "filter" else gradient


def spoil(optimizer: Optimizer) -> None:
    """Overwrite all gradients after the step, as some optimizers do within it."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                (parameter.grad.values() if parameter.grad.is_sparse else parameter.grad).fill_(3)


def trained(
    folder: Path,
    make: Callable[[list[dict[str, Any]]], Optimizer],
    change: Change = as_it_is,
    dtype: torch.dtype = torch.float32,
    spoils: bool = False,
) -> RecordedRun:
    parameters = make_parameters(dtype)
    optimizer = make(
        [{"params": list(parameters.values())[:4]}, {"params": list(parameters.values())[4:]}]
    )
    if spoils:
        optimizer.register_step_post_hook(lambda of, *_: spoil(of))  # before the callback's
    with AdamDebugCallback(
        list(parameters.items()),
        optimizer,
        log_dir=folder,
        every_n_steps=1,
        max_sampled_elements=1024,
        on_error="raise",
    ):
        for step in range(1, STEPS + 1):
            for name, parameter in parameters.items():
                parameter.grad = gradient_of(name, parameter, step, change)
            if step == 2:
                parameters["matrix"].grad = parameters["small bias"].grad = None
            optimizer.step()
    return read_run(folder)


def assert_same(found: RecordedRun, expected: RecordedRun) -> None:
    assert list(found.statistics) == list(expected.statistics) == list(range(1, STEPS + 1))
    for step in expected.statistics:
        np.testing.assert_array_equal(found.statistics[step], expected.statistics[step])
        np.testing.assert_array_equal(found.histograms[step], expected.histograms[step])


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    "dtype",
    [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.complex64],
    ids=str,
)
def test_a_record_is_that_of_a_step_that_leaves_its_gradients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, change: Change
) -> None:
    monkeypatch.setenv(VARIABLE, "0")  # which adds up in another order

    def make(groups: list[dict[str, Any]]) -> Optimizer:
        return torch.optim.SGD(groups, lr=1e-3, momentum=0.9, foreach=False)

    expected = trained(tmp_path / "left", make, change, dtype)
    monkeypatch.setattr(SGDState, "overwrites_gradient", lambda *_: True)
    assert_same(trained(tmp_path / "overwritten", make, change, dtype, spoils=True), expected)


@pytest.mark.parametrize("native", ["0", "1"])
def test_one_group_may_overwrite_its_gradients_and_another_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, native: str
) -> None:
    def make(groups: list[dict[str, Any]]) -> Optimizer:
        return torch.optim.AdamW(groups, lr=1e-3)

    monkeypatch.setenv(VARIABLE, "0")
    expected = trained(tmp_path / "left", make, without_rows)
    monkeypatch.setenv(VARIABLE, native)

    def is_first(state: OptimizerState, group: dict[str, Any]) -> bool:
        return group is state.optimizer.param_groups[0]

    monkeypatch.setattr(AdamState, "overwrites_gradient", is_first)
    monkeypatch.setitem(globals(), "spoil", spoil_first)
    found = trained(tmp_path / "overwritten", make, without_rows, spoils=True)
    if native == "0":
        assert_same(found, expected)
        return
    for step in expected.statistics:
        np.testing.assert_allclose(found.statistics[step], expected.statistics[step], rtol=1e-4)
        np.testing.assert_array_equal(found.histograms[step], expected.histograms[step])


def spoil_first(optimizer: Optimizer) -> None:
    for parameter in optimizer.param_groups[0]["params"]:
        if parameter.grad is not None:
            parameter.grad.fill_(3)


@pytest.mark.parametrize("native", ["0", "1"])
@pytest.mark.parametrize("change", [as_it_is, not_finite, too_large, without_rows])
def test_numbers_are_those_of_the_gradients_before_nesterovs_momentum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Change, native: str
) -> None:
    """Computed here from the gradients themselves, all elements of the sampled ones, too."""
    monkeypatch.setenv(VARIABLE, native)
    run = trained(
        tmp_path,
        lambda groups: torch.optim.SGD(groups, lr=1e-3, momentum=0.9, nesterov=True, foreach=True),
        change,
    )
    assert sum(p.elements_read < p.elements for p in run.layout.parameters) == 5
    for step in range(1, STEPS + 1):
        for name, shape in SHAPES.items():
            found = run.of(step, name)
            if step == 2 and name in ("matrix", "small bias"):
                assert np.isnan(found["gradient_rms"])
                assert np.isnan(found["dead_row_fraction"])
                continue
            gradient = gradient_of(name, torch.empty(shape), step, change).double()
            bad = int((~gradient.isfinite()).sum())
            # And as many of the momentum, and of the weights.
            assert found["nonfinite_count"] == 3 * bad
            if not bad:
                rms = float(gradient.square().mean().sqrt())
                assert found["gradient_rms"] == pytest.approx(rms, rel=1e-5)
            if len(shape) > 1:
                dead = float((gradient == 0).flatten(1).all(1).double().mean())
                assert found["dead_row_fraction"] == pytest.approx(dead, abs=1e-7)


@pytest.mark.parametrize("width", [10, 64])
def test_a_sparse_gradient_that_the_step_overwrites(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv(VARIABLE, "0")

    def record(folder: Path, spoils: bool) -> RecordedRun:
        torch.manual_seed(0)
        model = nn.Embedding(3000, width, sparse=True)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
        if spoils:
            optimizer.register_step_post_hook(lambda of, *_: spoil(of))
        with AdamDebugCallback(
            model,
            optimizer,
            log_dir=folder,
            every_n_steps=1,
            max_sampled_elements=1024,
            on_error="raise",
        ):
            for _ in range(STEPS):
                model(torch.randint(3000, (900,))).square().sum().backward()
                gradient = model.weight.grad
                assert gradient is not None
                model.weight.grad = gradient.coalesce()
                optimizer.step()
                optimizer.zero_grad()
        return read_run(folder)

    expected = record(tmp_path / "left", False)
    monkeypatch.setattr(SGDState, "overwrites_gradient", lambda *_: True)
    assert_same(record(tmp_path / "overwritten", True), expected)


class Largest(TorchDispatchMode):
    """Notes the largest memory that an operation makes; not of what is known already."""

    def __init__(self, known: list[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known = {tensor.untyped_storage().data_ptr() for tensor in known}
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.layout == torch.strided:
                memory = tensor.untyped_storage()
                if memory.data_ptr() not in self._known:
                    self.bytes = max(self.bytes, memory.nbytes())
        return result


@pytest.mark.parametrize("native", ["0", "1"])
def test_no_gradient_is_copied_that_is_sampled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, native: str
) -> None:
    monkeypatch.setenv(VARIABLE, native)
    weights = [nn.Parameter(torch.zeros(60_000, 64)), nn.Parameter(torch.zeros(300, 20_000).t())]
    optimizer = torch.optim.SGD(weights, lr=0.1, momentum=0.9, nesterov=True, foreach=True)
    with AdamDebugCallback(
        [("w", weights[0]), ("t", weights[1])],
        optimizer,
        log_dir=tmp_path,
        every_n_steps=1,
        on_error="raise",
    ):
        for step in range(3):
            for weight in weights:
                weight.grad = torch.ones_like(weight)
            states = [s["momentum_buffer"] for s in optimizer.state.values()]
            with Largest([*weights, *(w.grad for w in weights if w.grad is not None), *states]) as (
                largest
            ):
                optimizer.step()
            if step == 2:
                assert 0 < largest.bytes <= 4 << 20 < weights[0].nbytes / 3
    assert read_run(tmp_path).of(3, "t")["gradient_rms"] == 1


@pytest.mark.parametrize("kind", [torch.optim.SparseAdam, torch.optim.SGD])
def test_rows_without_gradient_take_no_place(
    tmp_path: Path, kind: Callable[..., Optimizer]
) -> None:
    model = nn.Embedding(200_000, 64, sparse=True)
    optimizer = kind(model.parameters(), lr=1e-3)
    with AdamDebugCallback(model, optimizer, log_dir=tmp_path, every_n_steps=1, on_error="raise"):
        for step in range(3):
            model(torch.arange(40)).sum().backward()
            states = [v for s in optimizer.state.values() for v in s.values()]
            known = [model.weight, *(v for v in states if isinstance(v, Tensor))]
            with Largest(known) as largest:
                optimizer.step()
            if step == 2:
                assert 0 < largest.bytes < 2 * len(model.weight)  # a norm of each row takes 4
            optimizer.zero_grad()
    assert read_run(tmp_path).of(3, "weight")["dead_row_fraction"] == pytest.approx(1 - 2e-4)


def test_training_is_the_same_to_the_bit(tmp_path: Path) -> None:
    def train(folder: Path | None) -> list[Tensor]:
        parameters = make_parameters(torch.float32)
        optimizer = torch.optim.SGD(
            parameters.values(), lr=1e-2, momentum=0.9, nesterov=True, foreach=True
        )
        debug = None
        if folder is not None:
            debug = AdamDebugCallback(
                list(parameters.items()),
                optimizer,
                log_dir=folder,
                every_n_steps=1,
                max_sampled_elements=1024,
                on_error="raise",
            )
        for step in range(1, 6):
            for name, parameter in parameters.items():
                parameter.grad = gradient_of(name, parameter, step, as_it_is)
            optimizer.step()
        if debug is not None:
            debug.close()
        gradients = [p.grad for p in parameters.values() if p.grad is not None]
        return [p.detach() for p in parameters.values()] + gradients

    for found, expected in zip(train(tmp_path), train(None), strict=True):
        assert torch.equal(found, expected)
