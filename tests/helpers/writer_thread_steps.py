"""Records large enough for the writer's thread, and a gate that blocks it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from event_files import START, make_layout, statistics_of
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto import event_pb2
from torch import nn

from tb_adam_plugin import schema
from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.write.event_log import EventLog
from tb_adam_plugin.callback.write.step_event import Histograms

LAYOUT = make_layout([f"layer{i}.weight" for i in range(40)])
STATISTICS = f"adam_debug/statistics/{LAYOUT.id}"
THREAD = "adam-debug-writer"


def histograms_of(step: int) -> Histograms:
    """Synthetic histograms that are large enough for the thread."""
    shape = (len(LAYOUT.parameters), len(LAYOUT.quantities), schema.BINS + len(schema.SPECIAL))
    counts = np.random.default_rng(step).poisson(0.7, shape) * (step % 300)
    return Histograms(LAYOUT, schema.SparseHistograms.of(counts))


def tensors_of(step: int) -> list[schema.TaggedTensor]:
    return [schema.statistics_tensor(LAYOUT, statistics_of(LAYOUT, step))]


def write_large(log: EventLog, steps: Sequence[int]) -> None:
    for step in steps:
        log.write(step, START + step, tensors_of(step), {"lr": step}, histograms_of(step))


def write_small(log: EventLog, step: int) -> None:
    log.write(step, START + step, tensors_of(step), {"lr": step})


def records_in(folder: Path) -> list[bytes]:
    """All records of the one file except the first, which contains the time."""
    (path,) = folder.glob("**/events.out.tfevents.*")
    return list(RawEventFileLoader(str(path)).Load())[1:]


def events_in(folder: Path) -> list[Any]:
    return [event_pb2.Event.FromString(record) for record in records_in(folder)]


def steps_in(folder: Path) -> list[int]:
    return [event.step for event in events_in(folder)]


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == THREAD]


class Gate:
    """Blocks the writer's thread, and reports who has passed."""

    def __init__(self) -> None:
        self.is_open = threading.Event()
        self.is_reached = threading.Event()
        self.passed: list[str] = []

    def pass_through(self) -> None:
        name = threading.current_thread().name
        if name == THREAD:
            self.is_reached.set()
            assert self.is_open.wait(60)
        self.passed.append(name)


class Training:
    """A model whose records are large enough for the thread, and its callback."""

    def __init__(self, folder: Path, **options: Any) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(*(nn.Linear(12, 12) for _ in range(24)))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)
        self.debug = AdamDebugCallback(
            self.model, self.optimizer, log_dir=folder, every_n_steps=1, max_overhead=1, **options
        )

    def steps(self, number: int, between: Callable[[AdamDebugCallback], None]) -> None:
        for _ in range(number):
            self.step()
            between(self.debug)

    def step(self) -> None:
        self.optimizer.zero_grad()
        self.model(torch.randn(4, 12)).square().mean().backward()
        self.optimizer.step()


def wait_until_idle(debug: AdamDebugCallback) -> None:
    background = debug._output.recorder.log._writer._background  # type: ignore[union-attr]
    while background is not None and not background.is_idle:
        time.sleep(0.001)


PRELUDE = """
import gc, os, signal, sys
from pathlib import Path
from writer_thread_steps import *
folder = Path(sys.argv[1])
"""


def run_python(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script with the imports of ``PRELUDE``, and ``folder``."""
    return subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(script), str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
