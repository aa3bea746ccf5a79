"""Direct reading of files and TensorBoard's loaders give the same answers for the same folder."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from damaged_runs import write_odd_run
from generated_logs import write_run
from generated_runs import Run
from in_process import PluginClient
from tensorboard_process import TensorBoard, running_tensorboard

from tb_adam_plugin.cli import main
from tb_adam_plugin.run_data import load_runs
from tb_adam_plugin.serving.json_answers import finding_fields

SEEDS = 60
RUNS = 6


def routes(run: dict[str, Any]) -> list[str]:
    """A question to each route about a run."""
    name = quote(run["run"])
    asked = [f"steps?run={name}", f"hyperparameters?run={name}", f"gradient_norms?run={name}"]
    asked += [f"overview?run={name}&statistic={s}&columns=4096" for s in run["statistics"]]
    asked += [f"scalar?run={quote(s['run'])}&tag={quote(s['tag'])}" for s in run["scalars"]]
    for parameter in run["parameters"]:
        quoted = quote(parameter["name"])
        asked.append(f"series?run={name}&parameter={quoted}")
        quantities = "".join(f"&quantity={q['name']}" for q in run["quantities"])
        asked.append(f"histograms?run={name}&parameter={quoted}{quantities}")
    return [*asked, f"findings?run={name}"]


def without_revision(summary: dict[str, Any]) -> dict[str, Any]:
    """What both sources know: TensorBoard's lists have the largest step, of a dead training too."""
    runs = [{k: v for k, v in run.items() if k != "last_step"} for run in summary["runs"]]
    return {**summary, "runs": runs, "revision": None}


def largest_step(client: PluginClient, run: dict[str, Any]) -> int:
    """The last step that a run shows anywhere."""
    _, rows = client.packed("steps", run=run["run"])
    statistic = run["statistics"][0]
    _, overview = client.packed("overview", run=run["run"], statistic=statistic, columns=4096)
    return int(max([*rows["values"][0], *overview["last_step"]]))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_route_says_the_same(tmp_path: Path, seed: int) -> None:
    source = random.Random(seed)
    for name in ("one", "two/below"):
        write_odd_run(source, tmp_path / name)
    files, provider = PluginClient(tmp_path, files=True), PluginClient(tmp_path)
    summary = files.json("summary")
    assert summary["runs"]
    for client in (files, provider):
        for run in client.json("summary")["runs"]:
            for route in routes(run):
                client.open(route)
    # Reading has shown what is to be told.
    assert without_revision(files.json("summary")) == without_revision(provider.json("summary"))
    for run in files.json("summary")["runs"]:
        assert run["last_step"] == largest_step(files, run)
        for route in routes(run):
            found, expected = files.open(route), provider.open(route)
            assert found.status_code == expected.status_code == 200, (route, found.text)
            assert found.data == expected.data, route


# --- one diagnosis, wherever it is read ---------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    written = tmp_path_factory.mktemp("agree")
    source = random.Random(2024)
    for number in range(RUNS):
        write_odd_run(source, written / f"run{number}")
    write_run(written / "gpt", Run(steps=150, parameters=14, lr=3e-2, spike_at=90))
    write_run(written / "restarted", Run(steps=150, parameters=14, nan_at=120))
    write_run(written / "restarted", Run(steps=80, parameters=14, seed=1))
    return written


@pytest.fixture(scope="module")
def in_notebook(folder: Path) -> dict[str, list[Any]]:
    """The findings of each run, as a notebook has them."""
    found = {
        run.name: [finding_fields(run.name, finding) for finding in run.findings()]
        for run in load_runs(folder)
    }
    assert len(found) >= RUNS
    assert sum(map(len, found.values())) > RUNS
    return {name: json.loads(json.dumps(findings)) for name, findings in found.items()}


def alike(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Findings without what TensorBoard calls the run."""
    return [{key: value for key, value in one.items() if key != "run"} for one in findings]


def test_the_command_line_finds_what_a_notebook_does(
    folder: Path, in_notebook: dict[str, list[Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diagnose", str(folder), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)["runs"]
    assert {run["run"]: alike(run["findings"]) for run in printed} == {
        name: alike(findings) for name, findings in in_notebook.items()
    }


@pytest.mark.parametrize("loader", ["true", "false"])
def test_the_tab_finds_what_a_notebook_does(
    folder: Path, in_notebook: dict[str, list[Any]], loader: str
) -> None:
    expected = {name: alike(findings) for name, findings in in_notebook.items()}
    latest: dict[str, list[Any]] = {}

    def are_found(tensorboard: TensorBoard) -> bool:
        latest.clear()
        for run in json.loads(tensorboard.ask("summary").body)["runs"]:
            answer = tensorboard.ask(f"findings?run={quote(run['run'])}")
            assert answer.status == 200, answer.text
            latest[run["name"]] = alike(json.loads(answer.body)["findings"])
        return latest == expected

    with running_tensorboard(folder, f"--load_fast={loader}") as tensorboard:
        # TensorBoard has the loss beside a run when it has loaded it.
        end = time.monotonic() + 30
        while not are_found(tensorboard) and time.monotonic() < end:
            time.sleep(0.5)
    assert latest == expected
