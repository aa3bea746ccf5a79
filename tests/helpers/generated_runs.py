"""The settings of a simulated run: a model's names and shapes, steps, faults."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from tb_adam_plugin import schema
from tb_adam_plugin.callback.schedule.gradient_history import DETAILED_STEPS
from tb_adam_plugin.schema import Group, Layout, Parameter, Unoptimized

_Shapes = list[tuple[str, tuple[int, ...]]]


@dataclass(frozen=True)
class Run:
    """What to simulate.

    Attributes:
        architecture: Determines names and shapes.
        parameters: Number of parameter tensors; the model gets as many blocks as needed.
        steps: The last optimizer step.
        every: Steps 1, 2, 4 … 32 and the multiples of this are logged.
        histogram_every: Histograms are logged at step 1 and at the logged multiples of this.
        seed: Seed of the gradients.
        lr: Learning rate at the end of the warmup, which takes a tenth of the run. A cosine to lr /
            10 follows.
        elements_read: Larger tensors are sampled at this many elements.
        spike_at: A step whose gradients are multiplied by ``SPIKE``.
        spike_in: The only parameter with the spike; all by default.
        nan_at: A step from which on a part of the last parameter's gradient is NaN.
        follow_spike: Whether the gradient norms before the spike are logged, and the 16 steps after
            it in full, as the callback does.
    """

    architecture: Literal["gpt", "cnn"] = "gpt"
    parameters: int = 28
    steps: int = 200
    every: int = 5
    histogram_every: int = 20
    seed: int = 0
    lr: float = 3e-4
    elements_read: int = 256
    spike_at: int | None = None
    spike_in: str | None = None
    nan_at: int | None = None
    follow_spike: bool = False

    @property
    def layout(self) -> Layout:
        """The parameters; the second one never gets a gradient."""
        shapes = _gpt(self.parameters) if self.architecture == "gpt" else _cnn(self.parameters)
        parameters = [
            Parameter(
                name,
                shape,
                "float32",
                min(self.elements_read, math.prod(shape)),
                0 if len(shape) > 1 else 1,
            )
            for name, shape in shapes
        ]
        options = {"amsgrad": False, "maximize": False, "decoupled_weight_decay": True}
        return Layout(
            tuple(parameters),
            (Group("AdamW", options), Group("AdamW", options)),
            tuple(s.name for s in schema.STATISTICS),
            schema.QUANTITIES,
            (Unoptimized("frozen.weight", (16, 8), False),),
        )

    @property
    def logged_steps(self) -> list[int]:
        """Steps with statistics."""
        wanted = {1, 2, 4, 8, 16, 32}
        if self.follow_spike and self.spike_at is not None:
            wanted |= set(range(self.spike_at + 1, self.spike_at + DETAILED_STEPS + 1))
        return [t for t in range(1, self.steps + 1) if t in wanted or t % self.every == 0]

    @property
    def histogram_steps(self) -> list[int]:
        """Steps with histograms."""
        return [t for t in self.logged_steps if t == 1 or t % self.histogram_every == 0]


def _gpt(parameters: int) -> _Shapes:
    d = 64
    shapes: _Shapes = [("transformer.wte.weight", (512, d)), ("transformer.ln_0.weight", (d,))]
    block = 0
    while len(shapes) < parameters:
        for name, shape in (
            ("ln_1", (d,)),
            ("attn.c_attn", (3 * d, d)),
            ("attn.c_proj", (d, d)),
            ("ln_2", (d,)),
            ("mlp.c_fc", (4 * d, d)),
            ("mlp.c_proj", (d, 4 * d)),
        ):
            prefix = f"transformer.h.{block}.{name}"
            shapes += [(f"{prefix}.weight", shape), (f"{prefix}.bias", shape[:1])]
        block += 1
    return [*shapes[: parameters - 1], ("lm_head.weight", (512, d))]


def _cnn(parameters: int) -> _Shapes:
    shapes: _Shapes = [("conv1.weight", (64, 3, 3, 3)), ("bn1.weight", (64,)), ("bn1.bias", (64,))]
    block = 0
    while len(shapes) < parameters:
        width = 64 << min(block // 2, 3)
        prefix = f"layer{block // 2 + 1}.{block % 2}"
        for i in (1, 2):
            shapes += [
                (f"{prefix}.conv{i}.weight", (width, width, 3, 3)),
                (f"{prefix}.bn{i}.weight", (width,)),
                (f"{prefix}.bn{i}.bias", (width,)),
            ]
        block += 1
    return [*shapes[: parameters - 1], ("fc.weight", (10, 512))]
