"""How a run is recorded: as users do, or at every fifth step whatever its length."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import torch
from torch import nn

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.schedule import intervals, overhead
from tb_adam_plugin.run_data import load_runs

Way = Literal["default", "every-5"]
WAYS: tuple[Way, ...] = ("default", "every-5")

_OPTIONS: dict[Way, dict[str, Any]] = {
    "default": {},
    "every-5": {"every_n_steps": 5, "histograms_every_n_steps": 100},
}
# The reference run that covers all code that decides what is recorded: an interval of 3, powers of
# two between, and a closer look at a spike.
_STEPS, _SPIKE = 500, 301


def options_of(way: Way, steps: int) -> dict[str, Any]:
    """Return the callback's options about when to record.

    Args:
        way: The way to record. By default only ``total_steps`` is given.
        steps: Number of steps of the run.
    """
    return {"total_steps": steps, **_OPTIONS[way]}


def interval_of(way: Way, steps: int) -> int:
    """Return the interval between records in a run with this many steps."""
    return intervals.choose(options_of(way, steps).get("every_n_steps"), steps).interval(1)


@contextlib.contextmanager
def any_clock() -> Iterator[None]:
    """Record the same on a slow machine as on a fast one.

    A run may spend some seconds on records, whatever their share of its time. These suffice for
    every run here, because all are short, unless the machine is busy: with this, they always
    suffice.
    """
    with mock.patch.object(overhead, "ALLOWANCE_SECONDS", math.inf):
        yield


@functools.cache
def fingerprint(way: Way) -> str:
    """Return a value that changes with what is recorded: steps, names, numbers.

    It is a digest of a small recorded run, not of files: a change that does not affect recordings
    does not trigger new trainings.
    """
    with tempfile.TemporaryDirectory() as folder:
        _record_reference_run(Path(folder), way)
        (run,) = load_runs(folder)
        every_step = run.every_step()
        digest = hashlib.sha256()
        for part in (run.steps.tolist(), run.statistics, every_step.names):
            digest.update(repr(part).encode())
        # Rounded to three digits, in the first records: the order of summation differs between
        # processors.
        for name in run.statistics:
            digest.update(repr([f"{x:.3g}" for x in run.statistic(name)[:8].ravel()]).encode())
    return digest.hexdigest()[:16]


def _record_reference_run(folder: Path, way: Way) -> None:
    # The caller's generator is left unchanged.
    with torch.random.fork_rng(devices=[]), any_clock():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        debug = AdamDebugCallback(
            model, optimizer, log_dir=folder, on_error="raise", **options_of(way, _STEPS)
        )
        for step in range(1, _STEPS + 1):
            inputs = torch.randn(16, 4)
            loss = (model(inputs) - inputs.sum(1, keepdim=True)).square().mean()
            optimizer.zero_grad()
            (loss * (100 if step == _SPIKE else 1)).backward()
            debug.record(loss=loss)
            optimizer.step()
        debug.close()
