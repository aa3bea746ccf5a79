"""The training that all demonstrations share: one small network on one synthetic data set.

Runs differ in their settings and in mistakes in the loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LinearLR, LRScheduler

from ..adam_debug_callback import AdamDebugCallback

STEPS = 320
_BATCH = 64
_FEATURES, _UNITS, _CLASSES = 32, 96, 8
_TEMPERATURE = 4.0
_SEED = 20


class Training:
    """A healthy loop, with a method for each place where a mistake can be made.

    Attributes:
        settings: How the run trains.
        step: The current step, counted from 1.
        model: The network.
        optimizer: Its optimizer.
        debug: The callback that records the optimizer.
    """

    model: nn.Sequential
    optimizer: Optimizer
    debug: AdamDebugCallback
    _scheduler: LRScheduler | None = None

    def __init__(self, settings: Settings, log_dir: Path) -> None:
        """Create the network.

        Args:
            settings: How the run trains.
            log_dir: Where to record it.
        """
        self.settings, self.step = settings, 1
        self._log_dir = log_dir
        self.model = _network(settings)
        with torch.no_grad():
            self.change_weights()
        self.model.to(settings.dtype)

    def losses(self) -> Iterator[float]:
        """Train, and yield the loss of each step.

        Raises:
            OSError: If nothing can be written.
        """
        self.begin()
        try:
            for self.step, (inputs, targets) in enumerate(_batches(), 1):
                yield self._train_step(inputs, targets)
        finally:
            self.end()

    def begin(self, steps_taken: int = 0, state: Mapping[str, Any] | None = None) -> None:
        """Create the optimizer, and start recording it.

        Args:
            steps_taken: Number of steps taken before.
            state: The optimizer's saved state; None to start without one.
        """
        self.optimizer = self._optimizer()
        if state is not None:
            self.optimizer.load_state_dict(dict(state))
        if self.settings.schedule_steps is not None:
            self._scheduler = LinearLR(self.optimizer, 1.0, 0.0, self.settings.schedule_steps)
        self.debug = AdamDebugCallback(
            self.model,
            self.optimizer,
            log_dir=self._log_dir,
            total_steps=STEPS,
            # With a state, the callback continues from its count.
            initial_step=steps_taken if state is None else None,
        )

    def end(self) -> None:
        """Write what was recorded."""
        self.debug.close()

    # --- where a mistake can be made ---

    def change_weights(self) -> None:
        """Change the initial weights."""

    def parameters(self) -> Iterable[nn.Parameter]:
        """Return the parameters to optimize."""
        return self.model.parameters()

    def before_step(self) -> None:
        """Hook that runs before the forward pass."""

    def inputs(self, inputs: Tensor) -> Tensor:
        """Return the network's inputs."""
        return inputs

    def zero_gradients(self) -> None:
        """Clear the gradients of the previous step."""
        self.optimizer.zero_grad()

    def outputs(self, inputs: Tensor) -> Tensor:
        """Return the network's outputs."""
        outputs: Tensor = self.model(inputs)
        return outputs

    def backward(self, loss: Tensor) -> None:
        """Differentiate the loss."""
        loss.backward()  # type: ignore[no-untyped-call]

    def clip_gradients(self) -> None:
        """Clip the gradients, if the settings say so."""
        if self.settings.max_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters(), self.settings.max_norm)

    # --- the loop ---

    def _optimizer(self) -> Optimizer:
        settings, parameters = self.settings, self.parameters()
        if settings.momentum is not None:
            return SGD(parameters, settings.lr, settings.momentum)
        return AdamW(parameters, settings.lr, settings.betas, settings.eps, settings.weight_decay)

    def _train_step(self, inputs: Tensor, targets: Tensor) -> float:
        self.before_step()
        self.zero_gradients()
        dtype = next(self.model.parameters()).dtype
        outputs = self.outputs(self.inputs(inputs).to(dtype))
        loss = cross_entropy(outputs.float(), targets)
        self.backward(loss)
        self.clip_gradients()
        self.debug.record(loss=loss)
        self.optimizer.step()
        if self._scheduler is not None:
            self._scheduler.step()
        return loss.item()


@dataclass(frozen=True)
class Settings:
    """How a run trains; the defaults are healthy.

    Attributes:
        lr: Learning rate.
        betas: AdamW's betas.
        eps: AdamW's eps.
        weight_decay: Decoupled weight decay.
        momentum: SGD's momentum; if given, SGD trains instead of AdamW.
        schedule_steps: Number of steps over which the learning rate falls to 0; None for a
            constant.
        max_norm: Norm to which gradients are clipped; None for no clipping.
        dtype: Type of the weights.
        activation: Activation after each hidden layer.
        gain: Factor by which initial weights are larger than usual.
        training: The loop.
    """

    lr: float = 3e-3
    betas: tuple[float, float] = (0.9, 0.99)
    eps: float = 1e-8
    weight_decay: float = 1e-2
    momentum: float | None = None
    schedule_steps: int | None = None
    max_norm: float | None = None
    dtype: torch.dtype = torch.float32
    activation: type[nn.Module] = nn.ReLU
    gain: float = 1.0
    training: type[Training] = Training


def train(settings: Settings, log_dir: Path) -> float:
    """Train once; torch's random state and number of threads are restored afterwards.

    Returns:
        The mean loss of the last 20 steps.

    Raises:
        OSError: If ``log_dir`` cannot be written.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the fastest for such small networks
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_SEED)
            losses = list(settings.training(settings, log_dir).losses())
    finally:
        torch.set_num_threads(threads)
    return sum(losses[-20:]) / 20


def _network(settings: Settings) -> nn.Sequential:
    model = nn.Sequential(
        nn.Linear(_FEATURES, _UNITS),
        settings.activation(),
        nn.Linear(_UNITS, _UNITS),
        settings.activation(),
        nn.Linear(_UNITS, _UNITS),
        settings.activation(),
        nn.Linear(_UNITS, _CLASSES),
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(settings.gain)
    return model


def _batches() -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs, and classes that another network assigns to them."""
    teacher = nn.Sequential(nn.Linear(_FEATURES, 24), nn.Tanh(), nn.Linear(24, _CLASSES))
    for parameter in teacher.parameters():
        nn.init.normal_(parameter)
    with torch.no_grad():
        inputs = torch.randn(1024, _FEATURES)
        targets = torch.multinomial((teacher(inputs) / _TEMPERATURE * 4).softmax(1), 1)[:, 0]
    for _ in range(STEPS):
        chosen = torch.randint(len(inputs), (_BATCH,))
        yield inputs[chosen], targets[chosen]
