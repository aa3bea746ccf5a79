"""One sentence tells what max_overhead left out, wherever the findings are read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from in_process import PluginClient
from synthetic_runs import make_run
from torch import nn

from tb_adam_plugin import cli
from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.schedule import overhead
from tb_adam_plugin.diagnosis.engine.recorded_run import RecordedRun
from tb_adam_plugin.diagnosis.engine.recording import thinned_records
from tb_adam_plugin.run_data import load_runs


@pytest.fixture(autouse=True)
def recording_may_take_any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most a minute, so only what a test sets is left out."""
    monkeypatch.setattr(overhead, "ALLOWANCE_SECONDS", 60.0)


def recorded(made: list[float], wanted: list[float] | None, limit: float) -> RecordedRun:
    run = make_run()
    columns = {
        "step": np.arange(1.0, len(made) + 1),
        "every_n_steps": np.array(made),
        "max_overhead": np.full(len(made), limit),
    }
    if wanted is not None:
        columns["wanted_every_n_steps"] = np.array(wanted)
    records = np.flatnonzero(columns["step"] % columns["every_n_steps"] == 0)
    return replace(run, step=columns["step"][records], every_step=columns)


def test_the_sentence_names_the_steps_the_intervals_and_the_option() -> None:
    run = recorded([2.0] * 2 + [8.0] * 20 + [4.0] * 2, [2.0] * 22 + [4.0] * 2, 0.01)
    assert thinned_records(run) == (
        "4 records instead of about 12, fewer from step 3 to 22: more would "
        "have exceeded 1 % of the training time and the 10 seconds allowed before that applies, "
        "part of which is reserved for later steps. To get more, "
        "give AdamDebugCallback max_overhead=0.05, or 1 for no limit."
    )
    until_now = thinned_records(recorded([1, 4, 4, 4, 4], [1, 1, 1, 1, 2], 0.5))
    assert "fewer from step 2 on: more would have exceeded 50 % of" in until_now
    assert until_now.endswith("give AdamDebugCallback max_overhead=1, which means no limit.")


def test_closer_looks_at_jumps_are_no_records_of_the_schedule() -> None:
    run = recorded([1.0] * 4 + [8.0] * 196, [1.0] * 200, 0.01)
    jump = np.arange(101.0, 165.0)
    said = thinned_records(replace(run, step=np.union1d(run.step, jump)))
    assert said.startswith("85 records instead of about 200, fewer from step 5 on: ")


def test_a_part_without_records_is_told_though_the_first_steps_have_many() -> None:
    run = recorded([1.0] * 400 + [40.0] * 80, [1.0] * 400 + [4.0] * 80, 0.01)
    assert thinned_records(run).startswith("2 records instead of about 20 from step 401")
    short = recorded([1.0] * 400 + [40.0] * 40, [1.0] * 400 + [4.0] * 40, 0.01)
    assert thinned_records(short) == ""


def test_gradient_norms_that_were_left_out_are_told() -> None:
    run = recorded([1.0] * 100, [1.0] * 100, 0.01)
    columns = {
        **run.every_step,
        "gradient_norm_every_n_steps": np.repeat([np.nan, 4.0], [20, 80]),
    }
    said = thinned_records(replace(run, every_step=columns))
    assert said.startswith("one gradient norm about every 4 steps from step 21 on: more would")
    columns["every_n_steps"] = np.repeat([1.0, 10.0], [20, 80])
    said = thinned_records(replace(run, step=run.step[:20], every_step=columns))
    assert said.startswith("20 records instead of about 100, fewer from step 21 on; one")


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        ([1, 1, 2, 5], [1, 1, 2, 5]),
        ([1, 1, 2, 5], None),  # an older run does not say what was asked for
        ([4, np.nan], [4, np.nan]),
        ([1] * 19 + [8], [1] * 20),  # nearly all are there
        ([], []),
    ],
)
def test_nothing_is_said_of_a_run_with_all_its_records(
    made: list[float], wanted: list[float] | None
) -> None:
    assert thinned_records(recorded(made, wanted, 0.01)) == ""


def train(folder: Path, steps: int = 60) -> None:
    weight = nn.Parameter(torch.ones(64))
    optimizer = torch.optim.AdamW([weight])
    named = [("weight", weight)]
    with AdamDebugCallback(named, optimizer, log_dir=folder, total_steps=steps, on_error="raise"):
        for _ in range(steps):
            weight.grad = torch.ones(64)
            optimizer.step()


def test_command_line_and_tab_say_what_was_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path / "whole")
    monkeypatch.setattr(overhead, "ALLOWANCE_SECONDS", 0.0)
    train(tmp_path / "thinned")
    thinned, whole = load_runs(tmp_path)
    assert thinned.name == "thinned"
    assert whole.steps.tolist() == list(range(1, 61))
    assert {1, 2, 4, 8, 16, 32, 60} <= set(thinned.steps.tolist()) < set(range(1, 61))
    sentence = thinned.diagnosis.recording
    count = len(thinned.steps)
    assert sentence.startswith(f"{count} records instead of about 60, fewer from step ")
    assert whole.diagnosis.recording == ""
    client = PluginClient(tmp_path)

    def found(name: str) -> Any:
        return json.loads(client.get("findings", run=f"{name}/adam_debug").data)

    assert found("thinned")["recording"] == sentence
    assert found("whole")["recording"] == ""
    assert cli.main(["diagnose", str(tmp_path)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.count("records instead of") == 1
    assert sentence in printed
    assert cli.main(["diagnose", "--json", str(tmp_path)]) == 0
    described = json.loads(capsys.readouterr().out)["runs"]
    assert {run["run"]: run["recording"] for run in described} == {"thinned": sentence, "whole": ""}
