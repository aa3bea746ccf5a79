"""The gain ratio is NaN wherever the predicted change is unknown."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from recorded_run import read_run
from torch import Tensor, nn
from torch.optim import Optimizer

from tb_adam_plugin.callback import AdamDebugCallback

pytestmark = pytest.mark.filterwarnings("ignore:Adam Debug. Unknown is not a known optimizer")

STEPS = 8
MAX_NORM = 0.05


class Unknown(Optimizer):
    """Descends, and writes to the gradients."""

    def __init__(self, parameters: Iterator[Tensor], lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    def step(self, closure: Callable[[], object] | None = None) -> None:  # type: ignore[override]
        if closure is not None:
            with torch.enable_grad():
                closure()
        with torch.no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    p.add_(p.grad.mul_(group["lr"]), alpha=-1)


Make = Callable[[Iterator[Tensor]], Optimizer]
OPTIMIZERS: dict[str, Make] = {
    "Adam": lambda p: torch.optim.Adam(p, 1e-3),
    "nesterov": lambda p: torch.optim.SGD(p, 1e-3, momentum=0.9, nesterov=True, foreach=True),
    "Adafactor": lambda p: torch.optim.Adafactor(p, 1e-3),
    "Muon": lambda p: torch.optim.Muon(p, 1e-3),
    "unknown": lambda p: Unknown(p, 1e-3),
}


class Training:
    """A network, a batch for each step, and the gain ratios computed beside the callback."""

    def __init__(self, make: Make, dropout: float = 0.0) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(
            nn.Linear(10, 64, bias=False), nn.Tanh(), nn.Dropout(dropout),
            nn.Linear(64, 3, bias=False),
        )  # fmt: skip
        self.optimizer = make(self.model.parameters())
        self.parameters = list(self.model.parameters())
        self.expected: list[float] = []
        self.new_batch()

    def new_batch(self, generator: torch.Generator | None = None) -> None:
        self.inputs = torch.randn(16, 10, generator=generator)
        self.labels = torch.randint(0, 3, (16,), generator=generator)

    def loss(self) -> Tensor:
        return 5 * nn.functional.cross_entropy(self.model(self.inputs), self.labels)

    def backward(self) -> None:
        self.optimizer.zero_grad()
        self.loss().backward()

    def assign(self) -> None:
        gradients = torch.autograd.grad(self.loss(), self.parameters)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient

    def clip(self) -> Tensor:
        return nn.utils.clip_grad_norm_(self.parameters, MAX_NORM)

    def watch(self, step: Callable[[], object]) -> None:
        """Compute the gain ratio of a step that draws nothing random."""
        gradients = torch.autograd.grad(self.loss(), self.parameters)
        weights = copy.deepcopy([p.detach() for p in self.parameters])
        with torch.no_grad():
            before = self.loss().double()
            step()
            after = self.loss().double()
        promised = sum(
            float((g.double() * (p.detach().double() - w)).sum())
            for g, p, w in zip(gradients, self.parameters, weights, strict=True)
        )
        self.expected.append(float(after - before) / promised)


Prepare = Callable[[Training, AdamDebugCallback], None]


def train(training: Training, folder: Path, prepare: Prepare) -> np.ndarray:
    with AdamDebugCallback(
        training.model, training.optimizer, log_dir=folder, loss_closure=training.loss,
        every_n_steps=1, on_error="raise",
    ) as debug:  # fmt: skip
        for _ in range(STEPS):
            training.new_batch()
            prepare(training, debug)
            training.watch(training.optimizer.step)
    return np.array([row.get("gain_ratio", np.nan) for row in read_run(folder).steps.values()])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("gradients", ["backward", "assign"])
def test_clipping_is_seen_whatever_the_optimizer_and_whoever_makes_gradients(
    optimizer: str, gradients: str, tmp_path: Path
) -> None:
    """From the first step on. Without clipping the ratio is known; with it the norm is needed."""
    for case in ("plain", "clipped", "told"):

        def prepare(training: Training, debug: AdamDebugCallback) -> None:
            getattr(training, gradients)()
            if case != "plain":  # noqa: B023
                norm = training.clip()
                assert norm > 10 * MAX_NORM
                if case == "told":  # noqa: B023
                    debug.record(gradient_norm_before_clip=norm)

        training = Training(OPTIMIZERS[optimizer])
        found = train(training, tmp_path / case, prepare)
        if case == "clipped":
            assert np.isnan(found).all()
        else:
            assert found == pytest.approx(training.expected, rel=0.01)


@pytest.mark.parametrize("clips", [False, True])
def test_gradients_that_the_closure_of_a_step_makes_are_those_that_count(
    clips: bool, tmp_path: Path
) -> None:
    """For an optimizer that overwrites them, as Lightning calls every one of them."""
    training = Training(OPTIMIZERS["unknown"])
    step = training.optimizer.step

    def closure() -> None:
        training.backward()
        if clips:
            training.clip()

    training.optimizer.step = lambda: step(closure)  # type: ignore
    found = train(training, tmp_path, lambda training, debug: None)
    expected = [np.nan] * STEPS if clips else training.expected
    assert found == pytest.approx(expected, rel=0.01, nan_ok=True)


def after_clipping(training: Training) -> Tensor:
    training.clip()
    return training.clip()


@pytest.mark.parametrize(
    "norm", [after_clipping, lambda training: training.clip() ** 2, lambda _: torch.tensor(np.inf)]
)
def test_a_norm_that_contradicts_what_was_seen_is_not_believed(
    norm: Callable[[Training], Tensor], tmp_path: Path
) -> None:
    def prepare(training: Training, debug: AdamDebugCallback) -> None:
        training.backward()
        given = norm(training)
        training.clip()
        debug.record(gradient_norm_before_clip=given)

    assert np.isnan(train(Training(OPTIMIZERS["Adam"]), tmp_path, prepare)).all()


def test_a_sum_that_the_loop_divides_before_it_gives_the_norm_is_believed(tmp_path: Path) -> None:
    def prepare(training: Training, debug: AdamDebugCallback) -> None:
        training.backward()
        for _ in range(2):
            training.loss().backward()
        for parameter in training.parameters:
            assert parameter.grad is not None
            parameter.grad /= 3
        debug.record(gradient_norm_before_clip=training.clip())

    training = Training(OPTIMIZERS["Adam"])
    assert train(training, tmp_path, prepare) == pytest.approx(training.expected, rel=0.01)


def test_clipping_between_micro_batches_is_seen(tmp_path: Path) -> None:
    def prepare(training: Training, debug: AdamDebugCallback) -> None:
        training.optimizer.zero_grad()
        (training.loss() / 2).backward()
        training.clip()
        (training.loss() / 2).backward()

    assert np.isnan(train(Training(OPTIMIZERS["Adam"]), tmp_path, prepare)).all()


def test_what_steps_before_have_left_was_not_promised_by_the_loss(tmp_path: Path) -> None:
    training = Training(OPTIMIZERS["Adam"])
    found = train(training, tmp_path, lambda training, debug: training.loss().backward())
    assert found[0] == pytest.approx(training.expected[0], rel=0.01)
    assert np.isnan(found[1:]).all()


@pytest.mark.parametrize("draws", ["before", "after", "of its own", "of NumPy", "of both"])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_units_that_drop_out_are_those_of_the_gradient_or_nothing_is_known(
    draws: str, dropout: float, tmp_path: Path
) -> None:
    """A batch that torch draws between two steps moves the generator that dropout draws from."""
    training = Training(lambda p: torch.optim.SGD(p, 1e-5), dropout)
    own = torch.Generator().manual_seed(1) if draws == "of its own" else None
    with AdamDebugCallback(
        training.model, training.optimizer, log_dir=tmp_path, every_n_steps=1,
        loss_closure=training.loss, on_error="raise",
    ):  # fmt: skip
        for _ in range(STEPS):
            if draws not in ("after", "of NumPy"):
                training.new_batch(own)
            training.backward()
            if draws == "after":
                torch.randint(0, 3, (16,))
            if draws in ("of NumPy", "of both"):
                np.random.rand()
                random.random()
            training.optimizer.step()
    found = np.array([row["gain_ratio"] for row in read_run(tmp_path).steps.values()])
    if dropout and draws in ("before", "after", "of both"):
        assert np.isnan(found).all()
    else:
        assert found == pytest.approx(1.0, abs=0.05)
