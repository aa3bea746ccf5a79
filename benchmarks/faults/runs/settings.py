"""How a run trains: everything that a user would set."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch

from faults.tasks.task import SGD_WITHOUT_MOMENTUM, Task

Precision = Literal["float32", "bfloat16 autocast", "bfloat16 weights", "float16 weights"]
Schedule = Literal["constant", "cosine", "steps", "linear", "restarts"]

OPTIMIZERS = (
    "adam", "adamw", "amsgrad", "nadam", "radam", "rmsprop", "adagrad", "lion", "adamax", "sgd",
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """The hyperparameters of a run.

    Attributes:
        optimizer: One of :data:`OPTIMIZERS`.
        learning_rate: Its peak, if there is a schedule.
        beta1: Also SGD's momentum.
        beta2: Also RMSprop's alpha; None for the optimizer's default.
        epsilon: None for the optimizer's default.
        weight_decay: Decoupled or L2, depending on the optimizer.
        schedule: "cosine" and "linear" fall to 0, "restarts" does so like "cosine" three times,
            "steps" is a tenth after half and a hundredth after three quarters of the steps.
        schedule_steps: When the schedule is over; None for the end of the run.
        warm_up_steps: Steps in which the learning rate rises linearly, before the schedule.
        steps: Number of optimizer steps.
        batch_size: Examples per backward pass.
        accumulated_batches: Backward passes per step; the loss is averaged over them.
        clip_norm: Largest norm of the gradient, or None.
        precision: Type of weights and computation.
        loss_scale: Factor applied to the loss during backward, and removed from the gradient.
    """

    optimizer: str
    learning_rate: float
    batch_size: int
    beta1: float = 0.9
    beta2: float | None = None
    epsilon: float | None = None
    weight_decay: float = 0.0
    schedule: Schedule = "constant"
    schedule_steps: int | None = None
    warm_up_steps: int = 0
    steps: int = 200
    accumulated_batches: int = 1
    clip_norm: float | None = None
    precision: Precision = "float32"
    loss_scale: float = 1.0

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 1."""
        if step <= self.warm_up_steps:
            return self.learning_rate * step / self.warm_up_steps
        end = self.schedule_steps or self.steps
        done = min(1.0, (step - self.warm_up_steps) / (end - self.warm_up_steps))
        if self.schedule == "cosine":
            return self.learning_rate * (1 + math.cos(math.pi * done)) / 2
        if self.schedule == "restarts":
            return self.learning_rate * (1 + math.cos(math.pi * (3 * done % 1))) / 2
        if self.schedule == "linear":
            return self.learning_rate * (1 - done)
        if self.schedule == "steps":
            return self.learning_rate * (1.0 if done <= 0.5 else 0.1 if done <= 0.75 else 0.01)
        return self.learning_rate


def usual_settings(task: Task, optimizer: str = "adamw", beta1: float = 0.9) -> Settings:
    """Return healthy settings.

    Args:
        task: The task to learn.
        optimizer: One of :data:`OPTIMIZERS`.
        beta1: Also SGD's momentum.

    Raises:
        KeyError: If no learning rate of this optimizer suits the task.
    """
    without_momentum = optimizer == "sgd" and beta1 == 0
    return Settings(
        optimizer,
        task.learning_rates[SGD_WITHOUT_MOMENTUM if without_momentum else optimizer],
        task.batch_size,
        beta1,
        weight_decay=0.01 if optimizer == "adamw" else 0.0,
        steps=task.steps,
    )


def make_optimizer(
    settings: Settings, parameters: Iterable[Any], learning_rate: float
) -> torch.optim.Optimizer:
    """Make the optimizer.

    Args:
        settings: Settings of the run.
        parameters: Tensors, or groups with separate options.
        learning_rate: Learning rate of the first step.

    Raises:
        ValueError: If there is no optimizer of that name.
        ImportError: If the optimizer comes from a package that is not installed.
    """
    name = settings.optimizer
    options: dict[str, Any] = {"lr": learning_rate, "weight_decay": settings.weight_decay}
    if name == "sgd":
        return torch.optim.SGD(parameters, momentum=settings.beta1, **options)
    if settings.epsilon is not None:
        options["eps"] = settings.epsilon
    if name == "adagrad":
        return torch.optim.Adagrad(parameters, **options)
    if name == "rmsprop":
        return torch.optim.RMSprop(parameters, alpha=settings.beta2 or 0.99, **options)
    if name == "lion":
        from pytorch_optimizer import Lion

        lion: torch.optim.Optimizer = Lion(
            parameters, betas=(settings.beta1, settings.beta2 or 0.99), **options
        )
        return lion
    options["betas"] = settings.beta1, settings.beta2 or 0.999
    if name == "adam":
        return torch.optim.Adam(parameters, **options)
    if name == "amsgrad":
        return torch.optim.Adam(parameters, amsgrad=True, **options)
    if name == "adamw":
        return torch.optim.AdamW(parameters, **options)
    if name == "nadam":
        return torch.optim.NAdam(parameters, **options)
    if name == "adamax":
        return torch.optim.Adamax(parameters, **options)
    if name == "radam":
        return torch.optim.RAdam(parameters, **options)
    raise ValueError(f"unknown optimizer {name!r}")
