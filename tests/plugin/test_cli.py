"""``adam-debug`` in a separate process, on a run recorded by the callback."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from event_files import event, make_layout, step_tensors, write_events
from synthetic_runs import changed, column, make_run, statistic
from torch import nn

from tb_adam_plugin import schema
from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.commands.diagnose import print_table
from tb_adam_plugin.diagnosis.diagnose import Diagnosis, diagnose
from tb_adam_plugin.run_data import Run, load_runs

ROOT = Path(__file__).parents[2]


def adam_debug(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tb_adam_plugin.cli", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={"PYTHONIOENCODING": "utf-8", "PATH": ""},
    )


def train(folder: Path, lr: float, steps: int = 60) -> None:
    """A small network on made-up data."""
    torch.manual_seed(0)
    inputs = torch.randn(256, 10)
    labels = (inputs[:, 0] > 0).long()
    model = nn.Sequential(nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    with AdamDebugCallback(model, optimizer, log_dir=folder, every_n_steps=5) as debug:
        for _ in range(steps):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs), labels)
            loss.backward()
            debug.record(loss=loss)
            optimizer.step()


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logs")
    train(folder / "good", 3e-3)
    train(folder / "fast", 1.0)
    return folder


def test_a_table_names_findings_and_what_to_try(logs: Path) -> None:
    ended = adam_debug("diagnose", logs)
    assert ended.returncode == 0, ended.stderr
    assert "good: nothing found" in ended.stdout
    assert "fast: 1 error" in ended.stdout
    assert "Learning rate too high" in ended.stdout
    assert "→ Try lr " in ended.stdout
    assert max(map(len, ended.stdout.splitlines())) <= 100


def stored_run(diagnosis: Diagnosis) -> Any:
    """The output about a run."""
    return SimpleNamespace(findings=lambda: diagnosis.findings, diagnosis=diagnosis, messages=())


def test_a_cosine_that_is_none_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    run = changed(
        statistic("momentum_gradient_cosine", float("nan"), from_step=50),
        statistic("update_to_weight_ratio", 0.2, to_step=16),
    )
    diagnosis = diagnose(run)
    stored = stored_run(diagnosis)
    print_table(cast(Run, stored), "run")
    told = "  learning rate: no reading: no cosine was recorded while the learning rate was near"
    assert told in capsys.readouterr().out  # without a "(cosine"


def test_a_consequence_names_its_cause_by_its_title(capsys: pytest.CaptureFixture[str]) -> None:
    run = changed(
        statistic("update_to_weight_ratio", 0.246, to_step=16),
        statistic("momentum_gradient_cosine", 0.3, from_step=2),
        column("loss", 50.0, from_step=30),
    )
    diagnosis = diagnose(run)
    assert {"lr_too_high"} == {f.consequence_of for f in diagnosis.findings[1:]}
    stored = stored_run(diagnosis)
    print_table(cast(Run, stored), "run")
    printed = capsys.readouterr().out
    assert "a consequence of “Learning rate too high”" in printed
    assert "lr_too_high" not in printed


def test_why_a_learning_rate_has_no_reading_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    diagnosis = diagnose(changed(statistic("momentum_gradient_cosine", 0.3)))
    stored = stored_run(diagnosis)
    print_table(cast(Run, stored), "run")
    said = "no reading (cosine 0.3): the size of the updates does not confirm the cosine"
    assert f"  learning rate: {said}\n" in capsys.readouterr().out


def test_rules_that_were_not_evaluated_are_said_with_the_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    diagnosis = diagnose(make_run(last=60))
    stored = stored_run(diagnosis)
    print_table(cast(Run, stored), "run")
    printed = " ".join(capsys.readouterr().out.split())
    reason = "5 records after step 20, needs 8: total_steps= or every_n_steps= records more often"
    assert printed.startswith("run: nothing found")
    assert f"dead_units, lr_too_low, bimodal_update ({reason})" in printed
    assert printed.count(reason) == 1


def test_a_folder_that_is_a_run_is_called_by_its_name(logs: Path) -> None:
    assert adam_debug("diagnose", logs / "good").stdout.startswith(f"{logs / 'good'}: nothing")


def test_json_has_every_finding(logs: Path) -> None:
    ended = adam_debug("diagnose", logs, "--json")
    runs = {run["run"]: run for run in json.loads(ended.stdout)["runs"]}
    assert runs["good"]["findings"] == []
    assert runs["fast"]["findings"][0]["rule"] == "lr_too_high"
    assert {"rule", "title", "reason"} == set(runs["good"]["not_evaluated"][0])


@pytest.mark.parametrize(
    ("run", "fail_on", "code"),
    [("good", "warning", 0), ("good", "error", 0), ("fast", "warning", 1), ("fast", "error", 1)],
)
def test_exit_codes_for_continuous_integration(
    logs: Path, run: str, fail_on: str, code: int
) -> None:
    assert adam_debug("diagnose", logs / run, "--fail-on", fail_on).returncode == code


def test_what_cannot_be_read_is_refused_in_one_line(tmp_path: Path) -> None:
    missing = adam_debug("diagnose", tmp_path / "missing")
    empty = adam_debug("diagnose", tmp_path)
    newer = tmp_path / "newer"
    layout = make_layout()
    statistics = step_tensors(layout, 1)[0]
    content = layout.content().replace(b'"version":%d' % schema.VERSION, b'"version":99')
    tensor = schema.TaggedTensor("adam_debug/statistics/abc", statistics.tensor, content)
    write_events(newer, [event(1, [tensor])])
    for ended, reason in (
        (missing, "is not a folder"),
        (empty, "no Adam Debug run in"),
        (adam_debug("diagnose", newer), "update tb-adam-plugin"),
        (adam_debug("diagnose", tmp_path, "--fail-on", "info"), "invalid choice"),
    ):
        assert ended.returncode == 2
        assert reason in ended.stderr
        assert "Traceback" not in ended.stderr


def test_csv_holds_every_number(logs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    assert adam_debug("export", logs / "good", "--csv", out).returncode == 0
    with out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    (run,) = load_runs(logs / "good")
    assert len(rows) == run.steps.size * len(run.parameters)
    ratio = run.statistic("update_to_weight_ratio")
    assert rows[-1]["parameter"] == run.parameters[-1].name
    assert int(rows[-1]["step"]) == run.steps[-1]
    assert float(rows[-1]["update_to_weight_ratio"]) == pytest.approx(ratio[-1, -1], rel=1e-6)
    assert rows[0]["momentum_gradient_cosine"] == ""  # of the first step nothing is known


def test_npz_holds_every_number(logs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.npz"
    assert adam_debug("export", logs, "--npz", out).returncode == 0
    with np.load(out) as arrays:
        for run in load_runs(logs):
            np.testing.assert_array_equal(arrays[f"{run.name}/step"], run.steps)
            names = [p.name for p in run.parameters]
            assert arrays[f"{run.name}/parameters"].tolist() == names
            for name in run.statistics:
                np.testing.assert_array_equal(arrays[f"{run.name}/{name}"], run.statistic(name))


def test_a_file_that_cannot_be_written_is_refused(logs: Path, tmp_path: Path) -> None:
    ended = adam_debug("export", logs, "--csv", tmp_path / "missing" / "out.csv")
    assert ended.returncode == 2
    assert "No such file" in ended.stderr
