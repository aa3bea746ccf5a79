"""How a run is trained, as plain values: faults are changes of them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

Half = Literal["tuning", "reporting"]
HALVES: tuple[Half, ...] = ("tuning", "reporting")

Schedule = Literal["constant", "cosine", "torch cosine", "linear", "onecycle"]
Precision = Literal["float32", "bfloat16 weights", "bfloat16 autocast, scaled"]


@dataclass(frozen=True)
class Settings:
    """How one run is trained.

    Attributes:
        steps: Optimizer steps.
        batch_size: Examples, or sequences, per step.
        learning_rate: Its peak.
        optimizer: Name of one, or of two that share the model.
        beta1: Adam's beta1; SGD's momentum.
        beta2: Adam's beta2.
        epsilon: Adam's eps.
        weight_decay: As passed to the optimizer.
        decays: What is decayed: only the matrices, or every parameter.
        warm_up_steps: Length of a linear rise.
        schedule: Schedule of the learning rate. "cosine" is written into the groups by the loop and
            keeps its end; the others are torch schedulers, which leave their traces in the groups.
        final_share: Share of the learning rate at the end of a cosine.
        schedule_steps: Length of the schedule; None for that of the run.
        schedule_every: Optimizer steps per scheduler step.
        schedule_times: How often the scheduler is then stepped.
        clip_norm: Norm to which the gradient is clipped; None for no clipping.
        precision: Type of the weights, or of the gradients under a loss scale.
        bad_batch_at: The step with a corrupt batch; 0 for none.
        replaced: Name of the module that is replaced after the optimizer is created; "" for none.
        frozen: Name of the module that is frozen during the run, with zero gradients from then on;
            "" for none.
        embedding_std: Standard deviation of the initial embeddings; None for the family's.
        initial_scale: Factor of all initial matrices.
        keeps_gradients: Whether ``zero_grad()`` is missing: if two optimizers share a loss, for the
            one that does not step.
        clips_before_unscaling: Whether the clipped gradients still contain the loss scale.
        left_out: Name of the module that the optimizer was not given; "" for none.
        epochs: Epochs over a sampled batch, in reinforcement learning.
        discriminator_factor: Its learning rate over the generator's.
    """

    steps: int
    batch_size: int
    learning_rate: float
    optimizer: str = "adamw"
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    decays: Literal["matrices", "everything"] = "everything"
    warm_up_steps: int = 0
    schedule: Schedule = "constant"
    final_share: float = 0.1
    schedule_steps: int | None = None
    schedule_every: int = 1
    schedule_times: int = 1
    clip_norm: float | None = None
    precision: Precision = "float32"
    bad_batch_at: int = 0
    replaced: str = ""
    frozen: str = ""
    embedding_std: float | None = None
    initial_scale: float = 1.0
    keeps_gradients: bool = False
    clips_before_unscaling: bool = False
    left_out: str = ""
    epochs: int = 1
    discriminator_factor: float = 1.0

    @property
    def length_of_schedule(self) -> int:
        """Number of scheduler steps that it is designed for."""
        return self.schedule_steps or self.steps

    def as_json(self) -> dict[str, Any]:
        """Return the non-default values, and the first three."""
        fields = dataclasses.fields(self)
        return {
            field.name: getattr(self, field.name)
            for field in fields
            if field.default is dataclasses.MISSING or getattr(self, field.name) != field.default
        }
