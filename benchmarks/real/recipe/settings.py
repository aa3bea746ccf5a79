"""How a run is trained, as plain values: whatever is planted is a change of them."""

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
        batch_size: Examples, or sequences, of a step.
        learning_rate: At its peak.
        optimizer: Name of one, or of two that share the model.
        beta1: Of Adam; the momentum of SGD.
        beta2: Of Adam.
        epsilon: Of Adam.
        weight_decay: As the optimizer takes it.
        decays: What is decayed: the matrices alone, or every parameter.
        warm_up_steps: Of a linear rise.
        schedule: Of the learning rate. "cosine" is written into the groups by the loop and keeps
            its end; the others are schedulers of torch, which leave their traces in the groups.
        final_share: Of the learning rate, where a cosine ends.
        schedule_steps: Length of the schedule; None for that of the run.
        schedule_every: Optimizer steps to one of the scheduler.
        schedule_times: How often the scheduler is stepped then.
        clip_norm: To which the norm of the gradient is clipped; None not at all.
        precision: Of the weights, or of the gradients under a scale.
        bad_batch_at: The step that sees a corrupt batch; 0 for none.
        replaced: Name of the module that is replaced after the optimizer was made; "" for none.
        frozen: Name of the module that is frozen in mid-run, its gradients being zeros from then
            on; "" for none.
        embedding_std: Of the initial embeddings; None for the family's.
        initial_scale: By which all initial matrices are multiplied.
        keeps_gradients: Whether ``zero_grad()`` is missing: where two optimizers share a loss, of
            the one that does not step.
        clips_before_unscaling: Whether what is clipped still has the loss scale in it.
        left_out: Name of the module that the optimizer was not given; "" for none.
        epochs: Over a batch that was sampled, in reinforcement learning.
        discriminator_factor: Of its learning rate over the generator's.
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
        """How many steps of the scheduler it is for."""
        return self.schedule_steps or self.steps

    def as_json(self) -> dict[str, Any]:
        """Return the values that are not the default, and the first three."""
        fields = dataclasses.fields(self)
        return {
            field.name: getattr(self, field.name)
            for field in fields
            if field.default is dataclasses.MISSING or getattr(self, field.name) != field.default
        }
