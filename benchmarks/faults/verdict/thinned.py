"""A recording reduced to fewer steps: do the findings depend on the number of records?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tb_adam_plugin.arrays import Flags, Float64s
from tb_adam_plugin.callback.schedule.gradient_history import (
    DETAILED_STEPS,
    SpikeDetector,
)
from tb_adam_plugin.diagnosis.engine.recorded_run import RecordedRun


def thin(run: RecordedRun, keep_every: int, resumed_at: int | None = None) -> RecordedRun:
    """Return what would have been recorded at a longer interval.

    Powers of two are kept, also counted from a resume, as are the last step and the callback's
    closer looks, which its own detector finds in the gradient norms of all steps.

    Args:
        run: Recorded at one interval throughout.
        keep_every: Factor by which to lengthen the interval.
        resumed_at: The first step after a resume, or None.
    """
    interval = int(np.nanmax(run.every_step["every_n_steps"])) * keep_every
    number = run.step.astype(np.int64)
    kept = (number % interval == 0) | (number & (number - 1) == 0) | (number == run.last_step)
    kept |= np.isin(number, [int(first) for first, _ in run.layouts])
    if resumed_at is not None:  # a resumed run starts as densely as a new one
        since = number - (resumed_at - 1)
        kept |= (since > 0) & (since & (since - 1) == 0)
    return of_records(run, kept | _closer_looks(run, resumed_at))


def of_records(run: RecordedRun, kept: Flags) -> RecordedRun:
    """Return a run with some of its records, bool ``[records]``, and every row of every step."""
    return replace(
        run,
        step=run.step[kept],
        wall_time=run.wall_time[kept],
        statistics={name: values[kept] for name, values in run.statistics.items()},
        hyperparameters={name: values[kept] for name, values in run.hyperparameters.items()},
    )


def _closer_looks(run: RecordedRun, resumed_at: int | None) -> Flags:
    """Which records were made because the gradient jumped, bool ``[records]``."""
    norms: Float64s = run.every_step["gradient_norm"]
    before_clip = run.every_step.get("gradient_norm_before_clip")
    if before_clip is not None:
        norms = np.where(before_clip >= 0, before_clip, norms)
    closer = np.zeros(run.step.shape, bool)
    detector, until = SpikeDetector(), 0.0
    for step, norm in zip(run.every_step["step"], norms, strict=True):
        if step == resumed_at:
            detector, until = SpikeDetector(), 0.0
        if step <= until:
            closer |= run.step == step
        if detector.is_unusual(float(norm)):
            until = step + DETAILED_STEPS
    return closer
