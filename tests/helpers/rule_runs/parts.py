"""Building blocks of several families of runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from synthetic_runs import Change

from tb_adam_plugin.diagnosis.engine.recorded_run import RecordedRun

LAYERS = [f"layers.{i}.weight" for i in range(5)]
MATRICES = [*LAYERS, "head.weight"]
BIASES = [f"layers.{i}.bias" for i in range(5)]
NAN = float("nan")

# A rule, what its run lacks, and the changes that make the run.
NearMiss = tuple[str, str, Sequence[Change]]


def flat_loss(steps: Any) -> Any:
    return np.full(np.shape(steps), 2.3)


WITHOUT_FIRST = ("momentum_gradient_cosine", "gradient_exp_avg_cosine")


def lr_of_group(run: RecordedRun, group: int, values: Sequence[float]) -> RecordedRun:
    """Set a group's learning rate at the first records; the last value holds for the others."""
    lr = run.hyperparameters["lr"].copy()
    lr[: len(values), group], lr[len(values) :, group] = values, values[-1]
    return replace(run, hyperparameters={**run.hyperparameters, "lr": lr})


WITHOUT_SECOND = (
    "gradient_surprise", "epsilon_fraction", "epsilon_10_fraction", "zero_second_moment_fraction",
    "exp_avg_sq_root", "second_moment_underflow_fraction", "second_moment_flicker",
    "update_bimodality", "second_moment_frozen_fraction",
)  # fmt: skip


def in_second_group(run: RecordedRun) -> RecordedRun:
    """Biases are in the first group, and everything else in the second one."""
    parameters = tuple(replace(p, group=int(len(p.shape) > 1)) for p in run.parameters)
    return replace(run, parameters=parameters)
