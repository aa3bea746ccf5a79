"""Small training runs, each with one fault and again with the fix: what a fault looks like.

All train the same network on the same made-up data, so that nothing else differs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from .adam_debug_callback import AdamDebugCallback

STEPS = 320
_EVERY_N_STEPS = 4
_BATCH = 64
_FEATURES, _UNITS, _CLASSES = 32, 96, 8
_TEMPERATURE = 4.0
_SEED = 20
# Where something goes wrong in the middle of a run.
MIDDLE = 202


@dataclass(frozen=True)
class Settings:
    """How a run trains; what is not given is healthy.

    Attributes:
        lr: Learning rate.
        lr_after_middle: The learning rate from step :data:`MIDDLE` on is so many times as high.
        betas: Of Adam.
        eps: Of Adam.
        weight_decay: Decoupled.
        dtype: Of the weights.
        max_norm: To which gradients are clipped; None for no clipping.
        zeroes_gradients: Whether gradients are zeroed before each step.
        outlier: The inputs of step :data:`MIDDLE` are so many times as large.
        bias: What the bias of the second layer begins with, if not as usual.
        left_out: Prefix of the names of parameters that the optimizer does not get.
        gain: By how much initial weights are larger than usual.
    """

    lr: float = 3e-3
    lr_after_middle: float = 1.0
    betas: tuple[float, float] = (0.9, 0.99)
    eps: float = 1e-8
    weight_decay: float = 1e-2
    dtype: torch.dtype = torch.float32
    max_norm: float | None = None
    zeroes_gradients: bool = True
    outlier: float = 1.0
    bias: float | None = None
    left_out: str | None = None
    gain: float = 1.0


@dataclass(frozen=True)
class Demonstration:
    """A fault.

    Attributes:
        name: Of the run's folder.
        title: What is wrong.
        rule: Id of the rule that finds it.
        fault: How the run with the fault trains.
        fix: How the other one does.
        change: What the fix changes, in the user's code.
    """

    name: str
    title: str
    rule: str
    fault: Settings
    change: str
    fix: Settings = field(default_factory=Settings)


def _clipped(settings: Settings) -> Settings:
    return replace(settings, max_norm=1.0)


_SPIKE = Settings(outlier=100.0)

DEMONSTRATIONS: tuple[Demonstration, ...] = (
    Demonstration(
        "learning_rate_too_high", "The learning rate is too high", "lr_too_high",
        Settings(lr=0.3), "lr=3e-3 instead of 0.3",
    ),
    Demonstration(
        "learning_rate_too_low", "The learning rate is too low", "lr_too_low",
        Settings(lr=3e-5), "lr=3e-3 instead of 3e-5",
    ),
    Demonstration(
        "learning_rate_jumped", "The learning rate jumps in the middle of the run", "lr_jump",
        Settings(lr_after_middle=100.0), "the scheduler no longer sets it to 100 times its value",
    ),
    Demonstration(
        "gradient_spike", "One batch is a hundred times as large as the others", "gradient_spike",
        _SPIKE, "gradients clipped to a norm of 1", _clipped(_SPIKE),
    ),
    Demonstration(
        "epsilon_too_large", "ε is larger than √v̂", "eps_dominates",
        Settings(eps=0.1), "eps=1e-8 instead of 0.1",
    ),
    Demonstration(
        "beta2_too_low", "beta2 is too low", "beta2_too_low",
        Settings(lr=1e-3, betas=(0.9, 0.5)), "betas=(0.9, 0.99) instead of (0.9, 0.5)",
        Settings(lr=1e-3),
    ),
    Demonstration(
        "updates_lost", "Weights in bf16 do not take the updates", "lost_updates",
        Settings(lr=2e-4, dtype=torch.bfloat16), "weights in float32",
        Settings(lr=2e-4),
    ),
    Demonstration(
        "gradients_add_up", "Gradients are never zeroed", "stale_gradient",
        Settings(zeroes_gradients=False), "optimizer.zero_grad() before each step",
    ),
    Demonstration(
        "dead_units", "No unit of a ReLU layer is ever active", "dead_units",
        Settings(bias=-30.0, weight_decay=0.0), "the bias begins near 0",
        Settings(weight_decay=0.0),
    ),
    Demonstration(
        "layer_left_out", "The optimizer does not get one layer", "not_in_optimizer",
        Settings(left_out="2."), "the optimizer gets model.parameters()",
    ),
    Demonstration(
        "weight_decay_too_strong", "Weight decay is too strong", "weight_decay_too_strong",
        Settings(weight_decay=10.0), "weight_decay=1e-2 instead of 10",
    ),
    Demonstration(
        "initial_weights_too_large", "Initial weights are too large", "init_too_large",
        Settings(gain=8.0), "the usual initial weights",
    ),
)  # fmt: skip


def train_both(demonstration: Demonstration, folder: Path) -> tuple[float, float]:
    """Train with the fault into ``folder/fault`` and with the fix into ``folder/fixed``.

    Returns:
        What :func:`train` returns of both.

    Raises:
        OSError: If the folder cannot be written.
    """
    return train(demonstration.fault, folder / "fault"), train(demonstration.fix, folder / "fixed")


def train(settings: Settings, log_dir: Path) -> float:
    """Train once; torch's random numbers and threads are afterwards as they were.

    Returns:
        The mean loss of the last 20 steps.

    Raises:
        OSError: If ``log_dir`` cannot be written.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # which such small networks are fastest with
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_SEED)
            losses = list(_losses(settings, log_dir))
    finally:
        torch.set_num_threads(threads)
    return sum(losses[-20:]) / 20


def _losses(settings: Settings, log_dir: Path) -> Iterator[float]:
    """Train, and yield the loss of each step."""
    model = _model(settings)
    parameters = [
        parameter
        for name, parameter in model.named_parameters()
        if settings.left_out is None or not name.startswith(settings.left_out)
    ]
    optimizer = torch.optim.AdamW(
        parameters,
        lr=settings.lr,
        betas=settings.betas,
        eps=settings.eps,
        weight_decay=settings.weight_decay,
    )
    with AdamDebugCallback(
        model, optimizer, log_dir=log_dir, every_n_steps=_EVERY_N_STEPS
    ) as debug:
        for step, (inputs, targets) in enumerate(_batches(), 1):
            if step == MIDDLE:
                inputs = inputs * settings.outlier
                for group in optimizer.param_groups:
                    group["lr"] *= settings.lr_after_middle
            if settings.zeroes_gradients:
                optimizer.zero_grad()
            loss = cross_entropy(model(inputs.to(settings.dtype)).float(), targets)
            loss.backward()  # type: ignore[no-untyped-call]
            if settings.max_norm is not None:
                nn.utils.clip_grad_norm_(parameters, settings.max_norm)
            debug.record(loss=loss)
            optimizer.step()
            yield loss.item()


def _model(settings: Settings) -> nn.Module:
    model = nn.Sequential(
        nn.Linear(_FEATURES, _UNITS),
        nn.ReLU(),
        nn.Linear(_UNITS, _UNITS),
        nn.ReLU(),
        nn.Linear(_UNITS, _UNITS),
        nn.ReLU(),
        nn.Linear(_UNITS, _CLASSES),
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(settings.gain)
        if settings.bias is not None:
            model[2].bias.fill_(settings.bias)  # type: ignore[union-attr,operator]
    return model.to(settings.dtype)


def _batches() -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs, and classes that another network draws for them."""
    teacher = nn.Sequential(nn.Linear(_FEATURES, 24), nn.Tanh(), nn.Linear(24, _CLASSES))
    for parameter in teacher.parameters():
        nn.init.normal_(parameter)
    with torch.no_grad():
        inputs = torch.randn(1024, _FEATURES)
        targets = torch.multinomial((teacher(inputs) / _TEMPERATURE * 4).softmax(1), 1)[:, 0]
    for _ in range(STEPS):
        chosen = torch.randint(len(inputs), (_BATCH,))
        yield inputs[chosen], targets[chosen]
