"""The gain ratio against an independent computation, and a loss_closure that fails."""

from __future__ import annotations

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
from tb_adam_plugin.callback.probes import gain_ratio

Loss = Callable[[], Tensor]
STEPS = 6


class Words(nn.Module):
    """A sparse embedding and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(30, 5, sparse=True)
        self.head = nn.Linear(5, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.head(self.words(inputs).sum(1))
        return found


def network(dtype: torch.dtype = torch.float64) -> nn.Module:
    return nn.Sequential(nn.Linear(12, 40), nn.Tanh(), nn.Linear(40, 3)).to(dtype)


def loss_of(model: nn.Module, dtype: torch.dtype = torch.float64) -> Loss:
    """The loss of one batch; that of :class:`Words` is of words."""
    inputs = torch.randn(32, 12, dtype=dtype)
    if isinstance(model, Words):
        inputs = torch.randint(0, 30, (32, 12))
    labels = torch.randint(0, 3, (32,))
    return lambda: nn.functional.cross_entropy(model(inputs).double(), labels)


class Watched:
    """Training that also computes every step's gain ratio outside of the callback."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, loss: Loss) -> None:
        self.model, self.optimizer, self.loss = model, optimizer, loss
        self.expected: list[float] = []

    def step(self, take: Callable[[], object], gradients: list[Tensor] | None = None) -> None:
        """Take a step; ``gradients`` are those of the loss, by default what is left in .grad."""
        parameters = list(self.model.parameters())
        weights = [p.detach().double().numpy(force=True).copy() for p in parameters]
        with torch.no_grad():
            before = self.loss().item()
            take()
            after = self.loss().item()
        promised = 0.0
        for i, (parameter, weight) in enumerate(zip(parameters, weights, strict=True)):
            gradient = parameter.grad if gradients is None else gradients[i]
            assert gradient is not None
            values = gradient.to_dense().double().numpy()
            promised += float((values * (parameter.detach().double().numpy() - weight)).sum())
        self.expected.append((after - before) / promised)


def backward(training: Watched) -> None:
    training.optimizer.zero_grad()
    training.loss().backward()


def plain(training: Watched, debug: AdamDebugCallback) -> None:
    backward(training)
    training.step(training.optimizer.step)


def with_closure(training: Watched, debug: AdamDebugCallback) -> None:
    def closure() -> float:
        with torch.enable_grad():
            backward(training)
        return 0.0

    training.step(lambda: training.optimizer.step(closure))


def overwriting(training: Watched, debug: AdamDebugCallback) -> None:
    backward(training)
    gradients = [p.grad.clone() for p in training.model.parameters() if p.grad is not None]
    training.step(training.optimizer.step, gradients)


def accumulating_and_clipped(training: Watched, debug: AdamDebugCallback) -> None:
    training.optimizer.zero_grad()
    for _ in range(2):
        (training.loss() / 2).backward()
    gradients = [p.grad.clone() for p in training.model.parameters() if p.grad is not None]
    norm = nn.utils.clip_grad_norm_(training.model.parameters(), 0.01)
    debug.record(gradient_norm_before_clip=norm)
    training.step(training.optimizer.step, gradients)


def scaled(training: Watched, debug: AdamDebugCallback) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    training.optimizer.zero_grad()
    scaler.scale(training.loss()).backward()
    training.step(lambda: scaler.step(training.optimizer))


Step = Callable[[Watched, AdamDebugCallback], None]
# A step, an optimizer, its options, a model.
CASES: dict[str, tuple[Step, Any, dict[str, Any], Callable[[], nn.Module]]] = {
    "AdamW": (plain, torch.optim.AdamW, {"lr": 0.05, "weight_decay": 0.1}, network),
    "bfloat16": (plain, torch.optim.Adam, {"lr": 0.03}, lambda: network(torch.bfloat16)),
    "too fast": (plain, torch.optim.SGD, {"lr": 30.0, "momentum": 0.9}, network),
    "sparse": (plain, torch.optim.SGD, {"lr": 0.5}, lambda: Words().double()),
    "closure": (with_closure, torch.optim.RMSprop, {"lr": 0.02}, network),
    "overwritten": (
        overwriting, torch.optim.SGD,
        {"lr": 0.5, "momentum": 0.9, "nesterov": True, "foreach": True}, network,
    ),
    "clipped": (accumulating_and_clipped, torch.optim.SGD, {"lr": 40.0}, network),
    "scaled": (scaled, torch.optim.Adam, {"lr": 0.02, "fused": True}, network),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_it_is_what_the_step_made_of_the_promise(tmp_path: Path, case: str) -> None:
    step, make, options, make_model = CASES[case]
    torch.manual_seed(0)
    model = make_model()
    loss = loss_of(model, next(model.parameters()).dtype)
    optimizer = make(model.parameters(), **options)
    training = Watched(model, optimizer, loss)
    with AdamDebugCallback(
        model, optimizer, log_dir=tmp_path, every_n_steps=1, max_sampled_elements=64,
        loss_closure=loss, on_error="raise",
    ) as debug:  # fmt: skip
        for _ in range(STEPS):
            step(training, debug)
    found = [row["gain_ratio"] for row in read_run(tmp_path).steps.values()]
    assert found == pytest.approx(training.expected, rel=1e-5 if case == "scaled" else 1e-9)
    assert len(set(found)) == STEPS


def clipped(training: Watched, debug: AdamDebugCallback) -> None:
    backward(training)
    gradients = [p.grad.clone() for p in training.model.parameters() if p.grad is not None]
    nn.utils.clip_grad_norm_(training.model.parameters(), 0.01)
    training.step(training.optimizer.step, gradients)


def divided(training: Watched, debug: AdamDebugCallback) -> None:
    training.optimizer.zero_grad()
    for _ in range(3):
        training.loss().backward()
    for p in training.model.parameters():
        if p.grad is not None:
            p.grad /= 3
    training.step(training.optimizer.step)


@pytest.mark.parametrize(
    ("step", "lr", "is_known"),
    [(clipped, 40.0, False), (divided, 0.5, False), (scaled, 0.02, True)],
)
def test_what_has_changed_the_gradient_since_backward_leaves_nothing_known(
    tmp_path: Path, step: Step, lr: float, is_known: bool
) -> None:
    """As soon as a gradient is as backward computed it; a GradScaler's factor is ignored."""
    torch.manual_seed(0)
    model = network()
    loss = loss_of(model)
    training = Watched(model, torch.optim.SGD(model.parameters(), lr=lr), loss)
    with AdamDebugCallback(
        model, training.optimizer, log_dir=tmp_path, every_n_steps=1, loss_closure=loss,
    ) as debug:  # fmt: skip
        for _ in range(STEPS):
            step(training, debug)
    found = [row["gain_ratio"] for row in read_run(tmp_path).steps.values()]
    expected = training.expected[3:] if is_known else [math.nan] * (STEPS - 3)
    assert found[3:] == pytest.approx(expected, rel=1e-5, nan_ok=True)


def train(
    folder: Path, loss: Callable[[Loss], Any], model: nn.Module, lr: float = 1e-3, **options: Any
) -> list[float]:
    """Train with SGD and return the recorded gain ratios; ``loss`` gets that of the batch."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    batch = loss_of(model, next(model.parameters()).dtype)
    with AdamDebugCallback(
        model, optimizer, log_dir=folder, loss_closure=lambda: loss(batch), **options
    ):
        for _ in range(STEPS):
            optimizer.zero_grad()
            batch().backward()
            optimizer.step()
    nothing = float("nan")
    return [row.get("gain_ratio", nothing) for row in read_run(folder).steps.values()]


def test_the_units_that_drop_out_are_those_of_the_gradient(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(network(), nn.Dropout(0.5)).double()
    found = train(tmp_path, lambda f: f(), model, lr=1e-6, every_n_steps=1, on_error="raise")
    assert found == pytest.approx([1.0] * STEPS, abs=1e-4)


def test_weights_that_autocast_has_kept_are_not_taken_for_those_after_the_step(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        found = train(
            tmp_path, lambda f: f(), network(torch.float32), lr=0.5, every_n_steps=1
        )  # fmt: skip
    # Later gradients are of the kept weights, too: as in such a loop.
    assert found[0] == pytest.approx(1.0, abs=0.3)


def test_only_recorded_steps_have_one(tmp_path: Path) -> None:
    calls: list[int] = []

    def loss(batch: Loss) -> Tensor:
        calls.append(0)
        return batch()

    found = train(tmp_path, loss, network(), every_n_steps=4, max_overhead=1.0)
    assert [step for step, ratio in enumerate(found, 1) if ratio == ratio] == [1, 2, 4]
    assert len(calls) == 2 * 3


def test_what_a_coarse_loss_cannot_tell_is_not_recorded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    for name, coarse in (("tensor", torch.Tensor.bfloat16), ("number", torch.Tensor.item)):
        folder = tmp_path / name
        found = train(folder, lambda f: coarse(f()), network(), lr=1e-9, every_n_steps=1)  # noqa: B023
        assert all(ratio != ratio for ratio in found)


def fail(batch: Loss) -> None:
    raise RuntimeError("no batch")


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (fail, "RuntimeError: no batch"),
        (lambda batch: torch.ones(2), "expected one real number"),
        (lambda batch: {"loss": 1.0}, "expected a number or a tensor"),
    ],
)
def test_a_closure_that_fails_is_given_up(tmp_path: Path, loss: Any, message: str) -> None:
    with pytest.warns(UserWarning, match=f"{message}.*gain ratios are left out") as caught:
        found = train(tmp_path, loss, network(), every_n_steps=1)
    assert len(caught) == 1
    assert all(ratio != ratio for ratio in found)
    assert sorted(read_run(tmp_path).statistics) == list(range(1, STEPS + 1))


def test_a_closure_that_differentiates_is_given_up_and_does_no_harm(tmp_path: Path) -> None:
    model = network()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(tmp_path, lambda f: f().backward(), model)
    assert "does not require grad" in str(caught[0].message)
    assert model[0].weight.grad is not None  # type: ignore[index]


def test_nothing_is_kept_of_a_step_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies: list[weakref.ref[Tensor]] = []

    def product(gradient: Tensor, after: Tensor, before: Tensor) -> Tensor:
        copies.append(weakref.ref(before))
        raise RuntimeError("no product")

    monkeypatch.setattr(gain_ratio, "_product", product)
    model = network()
    optimizer = torch.optim.SGD(model.parameters())
    loss = loss_of(model)
    loss().backward()
    with AdamDebugCallback(model, optimizer, log_dir=tmp_path, loss_closure=loss):
        with pytest.warns(UserWarning, match="no product"):
            optimizer.step()
        assert [copied() for copied in copies] == [None]


def test_what_cannot_be_evaluated_is_refused(tmp_path: Path) -> None:
    model = network()
    named = list(model.named_parameters())
    adam, lbfgs = torch.optim.Adam(model.parameters()), torch.optim.LBFGS(model.parameters())
    for error, arguments, closure, message in (
        (TypeError, (model, adam), 3.0, "expected a function"),
        (TypeError, (named, adam), lambda: 1.0, "needs a module"),
        (ValueError, (model, lbfgs), lambda: 1.0, "LBFGS"),
    ):
        with pytest.raises(error, match=message):
            AdamDebugCallback(*arguments, log_dir=tmp_path, loss_closure=closure)  # type: ignore
