"""One training run, recorded through the callback as a user would."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from faults.runs.settings import Settings, make_optimizer
from faults.runs.ways_to_record import Way, any_clock, options_of
from faults.tasks.task import Task
from tb_adam_plugin.callback import AdamDebugCallback

_JUDGED_EXAMPLES = 512


@dataclass(frozen=True)
class Outcome:
    """The result of a run.

    Attributes:
        initial_loss: Mean loss of the untrained network over a fixed set of training examples, with
            their true targets and without faults.
        final_loss: The same after the run; infinite if it is not a number.
        seconds: Duration of the training, including the callback.
    """

    initial_loss: float
    final_loss: float
    seconds: float

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Outcome:
        """Read what :meth:`save` wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


class Recorder(Protocol):
    """What a training loop reports to: the callback, or nothing."""

    def record(self, **scalars: Tensor) -> None:
        """Receive scalars of the coming step."""

    def close(self) -> None:
        """End."""


class Training:
    """The loop: plain PyTorch, with a method for each place where a fault can be planted.

    Attributes:
        task: The task to learn.
        settings: How to train.
        step: The current optimizer step, counted from 1; 0 before the first.
        generator: Determines the order of the examples.
        resumes: Whether training is resumed halfway through.
    """

    resumes: ClassVar[bool] = False

    def __init__(
        self, task: Task, settings: Settings, seed: int, folder: Path, way: Way = "default"
    ) -> None:
        """Build the network.

        Args:
            task: The task to learn.
            settings: How to train.
            seed: Seed of the weights, and of the order of the examples.
            folder: Folder of the callback's event file.
            way: The way to record.
        """
        self.task, self.settings, self.step = task, settings, 0
        self._folder, self._way = folder, way
        torch.manual_seed(seed)
        self._examples = task.examples()
        self.generator = torch.Generator().manual_seed(seed)
        self._judged = torch.randint(len(self._examples), (_JUDGED_EXAMPLES,))
        self.model = self.make_model()
        self.initial_loss = self._judge()
        with torch.no_grad():
            self.change_weights()
        self._cast_weights()

    def run(self) -> Outcome:
        """Train."""
        start = time.perf_counter()
        with any_clock():
            self._begin()
            try:
                while self.step < self.settings.steps:
                    self.step += 1
                    self.before_step()
                    self._train_step()
                    self.after_step()
            finally:
                self._debug.close()
        seconds = time.perf_counter() - start
        return Outcome(self.initial_loss, self._judge(), seconds)

    # --- where a fault can be planted ---

    def make_model(self) -> nn.Module:
        """Make the network."""
        return self.task.model()

    def change_weights(self) -> None:
        """Change the initial weights."""

    def parameter_groups(self) -> list[dict[str, object]]:
        """Return the optimizer's parameters, as groups."""
        return [{"params": list(self.model.parameters())}]

    def learning_rate(self) -> float:
        """Return the learning rate of this step."""
        return self.settings.learning_rate_at(max(1, self.step))

    def change_batch(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the batch of this step."""
        return inputs, targets

    def change_loss(self, loss: Tensor) -> Tensor:
        """Return the loss that is recorded and differentiated."""
        return loss

    def zero_gradients(self) -> None:
        """Clear the gradients of the previous step."""
        self.optimizer.zero_grad()

    def unscale_gradients(self) -> None:
        """Remove the loss scale from the gradients."""
        if self.settings.loss_scale != 1:
            for parameter in self.model.parameters():
                if parameter.grad is not None:
                    parameter.grad /= self.settings.loss_scale

    def before_step(self) -> None:
        """Hook that runs before a step."""

    def after_step(self) -> None:
        """Hook that runs after a step."""

    # --- the loop ---

    def resume(self, *, with_state: bool = True, precision: torch.dtype | None = None) -> None:
        """Restart with the current weights, as after the end of the process.

        Args:
            with_state: Whether to load the optimizer's state, too.
            precision: The new type of the weights, or None.
        """
        state = self.optimizer.state_dict()
        self._debug.close()
        if precision is not None:
            self.model.to(precision)
        self._begin(state if with_state else None, steps_taken=self.step)

    def _begin(self, state: dict[str, object] | None = None, steps_taken: int = 0) -> None:
        groups = self.parameter_groups()
        for group in groups:
            factor = group.setdefault("learning_rate_factor", 1.0)
            assert isinstance(factor, float)
            group["lr"] = self.learning_rate() * factor
        self.optimizer = make_optimizer(self.settings, groups, self.learning_rate())
        if state is not None:
            self.optimizer.load_state_dict(state)
        # With a state, the callback continues from its count.
        self._debug = self.make_recorder(steps_taken if state is None else None)

    def make_recorder(self, initial_step: int | None) -> Recorder:
        """Attach the callback."""
        with warnings.catch_warnings():
            # Warnings about parameters missing in the optimizer, and about types in a checkpoint:
            # only the findings count here.
            warnings.simplefilter("ignore")
            return AdamDebugCallback(
                self.model,
                self.optimizer,
                log_dir=self._folder,
                initial_step=initial_step,
                on_error="raise",
                **options_of(self._way, self.settings.steps),
            )

    def _train_step(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate() * group["learning_rate_factor"]
        self.zero_gradients()
        losses = []
        for _ in range(self.settings.accumulated_batches):
            indices = torch.randint(
                len(self._examples), (self.settings.batch_size,), generator=self.generator
            )
            inputs, targets = self._examples.inputs[indices], self._examples.targets[indices]
            inputs, targets = self.change_batch(inputs, targets)
            with self._autocast():
                outputs = self.model(self._cast(inputs))
            loss = self.change_loss(self.task.loss(outputs, targets))
            scale = self.settings.loss_scale / self.settings.accumulated_batches
            (loss * scale).backward()
            losses.append(loss.detach())
        self._debug.record(loss=torch.stack(losses).mean())
        self.unscale_gradients()
        if self.settings.clip_norm is not None:
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
            self._debug.record(gradient_norm_before_clip=norm)
        self.optimizer.step()

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        if self.settings.precision == "bfloat16 autocast":
            return torch.autocast("cpu", torch.bfloat16)
        return contextlib.nullcontext()

    def _cast_weights(self) -> None:
        types = {"bfloat16 weights": torch.bfloat16, "float16 weights": torch.float16}
        if self.settings.precision in types:
            self.model.to(types[self.settings.precision])

    def _cast(self, inputs: Tensor) -> Tensor:
        weight = next(self.model.parameters())
        return inputs.to(weight.dtype) if inputs.is_floating_point() else inputs

    def _judge(self) -> float:
        self.model.eval()
        with torch.no_grad():
            outputs = self.model(self._cast(self._examples.inputs[self._judged]))
            loss = self.task.loss(outputs, self._examples.targets[self._judged]).item()
        self.model.train()
        return loss if math.isfinite(loss) else math.inf
