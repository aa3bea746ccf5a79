"""Trains one run into a folder, and keeps its outcome beside the recording."""

from __future__ import annotations

import dataclasses
import json
import math
import random
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from faults.runs.ways_to_record import any_clock

from real.recipe.kinds import changed
from real.recipe.learner import Start
from real.recipe.settings import Settings
from real.recordings.cases import Case

# Used in place of a NaN; returns are unknown before an episode has ended.
_WORST = {"nats": math.inf, "distance": math.inf, "accuracy": 0.0, "return": math.nan}

OUTCOME, RECORDING = "outcome.json", "recording"


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run.

    Attributes:
        family: The trained family.
        kind: The planted kind.
        half: Half of the laboratory.
        seed: Seed of the run.
        settings: Non-default settings.
        measure: Measure of the two values that follow: "nats", "accuracy", "return" or "distance".
        before: On held-out data, untrained.
        after: The same, trained; the worst possible if it is not a number.
        last_loss: Loss of the last training step; NaN if it was not a number.
        steps: Optimizer steps.
        parameters: Number of trained elements.
        seconds: Duration of the training.
    """

    family: str
    kind: str
    half: str
    seed: int
    settings: dict[str, Any]
    measure: str
    before: float
    after: float
    last_loss: float
    steps: int
    parameters: int
    seconds: float

    @classmethod
    def load(cls, folder: Path) -> Outcome:
        """Read the outcome in a run's folder."""
        return cls(**json.loads((folder / OUTCOME).read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Advised:
    """One setting with the value that a finding advises.

    Attributes:
        field: A field of :class:`Settings`.
        value: The new value.
    """

    field: str
    value: float

    def __str__(self) -> str:
        """Format as on the command line."""
        return f"{self.field}={self.value:g}"

    @classmethod
    def parse(cls, text: str) -> Advised:
        """Read what :meth:`__str__` wrote."""
        field, _, value = text.partition("=")
        return cls(field, float(value))


def folder_of(case: Case, cache: Path, advised: Advised | None = None) -> Path:
    """Return the folder of a run, or of the same run with one setting changed."""
    if advised is None:
        return cache / "runs" / case.name
    return cache / "replays" / f"{case.name}-{advised}"


def is_recorded(case: Case, cache: Path, advised: Advised | None = None) -> bool:
    """Whether a complete recording of a run exists."""
    return (folder_of(case, cache, advised) / OUTCOME).exists()


def record(
    case: Case, cache: Path, advised: Advised | None = None, settings: Settings | None = None
) -> Outcome:
    """Train a run; only a complete one is kept.

    Args:
        case: The run.
        cache: Folder of recordings and prepared data.
        advised: The changed setting.
        settings: Replaces those of the case.
    """
    folder = folder_of(case, cache, advised)
    settings = settings or case.settings
    if advised is not None:
        settings = changed(**{advised.field: advised.value})(settings)
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        outcome = _train(case, cache, settings, part / RECORDING)
        text = json.dumps(dataclasses.asdict(outcome), indent=1)
        (part / OUTCOME).write_text(text + "\n", encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return outcome


def _train(case: Case, cache: Path, settings: Settings, log_dir: Path) -> Outcome:
    random.seed(case.seed)
    np.random.seed(case.seed)
    torch.manual_seed(case.seed)
    generator = torch.Generator().manual_seed(case.seed)
    family = case.family
    learner = family.make(Start(case.half, settings, generator, cache))
    before = _judged(learner, family.measure)
    start = time.perf_counter()
    with any_clock():
        last = family.train(learner, settings, log_dir)
    seconds = time.perf_counter() - start
    trained = sum(p.numel() for p in learner.model.parameters() if p.requires_grad)
    return Outcome(
        family.name, case.kind.name, case.half, case.seed, settings.as_json(), family.measure,
        before, _judged(learner, family.measure), last, settings.steps, trained, seconds,
    )  # fmt: skip


def _judged(learner: Any, measure: str) -> float:
    """Evaluate without touching the random state of the training."""
    with torch.random.fork_rng(devices=[]):
        learner.model.eval()
        value = float(learner.judge())
        learner.model.train()
    return value if math.isfinite(value) else _WORST[measure]
