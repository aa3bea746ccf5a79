"""The interface of a family: a model, a loss of a batch, and an evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from real.recipe.settings import Half, Settings

Measure = Literal["nats", "accuracy", "return", "distance"]


class Learner(Protocol):
    """Something that is trained with one loss.

    Attributes:
        model: The model to train.
    """

    model: nn.Module

    def loss(self, *, bad: bool) -> Tensor:
        """Draw a batch and return its loss.

        Args:
            bad: Whether the batch is a corrupt one.
        """

    def judge(self) -> float:
        """Evaluate the model on held-out data, in the family's measure."""


@dataclass(frozen=True)
class Start:
    """The inputs of a learner.

    Attributes:
        half: Half of the laboratory: determines the data, and the variant of the model.
        settings: Settings of the run.
        generator: Determines the order of the data, seeded.
        cache: Folder of prepared data.
    """

    half: Half
    settings: Settings
    generator: torch.Generator
    cache: Path


MakeLearner = Callable[[Start], Learner]
