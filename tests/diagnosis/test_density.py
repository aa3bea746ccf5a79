"""How densely a run was recorded changes what is known of it, and not what is said."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.diagnosis.diagnose import Diagnosis, diagnose
from tb_adam_plugin.diagnosis.engine.recorded_run import RecordedRun
from tb_adam_plugin.run_data import load_runs

_STEPS = 240
_EARLY = (1, 2, 4, 8, 16, 32)


def network() -> nn.Sequential:
    """Four layers, of which the second one can be killed."""
    torch.manual_seed(0)
    sizes = (20, 64, 64, 64, 5)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def kill(model: nn.Sequential) -> None:
    with torch.no_grad():
        layer = model[2]
        assert isinstance(layer, nn.Linear)
        layer.bias[:60] = -20.0


def nothing(model: nn.Sequential) -> None:
    """Leave it as it is."""


def record(folder: Path, change: Callable[[nn.Sequential], None], **options: Any) -> RecordedRun:
    """Train a classifier of noisy clusters, and record every step of it."""
    model = network()
    change(model)
    optimizer = torch.optim.AdamW(model.parameters(), **options)
    debug = AdamDebugCallback(model, optimizer, log_dir=folder, every_n_steps=1, max_overhead=None)
    generator = torch.Generator().manual_seed(1)
    centres = torch.randn(5, 20, generator=generator)
    for _ in range(_STEPS):
        target = torch.randint(5, (32,), generator=generator)
        inputs = centres[target] + 1.5 * torch.randn(32, 20, generator=generator)
        loss = nn.functional.cross_entropy(model(inputs), target)
        optimizer.zero_grad()
        loss.backward()
        debug.record(loss=loss.detach())
        optimizer.step()
    debug.close()
    (run,) = load_runs(folder)
    return run.diagnosis.signals.run


def thinned(run: RecordedRun, every: int) -> RecordedRun:
    """The run as it would have been recorded at every so manieth step."""
    kept = np.isin(run.step, _EARLY) | (run.step % every == 0)
    return replace(
        run,
        step=run.step[kept],
        wall_time=run.wall_time[kept],
        statistics={name: values[kept] for name, values in run.statistics.items()},
        hyperparameters={name: values[kept] for name, values in run.hyperparameters.items()},
    )


def alarms(diagnosis: Diagnosis) -> set[str]:
    return {finding.rule for finding in diagnosis.findings if finding.severity != "info"}


_RUNS: dict[str, tuple[Callable[[nn.Sequential], None], dict[str, float], set[str]]] = {
    "healthy": (nothing, {"lr": 3e-3}, set()),
    "weight decay": (nothing, {"lr": 3e-3, "weight_decay": 20.0}, {"weight_decay_too_strong"}),
    "eps": (nothing, {"lr": 3e-3, "eps": 0.3}, {"eps_dominates"}),
    "dead layer": (kill, {"lr": 3e-4}, {"dead_units"}),
    "low": (nothing, {"lr": 3e-6}, set()),
}


@pytest.mark.parametrize("name", _RUNS)
def test_the_same_is_found_at_every_step_every_fifth_and_every_twentieth(
    tmp_path: Path, name: str
) -> None:
    change, options, expected = _RUNS[name]
    run = record(tmp_path, change, **options)
    assert run.step.size == _STEPS
    every_step = diagnose(run)
    assert expected <= alarms(every_step)
    asked = {finding.rule for finding in every_step.findings}
    assert name not in ("low", "healthy") or ("lr_too_low" in asked) == (name == "low")
    for every in (2, 5, 20):
        fewer = diagnose(thinned(run, every))
        unknown = {rule.rule for rule in fewer.not_evaluated}
        assert alarms(fewer) <= alarms(every_step), every
        assert alarms(every_step) - alarms(fewer) <= unknown, every
        named = {finding.rule for finding in fewer.findings}
        assert "lr_too_low" in named | unknown or name != "low"


def test_a_rule_with_too_few_records_says_how_many_there_are(tmp_path: Path) -> None:
    change, options, _ = _RUNS["dead layer"]
    run = record(tmp_path, change, **options)
    few = diagnose(thinned(run, 60))
    reasons = {rule.rule: rule.reason for rule in few.not_evaluated}
    assert "dead_units" not in {finding.rule for finding in few.findings}
    assert reasons["dead_units"] == (
        "5 records after step 20, needs 8: total_steps= or every_n_steps= records more often"
    )
    short = diagnose(first_steps(run, 40))
    reasons = {rule.rule: rule.reason for rule in short.not_evaluated}
    assert reasons["dead_units"] == "20 records within 20 steps after step 20, needs 40 steps"
    # What has fired is not taken back.
    enough = diagnose(first_steps(run, 62))
    assert "dead_units" in {finding.rule for finding in enough.findings}
    assert few.compass is not None
    assert few.compass.run.text == "not enough data"
    assert math.isnan(few.compass.run.factor)


def first_steps(run: RecordedRun, last: int) -> RecordedRun:
    """The run as it was at a step."""
    kept, known = run.step <= last, run.every_step["step"] <= last
    return replace(
        run,
        step=run.step[kept],
        wall_time=run.wall_time[kept],
        statistics={name: values[kept] for name, values in run.statistics.items()},
        hyperparameters={name: values[kept] for name, values in run.hyperparameters.items()},
        every_step={name: values[known] for name, values in run.every_step.items()},
    )
