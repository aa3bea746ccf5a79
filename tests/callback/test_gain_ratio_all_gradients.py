"""The gain ratio checks all gradients: changes to some of them make it unknown."""

from __future__ import annotations

import gc
import math
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from recorded_run import read_run
from torch import Tensor, nn

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.probes import changed_gradients, stale_gradients

STEPS = 4
LIMIT = 0.02
clip_norm = nn.utils.clip_grad_norm_


def make(device: str = "cpu", dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(1)
    layers = nn.Linear(10, 64), nn.Tanh(), nn.Linear(64, 3)
    return nn.Sequential(*layers).to(device, dtype)


def loss_of(model: Any) -> Callable[[], Tensor]:
    like: Tensor = next(model.parameters())
    inputs = torch.randn(16, 10).to(like)
    labels = torch.randint(0, 3, (16,)).to(like.device)
    return lambda: nn.functional.cross_entropy(model(inputs).float(), labels)


def backward(model: nn.Module, loss: Callable[[], Tensor]) -> None:
    model.zero_grad()
    loss().backward()


def by_value(model: nn.Module, loss: Callable[[], Tensor]) -> None:
    backward(model, loss)
    nn.utils.clip_grad_value_(model.parameters(), LIMIT)


def one_layer(model: nn.Module, loss: Callable[[], Tensor]) -> None:
    backward(model, loss)
    clip_norm(model[2].parameters(), LIMIT)  # type: ignore[index]


def each_by_itself(model: nn.Module, loss: Callable[[], Tensor]) -> None:
    backward(model, loss)
    for parameter in model.parameters():
        clip_norm(parameter, LIMIT)


def between_micro_batches(model: nn.Module, loss: Callable[[], Tensor]) -> None:
    backward(model, lambda: loss() / 2)
    clip_norm(model[2].weight, LIMIT)  # type: ignore[index]
    (loss() / 2).backward()


def one_cleared(model: nn.Module, loss: Callable[[], Tensor]) -> None:
    backward(model, loss)
    model[2].weight.grad.zero_()  # type: ignore[index]


def micro_batches(model: nn.Module, loss: Callable[[], Tensor]) -> None:
    model.zero_grad(set_to_none=False)
    for _ in range(3):
        (loss() / 3).backward()
        torch.autograd.grad(loss(), list(model.parameters()))


def clipped_by_nothing(model: nn.Module, loss: Callable[[], Tensor]) -> None:
    backward(model, loss)
    clip_norm(model.parameters(), 1e6)


def unscaled(model: nn.Module, loss: Callable[[], Tensor]) -> None:
    backward(model, lambda: loss() * 2**16)
    for parameter in model.parameters():
        assert parameter.grad is not None
        parameter.grad *= 2.0**-16


Prepare = Callable[[nn.Module, Callable[[], Tensor]], None]
IN_PART: list[Prepare] = [by_value, one_layer, each_by_itself, between_micro_batches, one_cleared]
WHOLE: list[Prepare] = [backward, micro_batches, clipped_by_nothing, unscaled]
OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "Adam": lambda p: torch.optim.Adam(p, 1e-3),
    "nesterov": lambda p: torch.optim.SGD(p, 1e-3, momentum=0.9, nesterov=True, foreach=True),
}


def train(
    folder: Path, prepare: Prepare, model: nn.Module, optimizer: torch.optim.Optimizer,
    *, told: bool = False, **options: Any,
) -> list[float]:  # fmt: skip
    """Return the recorded gain ratios; ``told`` says what the norm was before clipping."""
    loss = loss_of(model)
    options = {"every_n_steps": 1, "on_error": "raise", **options}
    with AdamDebugCallback(model, optimizer, log_dir=folder, loss_closure=loss, **options) as debug:
        for _ in range(STEPS):
            prepare(model, loss)
            if told:
                whole = torch.autograd.grad(loss(), list(model.parameters()))
                debug.record(gradient_norm_before_clip=nn.utils.get_total_norm(whole))
            optimizer.step()
    return [row.get("gain_ratio", math.nan) for row in read_run(folder).steps.values()]


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("prepare", IN_PART)
def test_what_changes_some_gradients_leaves_nothing_known(
    prepare: Prepare, optimizer: str, told: bool, tmp_path: Path
) -> None:
    model = make()
    found = train(tmp_path, prepare, model, OPTIMIZERS[optimizer](model.parameters()), told=told)
    assert all(map(math.isnan, found))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("prepare", WHOLE)
def test_what_changes_none_of_them_leaves_it_known(
    prepare: Prepare, optimizer: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    model = make(dtype=dtype)
    found = train(tmp_path, prepare, model, OPTIMIZERS[optimizer](model.parameters()))
    assert found == pytest.approx([1.0] * STEPS, abs=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_clipping_all_of_them_is_one_factor(dtype: torch.dtype, tmp_path: Path) -> None:
    def prepare(model: nn.Module, loss: Callable[[], Tensor]) -> None:
        backward(model, loss)
        clip_norm(model.parameters(), 0.3)

    model = make(dtype=dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    found = train(tmp_path, prepare, model, optimizer, told=True)
    assert found == pytest.approx([1.0] * STEPS, abs=0.3)


def test_parameters_that_join_later_are_looked_at(tmp_path: Path) -> None:
    model = make()
    optimizer = torch.optim.Adam(model[0].parameters(), 1e-3)
    steps = 0

    def prepare(model: nn.Module, loss: Callable[[], Tensor]) -> None:
        nonlocal steps
        steps += 1
        if steps == 2:
            optimizer.add_param_group({"params": list(model[2].parameters())})  # type: ignore[index]
        (one_layer if steps > 2 else backward)(model, loss)

    found = train(tmp_path, prepare, model, optimizer)
    assert found[:2] == pytest.approx([1.0, 1.0], abs=0.05)
    assert all(map(math.isnan, found[3:]))


def test_norms_are_taken_at_steps_with_a_gain_ratio_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    norm_of = stale_gradients.norm_of

    def counted(tensor: Tensor) -> Tensor:
        calls.append(0)
        return norm_of(tensor)

    monkeypatch.setattr(changed_gradients, "norm_of", counted)
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    found = train(tmp_path, backward, model, optimizer, every_n_steps=4, max_overhead=1.0)
    known = [ratio for ratio in found if not math.isnan(ratio)]
    assert 0 < len(known) < STEPS
    assert len(calls) == 2 * 4 * len(known)


def test_training_is_the_same_and_no_hook_is_left(tmp_path: Path) -> None:
    with_it, without = make(), make()
    train(tmp_path, micro_batches, with_it, torch.optim.Adam(with_it.parameters(), 1e-3))
    torch.manual_seed(1)
    make()
    loss, optimizer = loss_of(without), torch.optim.Adam(without.parameters(), 1e-3)
    for _ in range(STEPS):
        micro_batches(without, loss)
        optimizer.step()
    for one, other in zip(with_it.parameters(), without.parameters(), strict=True):
        assert torch.equal(one, other)
        assert not one._backward_hooks
        assert not one._post_accumulate_grad_hooks


def test_hooks_keep_no_parameter_and_no_gradient_alive(tmp_path: Path) -> None:
    model = make()
    loss, optimizer = loss_of(model), torch.optim.SGD(model.parameters(), 1e-3)
    callback = AdamDebugCallback(
        model, optimizer, log_dir=tmp_path, loss_closure=loss, every_n_steps=1
    )
    for _ in range(2):
        backward(model, loss)
        optimizer.step()
    gone = []
    for parameter in model.parameters():
        gone.append(weakref.ref(parameter.grad))
        parameter.grad = None
    gc.collect()
    assert [reference() for reference in gone] == [None] * 4
    callback.close()


def test_a_hook_that_fails_is_told_of_and_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(tensor: Tensor) -> Tensor:
        raise RuntimeError("no norm")

    monkeypatch.setattr(changed_gradients, "norm_of", fail)
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    with pytest.warns(UserWarning, match=r"no norm.*gain ratios are left out") as said:
        found = train(tmp_path, backward, model, optimizer, on_error="warn")
    assert len(said) == 1
    assert all(map(math.isnan, found))


def test_a_compiled_model_is_compiled_once(tmp_path: Path) -> None:
    model = make()
    graphs: list[int] = []

    def backend(graph: Any, _: object) -> Any:
        graphs.append(0)
        return graph.forward

    compiled = torch.compile(model, backend=backend)
    loss, optimizer = loss_of(compiled), torch.optim.SGD(model.parameters(), 1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with AdamDebugCallback(
            model, optimizer, log_dir=tmp_path, loss_closure=loss_of(model), every_n_steps=1
        ):
            for _ in range(STEPS):
                backward(model, loss)
                optimizer.step()
    assert len(graphs) == 1
