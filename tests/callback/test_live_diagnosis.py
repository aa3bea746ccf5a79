"""``on_finding``: the rules applied while training goes on."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tb_adam_plugin import schema
from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.steps import live_diagnosis as live_module
from tb_adam_plugin.callback.steps.live_diagnosis import LiveDiagnosis
from tb_adam_plugin.callback.write.step_rows import StepRows
from tb_adam_plugin.diagnosis.rule import Finding
from tb_adam_plugin.diagnosis.rules.registry import RULES
from tb_adam_plugin.run_data import load_runs


def train(folder: Path, lr: float, steps: int = 60, **options: Any) -> list[float]:
    """Train a small network and return its losses."""
    torch.manual_seed(0)
    inputs = torch.randn(256, 10)
    labels = (inputs[:, 0] > 0).long()
    model = nn.Sequential(nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    losses = []
    with AdamDebugCallback(
        model, optimizer, log_dir=folder, every_n_steps=5, **{"on_error": "raise", **options}
    ) as debug:
        for _ in range(steps):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs), labels)
            loss.backward()
            debug.record(loss=loss)
            optimizer.step()
            losses.append(loss.item())
    return losses


def test_a_function_is_called_with_each_new_finding(tmp_path: Path) -> None:
    found: list[Finding] = []
    train(tmp_path, 1.0, on_finding=found.append)
    first = found[0]
    assert (first.rule, first.severity) == ("lr_too_high", "error")
    assert "Try lr" in first.advice
    assert len({(f.rule, f.severity) for f in found}) == len(found)
    # Live findings are also found in the file.
    (run,) = load_runs(tmp_path)
    assert {f.rule for f in run.findings()} <= {f.rule for f in found}


def test_warn_warns_once_and_only_of_what_is_wrong(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Learning rate too high") as caught:
        train(tmp_path / "fast", 1.0, on_finding="warn")
    texts = [str(warning.message) for warning in caught]
    assert len(texts) == len(set(texts))
    assert not any("hardly falls" in text for text in texts)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(tmp_path / "good", 3e-3, on_finding="warn")


def test_training_is_the_same_with_and_without(tmp_path: Path) -> None:
    without = train(tmp_path / "a", 1.0)
    assert train(tmp_path / "b", 1.0, on_finding=lambda finding: None) == without


def test_a_function_may_end_training(tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    def stop(finding: Finding) -> None:
        raise Enough(finding.title)

    for on_error in ("raise", "warn"):
        with pytest.raises(Enough, match="Learning rate too high"):
            train(tmp_path / on_error, 1.0, on_finding=stop, on_error=on_error)


def train_by_hand(folder: Path) -> None:
    parameter = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([parameter])
    with AdamDebugCallback([("w", parameter)], optimizer, log_dir=folder, on_finding="warn"):
        for _ in range(4):
            parameter.grad = torch.ones(3)
            optimizer.step()


def test_a_diagnosis_that_fails_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(live_module, "diagnose", fail)
    with pytest.warns(UserWarning, match="wrong.*findings are left out from now on") as caught:
        train_by_hand(tmp_path)
    assert len(caught) == 1
    assert load_runs(tmp_path)[0].steps.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(("value", "error"), [("loud", ValueError), (3, TypeError)])
def test_what_on_finding_may_be(tmp_path: Path, value: Any, error: type[Exception]) -> None:
    parameter = nn.Parameter(torch.ones(3))
    with pytest.raises(error, match="on_finding"):
        AdamDebugCallback(
            [("w", parameter)], torch.optim.Adam([parameter]), log_dir=tmp_path, on_finding=value
        )


# --- what is kept -------------------------------------------------------------------------------

NAMES = tuple(statistic.name for statistic in schema.STATISTICS)
LAYOUT = schema.Layout(
    (schema.Parameter("layers.0.weight", (32, 32), "float32", 1024, 0),),
    (schema.Group("AdamW", {}),),
    NAMES,
    (),
)


def add(live: LiveDiagnosis, step: int, layout: schema.Layout = LAYOUT) -> list[Finding]:
    columns = schema.Columns((*schema.STEP_COLUMNS, "loss"))
    row = np.array([[step, step, 1.0, 1e-3, 0.1, 0.0, 0.0, 1.0, 1 / step]])
    live.add_rows(StepRows(columns, row, 0))
    statistics = np.full((1, len(NAMES)), 0.01, np.float32)
    statistics[0, NAMES.index("weight_rms")] = 0.1
    hyperparameters = np.array([[1e-3, 0.9, 0.999, 1e-8, 0.01]])
    return live.add_record(
        layout, step, float(step), statistics, schema.HYPERPARAMETERS.names, hyperparameters
    )


def steps_of(live: LiveDiagnosis) -> list[float]:
    assert live._diagnosis is not None
    run = live._diagnosis.signals.run
    known: list[float] = run.step.tolist()
    assert all(values.shape[0] == len(known) for values in run.statistics.values())
    assert all(len(v) == len(run.every_step["step"]) for v in run.every_step.values())
    return known


def test_the_start_and_the_end_of_a_long_run_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "_MOST_RECORDS", 40)
    monkeypatch.setattr(live_module, "_MOST_STEPS", 60)
    live = LiveDiagnosis(None)
    for step in range(1, 201):
        add(live, step)
    known = steps_of(live)
    assert len(known) <= 40
    assert known[:16] == list(range(1, 17))
    assert known[-10:] == list(range(191, 201))
    assert live._diagnosis is not None
    every = live._diagnosis.signals.run.every_step["step"]
    assert len(every) <= 60
    assert every[-1] == 200


def test_steps_that_are_numbered_anew_start_anew() -> None:
    live = LiveDiagnosis(None)
    for step in (1, 2, 3, 2, 3):
        add(live, step)
    assert steps_of(live) == [2, 3]


def add_norm(live: LiveDiagnosis, step: int, gradient_norm: float) -> list[Finding]:
    row = np.array([[step, step, gradient_norm, 1e-3, 0.1, 0.0, 0.0, 1.0]])
    live.add_rows(StepRows(schema.Columns(schema.STEP_COLUMNS), row, 0))
    statistics = np.full((1, len(NAMES)), 0.01, np.float32)
    statistics[0, NAMES.index("weight_rms")] = 0.1
    hyperparameters = np.array([[1e-3, 0.9, 0.999, 1e-8, 0.01]])
    return live.add_record(
        LAYOUT, step, float(step), statistics, schema.HYPERPARAMETERS.names, hyperparameters
    )


def test_what_comes_back_is_told_again() -> None:
    live = LiveDiagnosis(None)
    told = {}
    for step in range(1, 401):
        found = add_norm(live, step, 60.0 if step in (100, 101, 300) else 1.0)
        spikes = [finding for finding in found if finding.rule == "gradient_spike"]
        if spikes:
            told[step] = [finding.first_step for finding in spikes]
    assert told == {100: [100], 300: [300]}
    # So is what comes after the counter was set back.
    for step in range(1, 80):
        add_norm(live, step, 1.0)
    assert [f.rule for f in add_norm(live, 80, 60.0)] == ["gradient_spike"]


def test_what_is_about_a_setting_is_told_once_wherever_it_is_worst() -> None:
    live = LiveDiagnosis(None)
    told, worst = [], []
    for step, ratio in ((1, 0.1), (10, 0.1), (25, 0.15), (40, 0.15)):
        statistics = np.full((1, len(NAMES)), 0.01, np.float32)
        statistics[0, NAMES.index("weight_rms")] = 0.1
        statistics[0, NAMES.index("update_to_weight_ratio")] = ratio
        hyperparameters = np.array([[1e-3, 0.9, 0.999, 1e-8, 0.01]])
        names = schema.HYPERPARAMETERS.names
        found = live.add_record(LAYOUT, step, float(step), statistics, names, hyperparameters)
        told += [(step, f.rule) for f in found if f.rule == "lr_too_high"]
        assert live._diagnosis is not None
        worst += [f.first_step for f in live._diagnosis.findings if f.rule == "lr_too_high"]
    assert worst == [1, 16, 31]  # past where it was seen before, each time
    assert told == [(10, "lr_too_high")]


def test_another_layout_starts_anew() -> None:
    live = LiveDiagnosis(1000)
    add(live, 1)
    two = schema.Layout(
        (schema.Parameter("other.weight", (8, 8), "float32", 64, 0),), LAYOUT.groups, NAMES, ()
    )
    add(live, 2, two)
    assert steps_of(live) == [2]
    assert live._diagnosis is not None
    assert live._diagnosis.signals.run.length == 1000


def test_a_column_that_is_new_is_nan_before() -> None:
    live = LiveDiagnosis(None)
    plain = schema.Columns(schema.STEP_COLUMNS)
    for step in range(1, 41):
        live.add_rows(StepRows(plain, np.array([[step, 0, 1, 1, 1, 0, 0, 1.0]]), 0))
    add(live, 41)
    assert live._diagnosis is not None
    loss = live._diagnosis.signals.run.every_step["loss"]
    assert np.isnan(loss[:40]).all()
    assert loss[40] == 1 / 41


def test_rules_need_nothing_that_training_does_not_have() -> None:
    assert {name for rule in RULES for name in rule.needs} - {
        *NAMES, *schema.STEP_COLUMNS, *schema.OPTIONAL_STEP_COLUMNS, *schema.HYPERPARAMETERS.names
    } <= {"loss", "gradient_norm_before_clip", "state_step"}  # fmt: skip
