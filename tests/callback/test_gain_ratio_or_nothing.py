"""The gain ratio is right or NaN, whatever a loop does with all or some gradients."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recorded_run import read_run
from torch import Tensor, nn

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.probes import gradient_scalers

STEPS = 4
clip = nn.utils.clip_grad_norm_


class Loop:
    """A training whose gain ratios are computed beside the callback."""

    def __init__(self, kind: str, dtype: torch.dtype = torch.float32) -> None:
        torch.manual_seed(0)
        layers = nn.Linear(12, 48), nn.Tanh(), nn.Linear(48, 3)
        self.model = nn.Sequential(*layers).to(dtype)
        self.body, self.head = layers[0].to(dtype), layers[2].to(dtype)
        self.all = list(self.model.parameters())
        make: Any = torch.optim.SGD if kind == "SGD" else torch.optim.Adam
        options = {"fused": True} if kind == "fused" else {}
        self.optimizer = make(self.all, lr=0.05 if kind == "SGD" else 2e-3, **options)
        self.inputs, self.labels = torch.randn(24, 12, dtype=dtype), torch.randint(0, 3, (24,))
        self.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**14)
        self.number = 0
        self.debug: Any = None

    def loss(self) -> Tensor:
        return nn.functional.cross_entropy(self.model(self.inputs).float(), self.labels)

    def backward(self, share: float = 1.0) -> None:
        (self.loss() * share).backward()

    def start(self) -> None:
        self.optimizer.zero_grad()
        self.backward()

    def gradients(self) -> list[Tensor]:
        return list(torch.autograd.grad(self.loss(), self.all))

    def scale(self, factor: float, parameters: list[Tensor] | None = None) -> None:
        for p in self.all if parameters is None else parameters:
            assert p.grad is not None
            p.grad.mul_(factor)

    def tell(self, norm: Tensor) -> None:
        self.debug.record(gradient_norm_before_clip=norm)

    def step(self) -> None:
        self.optimizer.step()


Prepare = Callable[[Loop], None]
NOT_KNOWN: dict[str, Prepare] = {}
KNOWN: dict[str, Prepare] = {}


def case(cases: dict[str, Prepare]) -> Callable[[Prepare], Prepare]:
    def add(prepare: Prepare) -> Prepare:
        cases[prepare.__name__] = prepare
        return prepare

    return add


@case(NOT_KNOWN)
def negated(loop: Loop) -> None:
    loop.start()
    loop.scale(-1)


@case(NOT_KNOWN)
def one_negated(loop: Loop) -> None:
    loop.start()
    loop.scale(-1, [loop.head.weight])


@case(NOT_KNOWN)
def rows_in_another_order(loop: Loop) -> None:
    loop.start()
    grad = loop.body.weight.grad
    assert grad is not None
    grad.copy_(grad.flip(0))


@case(NOT_KNOWN)
def negated_between_micro_batches(loop: Loop) -> None:
    loop.optimizer.zero_grad()
    loop.backward(0.25)
    loop.scale(-1, [loop.body.weight])
    loop.backward(0.75)


@case(NOT_KNOWN)
def left_in_the_head(loop: Loop) -> None:
    loop.body.zero_grad()
    loop.backward()
    if loop.number == 0:
        loop.scale(2)  # the first step has nothing left


@case(NOT_KNOWN)
def cleared_in_part(loop: Loop) -> None:
    loop.optimizer.zero_grad()
    loop.backward(0.5)
    loop.head.zero_grad(set_to_none=loop.number % 2 == 0)
    loop.backward(0.5)


@case(NOT_KNOWN)
def body_cleared(loop: Loop) -> None:
    """Whose gradients come last."""
    loop.optimizer.zero_grad()
    loop.backward(0.5)
    loop.body.zero_grad()
    loop.backward(0.5)


@case(NOT_KNOWN)
def assigned_and_clipped_in_part(loop: Loop) -> None:
    for p, gradient in zip(loop.all, loop.gradients(), strict=True):
        p.grad = gradient
    clip(loop.body.weight, 0.01)


@case(NOT_KNOWN)
def assigned_and_clipped_by_value(loop: Loop) -> None:
    for p, gradient in zip(loop.all, loop.gradients(), strict=True):
        p.grad = gradient
    loop.tell(nn.utils.get_total_norm([p.grad for p in loop.all if p.grad is not None]))
    nn.utils.clip_grad_value_(loop.all, 0.004)


@case(NOT_KNOWN)
def head_assigned(loop: Loop) -> None:
    loop.optimizer.zero_grad()
    loop.loss().backward(inputs=loop.all[:2])
    head = torch.autograd.grad(loop.loss(), loop.all[2:])
    for p, gradient in zip(loop.all[2:], head, strict=True):
        p.grad = 0.2 * gradient


@case(NOT_KNOWN)
def by_no_backward_pass(loop: Loop) -> None:
    loop.optimizer.zero_grad()
    loop.loss().backward(inputs=loop.all[:2])
    for p in loop.all[2:]:
        p.grad = torch.full_like(p, 0.01)


@case(NOT_KNOWN)
def halved_and_clipped(loop: Loop) -> None:
    loop.start()
    loop.scale(0.5)
    loop.tell(clip(loop.all, 0.05))


@case(NOT_KNOWN)
def divided_by_a_power_of_two(loop: Loop) -> None:
    loop.start()
    loop.scale(2.0**-9)


@case(NOT_KNOWN)
def divided_and_clipped(loop: Loop) -> None:
    loop.start()
    loop.scale(2.0**-9)
    loop.tell(clip(loop.all, 1e-4))


class Scaling:
    """Loops with a gradient scaler."""

    @staticmethod
    def backward(loop: Loop) -> Any:
        scaler = loop.scaler
        loop.optimizer.zero_grad()
        scaler.scale(loop.loss()).backward()
        loop.step = lambda: (scaler.step(loop.optimizer), scaler.update())  # type: ignore
        return scaler


@case(NOT_KNOWN)
def clipped_before_it_is_unscaled(loop: Loop) -> None:
    Scaling.backward(loop)
    loop.tell(clip(loop.all, 1.0))


@case(NOT_KNOWN)
def never_unscaled(loop: Loop) -> None:
    Scaling.backward(loop)
    loop.step = loop.optimizer.step  # type: ignore[method-assign]


@case(KNOWN)
def unscaled(loop: Loop) -> None:
    Scaling.backward(loop)


@case(KNOWN)
def unscaled_and_clipped(loop: Loop) -> None:
    Scaling.backward(loop).unscale_(loop.optimizer)
    loop.tell(clip(loop.all, 0.05))


@case(KNOWN)
def zeroed_in_place(loop: Loop) -> None:
    loop.optimizer.zero_grad(set_to_none=False)
    loop.backward(0.5)
    loop.backward(0.5)


@case(KNOWN)
def begun_anew(loop: Loop) -> None:
    """After the backward pass of another loss that only reaches the head."""
    loop.head(torch.randn(2, 48, dtype=loop.inputs.dtype)).sum().backward()
    loop.optimizer.zero_grad(set_to_none=loop.number % 2 == 0)
    loop.backward(0.5)
    loop.backward(0.5)


@case(KNOWN)
def in_two_losses(loop: Loop) -> None:
    """One of them only reaches the head."""
    loop.optimizer.zero_grad()
    hidden = loop.model[1](loop.body(loop.inputs))
    loss = nn.functional.cross_entropy(loop.head(hidden), loop.labels)
    loss.backward(inputs=loop.all[2:], retain_graph=True)
    loss.backward(inputs=loop.all[:2])


@case(KNOWN)
def assigned(loop: Loop) -> None:
    for p, gradient in zip(loop.all, loop.gradients(), strict=True):
        p.grad = gradient


@case(KNOWN)
def head_assigned_whole(loop: Loop) -> None:
    loop.optimizer.zero_grad()
    loop.loss().backward(inputs=loop.all[:2])
    for p, gradient in zip(loop.all[2:], loop.gradients()[2:], strict=True):
        p.grad = gradient


@case(KNOWN)
def added_up_and_divided(loop: Loop) -> None:
    loop.start()
    loop.backward()
    loop.scale(0.5)
    loop.tell(clip(loop.all, 0.05))


def train(loop: Loop, prepare: Prepare, folder: Path) -> tuple[Any, Any]:
    """Return what was recorded and what is true."""
    true = []
    with AdamDebugCallback(
        loop.model, loop.optimizer, log_dir=folder, loss_closure=loop.loss, every_n_steps=1,
        on_error="raise",
    ) as loop.debug:  # fmt: skip
        for loop.number in range(STEPS):
            prepare(loop)
            before = [p.detach().clone() for p in loop.all]
            first, gradients = loop.loss().item(), loop.gradients()
            loop.step()
            promised = sum(
                float(((p.detach() - old).double() * gradient).sum())
                for p, old, gradient in zip(loop.all, before, gradients, strict=True)
            )
            true.append((loop.loss().item() - first) / promised)
    rows = read_run(folder).steps.values()
    return np.array([row.get("gain_ratio", math.nan) for row in rows]), np.array(true)


@pytest.mark.parametrize("kind", ["SGD", "Adam", "fused"])
@pytest.mark.parametrize("name", NOT_KNOWN)
def test_what_is_not_known_is_nan(name: str, kind: str, tmp_path: Path) -> None:
    found, _ = train(Loop(kind), NOT_KNOWN[name], tmp_path)
    assert np.isnan(found).all()


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize("name", KNOWN)
def test_what_is_known_is_right(name: str, kind: str, tmp_path: Path) -> None:
    found, true = train(Loop(kind), KNOWN[name], tmp_path)
    assert found == pytest.approx(true, rel=2e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", ["negated", "zeroed_in_place", "begun_anew"])
def test_so_in_other_types(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    prepare = {**NOT_KNOWN, **KNOWN}[name]
    if dtype == torch.float64:
        found, true = train(Loop("SGD", dtype), prepare, tmp_path)
        assert np.isnan(found).all() if name in NOT_KNOWN else found == pytest.approx(true, 1e-2)
    else:
        found, _ = train(Loop("SGD", dtype), prepare, tmp_path)
        assert np.isnan(found).all() == (name in NOT_KNOWN)


@pytest.mark.parametrize("clips", [False, True])
def test_a_parameter_that_is_given_later(clips: bool, tmp_path: Path) -> None:
    """What is done to its gradient is seen at once; where it is new, nothing is known once."""
    loop = Loop("SGD")
    loop.optimizer.param_groups[0]["params"] = loop.all[2:]

    def prepare(loop: Loop) -> None:
        if loop.number == 2:
            loop.optimizer.add_param_group({"params": loop.all[:2]})
        loop.start()
        loop.body.zero_grad() if loop.number < 2 else None
        if clips and loop.number >= 2:
            clip(loop.body.weight, 0.01)

    found, true = train(loop, prepare, tmp_path)
    expected = np.where(clips & (np.arange(STEPS) >= 2), np.nan, true)
    assert found == pytest.approx(expected, rel=2e-3, nan_ok=True)


@pytest.mark.parametrize("how", ["unfrozen", "replaced"])
def test_a_parameter_that_no_hook_was_on_is_not_known(how: str, tmp_path: Path) -> None:
    loop = Loop("SGD")
    loop.body.weight.requires_grad_(how == "replaced")

    def prepare(loop: Loop) -> None:
        if loop.number == 2 and how == "unfrozen":
            loop.body.weight.requires_grad_(True)
        elif loop.number == 2:
            loop.body.weight = nn.Parameter(loop.body.weight.detach().clone())
            loop.all[0] = loop.body.weight
            loop.optimizer.param_groups[0]["params"] = list(loop.all)
        loop.start()
        if loop.number == 2:
            clip(loop.body.weight, 0.01)

    loop.gradients = lambda: [  # type: ignore[method-assign]
        torch.zeros_like(p) if g is None else g
        for p, g in zip(loop.all, (p.grad for p in loop.all), strict=True)
    ]
    found, true = train(loop, prepare, tmp_path)
    true[2] = np.nan
    assert found == pytest.approx(true, rel=2e-3, nan_ok=True)


def test_sparse_gradients_that_are_negated(tmp_path: Path) -> None:
    torch.manual_seed(0)
    words, head = nn.EmbeddingBag(40, 8, sparse=True), nn.Linear(8, 3)
    model = nn.Sequential(words, head)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    inputs, labels = torch.randint(0, 40, (16, 5)), torch.randint(0, 3, (16,))

    def loss() -> Tensor:
        return nn.functional.cross_entropy(model(inputs), labels)

    with AdamDebugCallback(
        model, optimizer, log_dir=tmp_path, loss_closure=loss, every_n_steps=1, on_error="raise"
    ):
        for step in range(4):
            optimizer.zero_grad()
            loss().backward()
            if step >= 2:
                assert words.weight.grad is not None
                words.weight.grad.neg_()
            optimizer.step()
    found = [row["gain_ratio"] for row in read_run(tmp_path).steps.values()]
    assert np.isnan(found).tolist() == [False, False, True, True]


def test_scalers_are_searched_for_and_count_once_they_are_used() -> None:
    earlier = torch.amp.GradScaler("cpu")
    earlier.scale(torch.ones(()))
    idle = torch.amp.GradScaler("cpu")
    scalers = gradient_scalers.GradientScalers()
    assert not scalers.scale()
    own = torch.amp.GradScaler("cpu", enabled=False)
    own.scale(torch.ones(()))
    assert not scalers.scale()
    idle.scale(torch.ones(()))
    assert scalers.scale()
    reference = weakref.ref(idle)
    del idle
    assert reference() is None
    assert not scalers.scale()
