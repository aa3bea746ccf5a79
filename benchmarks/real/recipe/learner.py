"""What a family gives to the loop: a model, a loss of a batch, and a judgement."""

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
        model: What is trained.
    """

    model: nn.Module

    def loss(self, *, bad: bool) -> Tensor:
        """Draw a batch and return its loss.

        Args:
            bad: Whether the batch is a corrupt one.
        """

    def judge(self) -> float:
        """Return how good the model is on data that was held out, by the family's measure."""


@dataclass(frozen=True)
class Start:
    """What a learner is made of.

    Attributes:
        half: Of the laboratory: which data, and which variant of the model.
        settings: Of the run.
        generator: Of the order of the data, seeded.
        cache: Where prepared data is kept.
    """

    half: Half
    settings: Settings
    generator: torch.Generator
    cache: Path


MakeLearner = Callable[[Start], Learner]
