"""What counts as a jump of the gradient norm, and what is written around one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from in_process import PluginClient
from recorded_run import RecordedRun, read_run
from torch import nn

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.read.norms import partial_norms
from tb_adam_plugin.callback.schedule.gradient_history import (
    DETAILED_STEPS,
    KEPT_STEPS,
    GradientHistory,
    SpikeDetector,
)
from tb_adam_plugin.diagnosis.engine.recorded_run import RecordedRun as DiagnosedRun
from tb_adam_plugin.diagnosis.engine.signals import Signals
from tb_adam_plugin.diagnosis.rules.gradient_spike import _spike_excess

STEPS = 2000


def alarms(norms: Iterable[float]) -> list[int]:
    detector = SpikeDetector()
    return [i for i, norm in enumerate(norms) if detector.is_unusual(float(norm))]


def log_normal(deviation: float, seed: int = 0, steps: int = STEPS) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, deviation, steps)
    norms: np.ndarray = np.exp(noise)
    return norms


QUIET = {
    "steady": np.ones(STEPS),
    "nearly steady": 1 + 1e-9 * np.arange(STEPS),
    "steady with small jumps": np.where(np.arange(STEPS) % 300 == 299, 1.9, 1.0),
    "zero": np.zeros(STEPS),
    "growing": np.exp(np.arange(STEPS) / 500),
    "decaying": np.exp(-np.arange(STEPS) / 50),
    "falling at once": np.where(np.arange(STEPS) < 1000, 1.0, 1e-6),
    "noisy and decaying": log_normal(0.3) * np.exp(-np.arange(STEPS) / 300),
    "tiny": 1e-200 * log_normal(0.2),
    "huge": 1e200 * log_normal(0.2),
}


@pytest.mark.parametrize("series", QUIET)
def test_a_quiet_run_has_no_jump(series: str) -> None:
    assert alarms(QUIET[series]) == []


@pytest.mark.parametrize("deviation", [0.05, 0.3, 0.6, 1.0])
def test_noise_is_seldom_taken_for_a_jump(deviation: float) -> None:
    """Each alarm costs DETAILED_STEPS records: at most one in 2,000 steps."""
    found = [alarms(log_normal(deviation, seed)) for seed in range(5)]
    assert sum(map(len, found)) <= 5


@pytest.mark.parametrize("deviation", [0.0, 0.1, 0.25])
@pytest.mark.parametrize("at", [16, 40, 500, 1999])
def test_a_jump_is_found_at_once(deviation: float, at: int) -> None:
    norms = log_normal(deviation)
    norms[at] = 15.0
    assert alarms(norms) == [at]


def test_a_jump_before_anything_is_known_is_not_looked_for() -> None:
    norms = np.ones(100)
    norms[:10] = [100, 1, 50, 3, 9, 200, 1, 1, 1, 4]
    assert alarms(norms) == []


def test_a_level_that_stays_high_becomes_the_usual_one() -> None:
    norms = np.where(np.arange(400) < 200, 1.0, 10.0)
    stays = list(range(200, 225))  # until most of the window is as high
    assert alarms(norms) == stays
    norms[350] = 100
    assert alarms(norms) == [*stays, 350]


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("at", [0, 5, 300])
def test_what_is_not_finite_is_found_once(value: float, at: int) -> None:
    norms = np.ones(600)
    norms[at] = value
    assert alarms(norms) == [at]
    norms[at:] = value  # and never comes back
    assert alarms(norms) == [at]


def test_events_that_lie_apart_are_found_each() -> None:
    norms = log_normal(0.1)
    for at in (300, 320, 700):
        norms[at] = math.nan if at == 320 else 50
    assert alarms(norms) == [300, 320, 700]
    norms[310] = 40  # smaller, and while that of before is looked at
    norms[325] = 30
    assert alarms(norms) == [300, 310, 320, 325, 700]


def test_a_jump_is_what_the_rule_about_spikes_speaks_of() -> None:
    """A fluctuation costs no closer look, and does not keep the next jump from having one."""
    norms = log_normal(0.1, steps=400)
    norms[200] = 2.6
    norms[238] = 11.0
    assert alarms(norms) == [238]
    for seed in range(40):
        random = np.random.default_rng(seed)
        norms = log_normal(random.uniform(0.02, 1.0), seed, steps=400)
        norms[random.integers(60, 400, 6)] *= random.uniform(2, 60, 6)
        signals = Signals(recorded_run_of(norms))
        spikes = np.flatnonzero(_spike_excess(signals) > 0).tolist()
        found = alarms(norms)
        assert [at for at in found if at >= 25] == spikes


def recorded_run_of(norms: np.ndarray) -> DiagnosedRun:
    step = np.arange(1.0, len(norms) + 1)
    return DiagnosedRun(
        "run", parameters=(), groups=(), step=np.empty(0), wall_time=np.empty(0), statistics={},
        hyperparameters={}, every_step={"step": step, "gradient_norm": norms},
    )  # fmt: skip


@pytest.mark.parametrize("every", [1, 2, 10])
def test_norms_from_before_clipping_are_compared_with_their_own_kind(every: int) -> None:
    history = GradientHistory()
    for step in range(1, 801):
        given = 30.0 if step % every == 0 else math.nan
        given *= 20 if step == 700 else 1
        history.add(step, np.array([1.0]), (True,), before_clip=given)
        assert history.is_due == (step >= 700)


def test_the_last_steps_are_kept_and_no_more() -> None:
    history = GradientHistory()
    for step in range(1, 101):
        history.add(step, np.array([1.0, 4.0]) * step**2, (True, step % 2 == 0))
    assert history.take() is None
    history.add(101, np.array([np.inf, 0.0]), (True, True))
    assert history.is_due
    taken = history.take()
    assert taken is not None
    steps, norms = taken
    assert steps.tolist() == list(range(102 - KEPT_STEPS, 102))
    assert norms[:-1, 0].tolist() == steps[:-1].tolist()
    second = [2.0 * step if step % 2 == 0 else math.nan for step in steps[:-1].tolist()]
    assert norms[:-1, 1].tolist() == pytest.approx(second, nan_ok=True)
    assert norms[-1].tolist() == [math.inf, 0.0]
    assert history.take() is None  # they were handed out
    assert [s for s in range(90, 140) if history.wants_detail(s)][-1] == 101 + DETAILED_STEPS


def train(folder: Path, spike: float, at: int, steps: int) -> tuple[RecordedRun, np.ndarray]:
    """Train two parameters, one of which only has a gradient at every third step.

    Returns:
        The run, and the norm of each gradient at each step; NaN without one.
    """
    generator = torch.Generator().manual_seed(0)
    first, second = nn.Parameter(torch.zeros(40, 50)), nn.Parameter(torch.zeros(7))
    optimizer = torch.optim.Adam([first, second])
    norms = np.full((steps, 2), np.nan)
    named = [("first", first), ("second", second)]
    with AdamDebugCallback(named, optimizer, log_dir=folder, every_n_steps=500, on_error="raise"):
        for step in range(1, steps + 1):
            first.grad = torch.randn(40, 50, generator=generator)
            second.grad = torch.randn(7, generator=generator) if step % 3 == 0 else None
            if step == at:
                first.grad *= spike
            for i, (_, parameter) in enumerate(named):
                if parameter.grad is not None:
                    gradient = parameter.grad.double().numpy()
                    norms[step - 1, i] = np.sqrt(np.sum(gradient**2))
            optimizer.step()
    return read_run(folder), norms


def test_the_steps_around_a_jump_are_there_however_seldom_records_are(tmp_path: Path) -> None:
    run, norms = train(tmp_path, spike=30.0, at=200, steps=240)
    assert sorted(run.gradient_norms) == list(range(137, 201))
    for step, row in run.gradient_norms.items():
        expected = {"step": step, "first": norms[step - 1, 0], "second": norms[step - 1, 1]}
        assert row == pytest.approx(expected, rel=1e-6, nan_ok=True)
    assert run.gradient_norms[200]["first"] > 20 * run.gradient_norms[199]["first"]
    details = list(range(201, 201 + DETAILED_STEPS))
    assert sorted(run.statistics) == [1, 2, 4, 8, 16, 32, 64, 128, *details]
    assert sorted(set(run.histograms) & set(details)) == details
    # The rows of all steps are there as well.
    global_norms = np.sqrt(np.nansum(norms**2, axis=1))
    recorded = [run.steps[step]["gradient_norm"] for step in range(1, 241)]
    assert recorded == pytest.approx(global_norms.tolist(), rel=1e-6)


def test_a_gradient_that_becomes_nan_is_an_event(tmp_path: Path) -> None:
    run, _ = train(tmp_path, spike=math.nan, at=60, steps=80)
    assert sorted(run.gradient_norms) == list(range(1, 61))
    assert math.isnan(run.gradient_norms[60]["first"])
    assert run.of(61, "first")["nonfinite_count"] == 3 * 2000  # m, v and the weights are lost


def test_a_run_without_an_event_writes_no_history(tmp_path: Path) -> None:
    run, _ = train(tmp_path, spike=1.0, at=1, steps=150)
    assert run.gradient_norms == {}
    assert sorted(run.statistics) == [1, 2, 4, 8, 16, 32, 64, 128]


def test_the_plugin_serves_the_norms_as_gradient_rms(tmp_path: Path) -> None:
    train(tmp_path / "exp1", spike=30.0, at=200, steps=240)
    client = PluginClient(tmp_path)
    run = "exp1/adam_debug"
    (listed,) = client.json("summary")["runs"]
    assert listed["gradient_norms"] is True
    _, around = client.packed("gradient_norms", run=run, parameter="first")
    assert around["last_step"].tolist() == list(range(137, 201))
    before, at = around["values"][0, -2:]
    assert at / before == pytest.approx(30, rel=0.1)
    # In 64 steps in 4 columns, nothing of the spike is lost.
    _, thinned = client.packed("gradient_norms", run=run, parameter="first", columns=4)
    assert thinned["values"].shape == (1, 4)
    assert thinned["values"][0, -1] == at
    _, newer = client.packed("gradient_norms", run=run, since=199)
    assert newer["last_step"].tolist() == [200]


@pytest.mark.parametrize("size", [3, 70_000])
@pytest.mark.parametrize("scale", [1e-40, 1e-30, 1e-23, 1.0, 1e18, 1e25, 1e37])
def test_a_norm_between_records_is_right_where_float32_squares_are_not(
    tmp_path: Path, scale: float, size: int
) -> None:
    weight = nn.Parameter(torch.zeros(size))
    optimizer = torch.optim.SGD([weight], lr=0.0)
    named = [("weight", weight)]
    with AdamDebugCallback(named, optimizer, log_dir=tmp_path, every_n_steps=500, on_error="raise"):
        for _ in range(7):
            weight.grad = scale * torch.randn(size, generator=torch.Generator().manual_seed(0))
            optimizer.step()
    gradient = weight.grad
    assert gradient is not None
    expected = float(gradient.double().norm())
    run = read_run(tmp_path)
    assert sorted(run.statistics) == [1, 2, 4]
    assert [run.steps[s]["gradient_norm"] for s in range(1, 8)] == pytest.approx(
        [expected] * 7, rel=1e-6
    )


def test_the_norm_of_a_strided_gradient_does_not_drift() -> None:
    values = torch.full((60_000, 2), 0.1)
    for strided in (values[:, 0], torch.tensor([0.1]).expand(60_000)):
        norm = partial_norms(strided, torch.float32).double().norm()
        assert float(norm) == pytest.approx(float(strided.double().norm()), rel=3e-5)
