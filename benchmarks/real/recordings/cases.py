"""Which runs there are."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from real.families.registry import FAMILIES, Family
from real.recipe.kinds import Kind
from real.recipe.settings import Half, Settings

# The first one is also the faults'.
SEEDS: dict[Half, tuple[int, ...]] = {"tuning": (1, 2), "reporting": (101, 102)}


@dataclass(frozen=True)
class Case:
    """A run.

    Attributes:
        family: The family to train.
        kind: The planted kind.
        half: Half of the laboratory.
        seed: Seed of weights and batches.
    """

    family: Family
    kind: Kind
    half: Half
    seed: int

    @property
    def name(self) -> str:
        """Name of its folder, such as "tuning/language_model/lr_x10-1"."""
        kind = re.sub(r"[^a-z0-9.]+", "_", self.kind.name.lower()).strip("_")
        return f"{self.half}/{self.family.name}/{kind}-{self.seed}"

    @property
    def settings(self) -> Settings:
        """Its settings."""
        return self.kind.change(self.family.settings_of(self.half))


@functools.cache
def all_cases() -> tuple[Case, ...]:
    """Return every run, in training order."""
    return tuple(
        Case(family, kind, half, seed)
        for family in FAMILIES
        for half in family.halves
        for kind in family.kinds
        for seed in (SEEDS[half][:1] if kind.is_fault else SEEDS[half])
    )


def case_named(name: str) -> Case:
    """Return the run with a name."""
    return next(case for case in all_cases() if case.name == name)
