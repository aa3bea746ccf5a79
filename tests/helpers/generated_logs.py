"""Realistic log folders without training: AdamW runs in NumPy on synthetic gradients.

All logged numbers come from one simulated optimizer, so statistics, histograms, hyperparameters and
the rows of all steps agree as in a real run. The model (names and shapes of a GPT or a CNN) and its
gradients (a noisy pull towards a hidden target) are synthetic. ``python
tests/helpers/generated_logs.py FOLDER`` writes runs to look at.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from event_files import scalar_event, write_events
from generated_adam import Adam, Array
from generated_runs import Run

from tb_adam_plugin import schema
from tb_adam_plugin.callback.schedule.gradient_history import KEPT_STEPS
from tb_adam_plugin.callback.write.event_log import EventLog
from tb_adam_plugin.schema import Columns, Layout

START = 1_767_225_600.0  # wall time of step 0
SECONDS_A_STEP = 0.25
COLUMNS = Columns((*schema.STEP_COLUMNS, "loss"))


class Step(NamedTuple):
    """The data of one step.

    Attributes:
        step: The step number.
        row: The row of every step, float64 ``[columns]``.
        statistics: float32 ``[parameters, statistics]``, if logged.
        hyperparameters: float64 ``[groups, columns]``, if logged.
        counts: int64 ``[parameters, quantities, BINS + len(SPECIAL)]``, if it has histograms.
        norms: Gradient norms, float64 ``[parameters]``.
    """

    step: int
    row: Array
    statistics: npt.NDArray[np.float32] | None
    hyperparameters: Array | None
    counts: schema.Counts | None
    norms: Array


def simulate(run: Run) -> Iterator[Step]:
    """Train, and yield every step."""
    adam = Adam(run)
    logged, with_histograms = set(run.logged_steps), set(run.histogram_steps)
    for t in range(1, run.steps + 1):
        lr = _lr(run, t)
        adam.step(t, lr)
        loss = adam.loss()
        row = [t, wall_time(t), adam.gradient_norm(), lr, 0.4, 0.0, 0.0, 1.0, loss]
        yield Step(
            t,
            np.array(row),
            adam.statistics(t, loss) if t in logged else None,
            adam.hyperparameters(lr) if t in logged else None,
            adam.counts() if t in with_histograms else None,
            adam.gradient_norms(),
        )


def write_run(folder: Path, run: Run | None = None, *, loss_writer: bool = True) -> Layout:
    """Write a run as the callback does, into ``folder/adam_debug``.

    Args:
        folder: The run's folder, as passed to a callback as ``log_dir``.
        run: The run to simulate.
        loss_writer: Whether ``folder`` itself gets ``loss/train``, as from a SummaryWriter.
    """
    run = run or Run()
    layout = run.layout
    log = EventLog(folder)
    losses: dict[int, float] = {}
    rows: list[Array] = []
    norms: deque[Array] = deque(maxlen=KEPT_STEPS)
    for t, row, statistics, hyperparameters, counts, norms_now in simulate(run):
        rows.append(row)
        norms.append(norms_now)
        losses[t] = float(row[-1])
        if run.follow_spike and t == run.spike_at:
            names = [p.name for p in layout.parameters]
            steps = np.arange(t - len(norms) + 1, t + 1)
            around = schema.gradient_norms_tensor(names, steps, np.array(norms))
            log.write(t, wall_time(t), [around, schema.steps_tensor(COLUMNS, np.array(rows))])
            rows.clear()
        if statistics is None or hyperparameters is None:
            continue
        tensors = [
            schema.statistics_tensor(layout, statistics),
            schema.hyperparameters_tensor(layout, hyperparameters),
        ]
        if rows:
            tensors.append(schema.steps_tensor(COLUMNS, np.array(rows)))
        rows.clear()
        if counts is not None:
            tensors += schema.histogram_tensors(layout, counts)
        log.write(t, wall_time(t), tensors, {"adam_debug/lr/0": float(hyperparameters[0, 0])})
    if rows:
        log.write(run.steps, wall_time(run.steps), [schema.steps_tensor(COLUMNS, np.array(rows))])
    log.close()
    if loss_writer:
        write_events(folder, (scalar_event(t, {"loss/train": x}) for t, x in losses.items()))
    return layout


def wall_time(step: int) -> float:
    """End of a step, seconds since the epoch."""
    return START + SECONDS_A_STEP * step


def main(arguments: Sequence[str]) -> None:
    """Write four different runs to the given folder."""
    folder = Path(arguments[0])
    for name, run in {
        "gpt-lr3e-4": Run(steps=1000, parameters=76),
        "gpt-lr3e-3": Run(steps=1000, parameters=76, lr=3e-3, spike_at=600),
        "cnn": Run(architecture="cnn", steps=1000, parameters=62, lr=1e-3),
        "cnn-nan": Run(architecture="cnn", steps=400, parameters=62, lr=1e-2, nan_at=333),
    }.items():
        write_run(folder / name, run)
        print(folder / name)


def _lr(run: Run, t: int) -> float:
    warmup = max(1, run.steps // 10)
    if t <= warmup:
        return run.lr * t / warmup
    cosine = 0.5 * (1 + math.cos(math.pi * (t - warmup) / max(1, run.steps - warmup)))
    return run.lr * (0.1 + 0.9 * cosine)


if __name__ == "__main__":
    main(sys.argv[1:])
