"""Runs as found on disks after years: restarts, other layouts, clocks set back, torn ends."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from event_files import (
    START,
    STEPS,
    counts_of,
    event,
    make_layout,
    record,
    scalar_event,
    statistics_of,
)
from tensorboard.compat.proto import event_pb2

from tb_adam_plugin import schema
from tb_adam_plugin.schema import Layout, TaggedTensor

_HYPERPARAMETERS = ("exp_avg", "exp_avg_sq")
MODELS = (
    make_layout(),
    make_layout(("conv1.weight", "conv1.bias", "head.weight")),
    make_layout(("conv1.weight",), statistics=("update_rms",)),
    make_layout(("other.weight", "other.bias"), elements=16),
)
RANKS = (
    make_layout(tuple(f"front.{i}" for i in range(3))),
    make_layout(tuple(f"back.{i}" for i in range(2))),
)


def training(
    source: random.Random, layout: Layout, steps: Sequence[int], clock: float
) -> list[bytes]:
    """The events of one training, which writes every step's row and some records."""
    events = []
    rows: list[list[float]] = []
    seed = source.randrange(100)
    every = source.choice((1, 1, 2))
    for step in steps:
        now = clock + step
        rows.append([step, now, 1.0 + seed, 1e-3, 0.5, 0.0, 0.0, 1.0, seed + 1 / step])
        if step % every and step != steps[-1]:
            continue
        tensors: list[TaggedTensor] = [
            schema.statistics_tensor(layout, statistics_of(layout, step, seed)),
            schema.hyperparameters_tensor(layout, np.array([[step, 0.9, 0.999, 1e-8, 0.01]])),
            schema.steps_tensor(STEPS, np.array(rows)),
        ]
        rows.clear()
        if source.random() < 0.2:
            names = [p.name for p in layout.parameters]
            norms = np.full((1, len(names)), float(seed))
            tensors.append(schema.gradient_norms_tensor(names, np.array([step]), norms))
        if source.random() < 0.3:
            tensors += schema.histogram_tensors(layout, counts_of(layout, step))
        events.append(event(step, tensors, now))
        if source.random() < 0.2:
            events.append(scalar_event(step, {"loss/train": 1 / step, "adam_debug/lr/0": 1e-3}))
    return events


def file_head(*, marked: bool) -> bytes:
    """The first record of a file, with or without the callback's mark."""
    first = event_pb2.Event(wall_time=START, file_version="brain.Event:2")
    if marked:
        first.source_metadata.writer = schema.WRITER
    return record(first.SerializeToString())


def write_part(
    source: random.Random, folder: Path, layouts: Sequence[Layout], *, times: int = 3
) -> None:
    """Write trainings one after the other into one folder."""
    folder.mkdir(parents=True, exist_ok=True)
    clock, last, number = START, 0, 0
    layout = source.choice(layouts)
    content = file_head(marked=source.random() < 0.5)
    for _ in range(source.randrange(1, times + 1)):
        first = source.choice((1, max(1, last - 4), last + 1))
        last = first + source.randrange(1, 12)
        content += b"".join(training(source, layout, range(first, last + 1), clock))
        clock += source.choice((1000.0, 1000.0, -3600.0))
        if source.random() < 0.3:
            layout = source.choice(layouts)
        if source.random() < 0.6:
            (folder / f"events.out.tfevents.{1000 + number}.host").write_bytes(content)
            number += 1
            content = file_head(marked=source.random() < 0.5)
    if source.random() < 0.4:  # a killed writer
        content = content[: -source.randrange(1, 200)] or content
    (folder / f"events.out.tfevents.{1000 + number}.host").write_bytes(content)


def write_odd_run(source: random.Random, folder: Path) -> None:
    """Write a run with a random oddity."""
    kind = source.choice(("own folder", "own folder", "shared", "ranks", "two models"))
    if kind == "shared":
        write_part(source, folder, MODELS[:2])
        return
    if source.random() < 0.5:
        folder.mkdir(parents=True, exist_ok=True)
        losses = b"".join(scalar_event(t, {"loss/train": 1.5 / t}) for t in range(1, 30))
        path = folder / "events.out.tfevents.1.host"
        path.write_bytes(file_head(marked=False) + losses)
    if kind == "ranks":
        write_part(source, folder / schema.RUN_FOLDER, RANKS[:1], times=2)
        write_part(source, folder / f"{schema.PART_FOLDER}1", RANKS[1:], times=2)
    elif kind == "two models":
        write_part(source, folder / schema.RUN_FOLDER, MODELS[:1])
        write_part(source, folder / schema.numbered_folder(schema.RUN_FOLDER, 2), MODELS[3:])
    else:
        write_part(source, folder / schema.RUN_FOLDER, MODELS)
