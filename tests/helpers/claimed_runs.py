"""Trainings that claim a folder, in this process and in others."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.run_data import Run

IN_USE = "is in use by another AdamDebugCallback"
PRELUDE = """
import os, sys, time, warnings
from pathlib import Path
from claimed_runs import *
from tb_adam_plugin.callback.write.run_claims import RunClaim
folder = Path(sys.argv[1])
"""
LOCKS = pytest.mark.skipif(sys.platform == "win32", reason="no POSIX locks")


class Trained:
    """A model with a given width, its optimizer and its callback."""

    def __init__(self, width: int, **options: Any) -> None:
        torch.manual_seed(width)
        self.model = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 1))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)
        self.losses: list[float] = []
        self.debug = AdamDebugCallback(
            self.model, self.optimizer, every_n_steps=1, on_error="raise", **options
        )

    def train(self, steps: int) -> None:
        for _ in range(steps):
            self.optimizer.zero_grad()
            loss = self.model(torch.randn(8, 4)).square().mean()
            loss.backward()
            self.debug.record(loss=loss)
            self.losses.append(loss.item())
            self.optimizer.step()

    def check(self, run: Run, name: str) -> None:
        """Check that a run is of this model, and has every step."""
        assert run.name == name
        width = self.model[0].out_features
        assert [p.shape for p in run.parameters] == [(width, 4), (width,), (1, width), (1,)]
        assert run.steps.tolist() == list(range(1, len(self.losses) + 1))
        every = run.every_step()
        assert every.step.tolist() == run.steps.tolist()
        losses = every.values[every.names.index("loss")]
        np.testing.assert_array_equal(losses, np.array(self.losses, np.float32))


@contextmanager
def no_warning() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def run_python(script: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a script that has what ``PRELUDE`` imports, and ``folder``."""
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(script), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()
