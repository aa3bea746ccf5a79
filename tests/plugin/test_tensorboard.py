"""The plugin in real ``tensorboard`` processes, with both of TensorBoard's data loaders."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
import pytest
from event_files import (
    counts_of,
    event,
    make_layout,
    scalar_event,
    statistics_of,
    step_tensors,
    write_events,
    write_run,
)
from in_process import unpack
from tensorboard_process import TensorBoard, running_tensorboard, wait_until

from tb_adam_plugin import schema

LAYOUT = make_layout()
OF_ANOTHER_PROCESS = make_layout(["conv2.weight"])
MANY = 2000
GRADIENT_NORMS = np.array([[1.0, 2.0], [1.5, 2.5], [40.0, 3.0]])
FLIPS = 60

# Makes importing the plugin fail, as a missing dependency would.
BROKEN_PLUGIN = """
import sys

class Broken:
    def find_spec(self, name, path=None, target=None):
        if name == "tb_adam_plugin.serving.plugin":
            raise ImportError("broken on purpose")

sys.meta_path.insert(0, Broken())
"""


# As scripts start TensorBoard, and as %tensorboard does in a notebook.
STARTED_BY_A_SCRIPT = """
import sys
from tensorboard import program

board = program.TensorBoard()
board.configure(argv=["tensorboard", "--logdir", sys.argv[1], "--port", "0"])
print(board.launch(), flush=True)
sys.stdin.read()
"""
STARTED_BY_A_NOTEBOOK = """
import os, signal, sys
from tensorboard import manager

started = manager.start(["--logdir", sys.argv[1], "--port", "0"])
print(f"http://localhost:{started.info.port}/", flush=True)
sys.stdin.read()
os.kill(started.info.pid, signal.SIGTERM)
"""


def packed(
    tensorboard: TensorBoard, question: str
) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    answer = tensorboard.ask(question)
    assert answer.status == 200, answer.text
    return unpack(answer.body)


def steps_of(tensorboard: TensorBoard, run: str) -> list[float]:
    """The logged steps of a run, or none while TensorBoard has not loaded it."""
    answer = tensorboard.ask(f"overview?columns=4096&run={quote(run)}")
    if answer.status == 404:
        return []
    assert answer.status == 200, answer.text
    steps: list[float] = unpack(answer.body)[1]["first_step"].tolist()
    return steps


def write_damaged_runs(folder: Path) -> None:
    """Runs of ten events, each with another byte of the fifth event flipped."""
    events = [event(t, step_tensors(LAYOUT, t, histograms=True)) for t in range(1, 11)]
    for position in np.linspace(0, len(events[4]) - 1, FLIPS).astype(int).tolist():
        damaged = bytearray(events[4])
        damaged[position] ^= 0xFF
        write_events(folder / f"flipped{position}", [*events[:4], bytes(damaged), *events[5:]])


@pytest.fixture(scope="module", params=["true", "false"])
def logs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A log directory of good, growing and damaged runs, and a TensorBoard that serves it."""
    folder = tmp_path_factory.mktemp(f"load_fast_{request.param}")
    write_run(folder / "many" / "adam_debug", range(1, MANY + 1), LAYOUT, histograms=True)
    write_events(folder / "many", [scalar_event(t, {"loss": 1 / t}) for t in (1, 2, 3)])
    norms = schema.gradient_norms_tensor(
        [p.name for p in LAYOUT.parameters], np.array([7, 8, 9]), GRADIENT_NORMS
    )
    write_events(folder / "many" / "adam_debug", [event(9, [norms])])
    write_run(folder / "staged" / "adam_debug", range(1, 6), LAYOUT)
    write_run(folder / "staged" / "adam_debug_rank1", range(1, 6), OF_ANOTHER_PROCESS)
    write_run(folder / "live", range(1, 6), LAYOUT)
    write_run(folder / "truncated", range(1, 6), LAYOUT)
    write_damaged_runs(folder / "damaged")
    with running_tensorboard(folder, f"--load_fast={request.param}") as tensorboard:
        yield folder, tensorboard


@pytest.fixture
def folder(logs: tuple[Path, TensorBoard]) -> Path:
    return logs[0]


@pytest.fixture
def tensorboard(logs: tuple[Path, TensorBoard]) -> Iterator[TensorBoard]:
    """The process, which no test may end."""
    yield logs[1]
    assert logs[1].alive, logs[1].log
    assert "Traceback" not in logs[1].log


def test_two_thousand_logged_steps_are_all_there(tensorboard: TensorBoard) -> None:
    run = "many/adam_debug"
    everything = [float(t) for t in range(1, MANY + 1)]
    wait_until(lambda: steps_of(tensorboard, run) == everything, f"all steps of {run}")
    # They lie in a file of their own, which is read after the other one.
    norms = f"gradient_norms?run={run}"
    wait_until(lambda: packed(tensorboard, norms)[1]["last_step"].size > 0, f"norms of {run}")

    _, arrays = packed(tensorboard, f"overview?run={run}&columns=4096&statistic=update_rms")
    expected = np.array([statistics_of(LAYOUT, t)[:, 1] for t in range(1, MANY + 1)]).T
    assert (arrays["values"] == expected).all()
    _, arrays = packed(tensorboard, f"steps?run={run}")
    assert arrays["values"][0].tolist() == everything
    _, arrays = packed(tensorboard, f"gradient_norms?run={run}")
    assert arrays["last_step"].tolist() == [7, 8, 9]
    assert arrays["values"] == pytest.approx(GRADIENT_NORMS.T / np.sqrt(8))
    _, arrays = packed(tensorboard, f"hyperparameters?run={run}")
    assert arrays["step"].tolist() == everything
    header, arrays = packed(
        tensorboard,
        f"histograms?run={run}&parameter=conv1.weight&quantity=exp_avg&columns=2000",
    )
    assert header["total"]["steps"] == MANY
    total = np.sum([counts_of(LAYOUT, t)[0, 0, :512] for t in range(1, MANY + 1)], axis=0)
    assert arrays["exp_avg/counts"].sum(axis=0).tolist() == np.trim_zeros(total).tolist()

    runs = {r["run"]: r for r in json.loads(tensorboard.ask("summary").body)["runs"]}
    assert runs[run]["messages"] == []
    assert runs[run]["scalars"] == [{"run": "many", "tag": "loss"}]
    _, arrays = packed(tensorboard, "scalar?run=many&tag=loss")
    assert arrays["step"].tolist() == [1, 2, 3]


def test_parts_of_several_processes_are_one_run(tensorboard: TensorBoard) -> None:
    run = "staged/adam_debug"
    wait_until(lambda: len(steps_of(tensorboard, run)) == 5, "the first part")

    def values() -> list[list[float]]:
        answer: list[list[float]] = packed(
            tensorboard, f"overview?run={run}&columns=4096&statistic=update_rms"
        )[1]["values"].tolist()
        return answer

    expected = [
        statistics_of(layout, t)[row, 1].item()
        for layout in (LAYOUT, OF_ANOTHER_PROCESS)
        for row in range(len(layout.parameters))
        for t in range(1, 6)
    ]
    wait_until(lambda: np.ravel(values()).tolist() == expected, "both parts")
    names = {r["run"]: r["name"] for r in json.loads(tensorboard.ask("summary").body)["runs"]}
    assert names[run] == "staged"
    assert "staged/adam_debug_rank1" not in names


def test_a_live_run_shows_new_steps(folder: Path, tensorboard: TensorBoard) -> None:
    wait_until(lambda: len(steps_of(tensorboard, "live")) == 5, "the first steps")
    before = tensorboard.ask("revision").text
    write_run(folder / "live", [6, 7], LAYOUT)
    wait_until(lambda: tensorboard.ask("revision").text != before, "a new revision")
    wait_until(lambda: steps_of(tensorboard, "live") == [1, 2, 3, 4, 5, 6, 7], "the new steps")


def test_a_record_cut_short_appears_when_the_rest_is_written(
    folder: Path, tensorboard: TensorBoard
) -> None:
    wait_until(lambda: len(steps_of(tensorboard, "truncated")) == 5, "the first steps")
    (path,) = (folder / "truncated").iterdir()
    sixth = event(6, step_tensors(LAYOUT, 6))
    seventh = event(7, step_tensors(LAYOUT, 7))
    with path.open("ab") as file:
        file.write(sixth + seventh[:100])
    wait_until(lambda: len(steps_of(tensorboard, "truncated")) == 6, "the whole record")
    with path.open("ab") as file:
        file.write(seventh[100:])
    wait_until(lambda: len(steps_of(tensorboard, "truncated")) == 7, "the completed record")


def test_a_flipped_byte_harms_neither_the_server_nor_other_runs(
    folder: Path, tensorboard: TensorBoard
) -> None:
    wait_until(lambda: len(steps_of(tensorboard, "many/adam_debug")) == MANY, "the run loaded last")
    damaged = [f"damaged/{path.name}" for path in sorted((folder / "damaged").iterdir())]
    assert len(damaged) == FLIPS
    questions = [
        "overview?run={}",
        "steps?run={}",
        "hyperparameters?run={}",
        "series?run={}&parameter=conv1.bias",
        "histograms?run={}&parameter=conv1.bias&quantity=exp_avg",
    ]
    whole = 0
    for run in damaged:
        answers = [tensorboard.ask(question.format(run)) for question in questions]
        for answer in answers:
            assert answer.status in (200, 404, 503), answer.text
            assert answer.status == 200 or "<" not in answer.text
        whole += all(answer.status == 200 for answer in answers)
    assert whole > FLIPS // 2
    assert tensorboard.ask("summary").status == 200
    assert tensorboard.get("data/plugin/scalars/tags").status == 200


@pytest.mark.parametrize("loader", ["true", "false"])
def test_the_tab_is_listed_and_loads_below_any_path_prefix(tmp_path: Path, loader: str) -> None:
    write_run(tmp_path / "exp1", range(1, 6), LAYOUT)
    arguments = (f"--load_fast={loader}", "--path_prefix=/foo/bar")
    with running_tensorboard(tmp_path, *arguments) as tensorboard:
        assert tensorboard.url.endswith("/foo/bar/")
        wait_until(lambda: len(steps_of(tensorboard, "exp1")) == 5, "the run")
        listed = json.loads(tensorboard.get("data/plugins_listing").body)["adam_debug"]
        assert listed["enabled"] is True
        assert listed["tab_name"] == "Adam Debug"
        page = tensorboard.get("data/plugin_entry.html?name=adam_debug").text
        base = re.search(r'<base href="([^"]+)"', page)
        module = re.search(r'import\("?\./([^")]+)"?\)', page)
        assert base is not None
        assert module is not None
        script = tensorboard.get(f"data/{base[1]}{module[1]}")
        assert script.status == 200
        assert script.headers["Content-Type"] == "text/javascript; charset=utf-8"
        assert tensorboard.ask("nothing").status == 404


@pytest.mark.parametrize("script", [STARTED_BY_A_SCRIPT, STARTED_BY_A_NOTEBOOK])
def test_the_tab_is_there_however_tensorboard_is_started(tmp_path: Path, script: str) -> None:
    write_run(tmp_path / "exp1", range(1, 6), LAYOUT)
    command = [sys.executable, "-c", script, str(tmp_path)]
    # A notebook finds the command on the path; its records of running ones stay in the folder.
    binaries = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": binaries, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        url = process.stdout.readline().strip()

        def ask(path: str) -> Any:
            with urllib.request.urlopen(url + path, timeout=60) as answer:
                return json.loads(answer.read())

        summary = "data/plugin/adam_debug/summary"
        runs = wait_until(lambda: ask(summary)["runs"], "the run")
        listed = ask("data/plugins_listing")["adam_debug"]
        process.communicate()
    assert runs[0]["name"] == "exp1"
    assert listed["tab_name"] == "Adam Debug"


def test_an_empty_log_directory_lists_the_tab_as_inactive(tmp_path: Path) -> None:
    with running_tensorboard(tmp_path, "--load_fast=false") as tensorboard:
        listed = json.loads(tensorboard.get("data/plugins_listing").body)["adam_debug"]
        assert listed["enabled"] is False
        assert json.loads(tensorboard.ask("summary").body)["runs"] == []


@pytest.mark.parametrize("load_fast", ["true", "false"])
def test_every_record_is_shown_however_few_tensorboard_keeps(
    tmp_path: Path, load_fast: str
) -> None:
    write_run(tmp_path / "exp1", range(1, 41), LAYOUT)
    arguments = (f"--load_fast={load_fast}", "--samples_per_plugin=adam_debug=10")
    with running_tensorboard(tmp_path, *arguments) as tensorboard:
        assert steps_of(tensorboard, "exp1") == list(range(1, 41))
        (run,) = json.loads(tensorboard.ask("summary").body)["runs"]
        assert run["messages"] == []

        def is_enabled() -> bool:
            listed = json.loads(tensorboard.get("data/plugins_listing").body)
            return bool(listed["adam_debug"]["enabled"])

        wait_until(is_enabled, "TensorBoard's own reading")


def test_a_plugin_that_cannot_be_imported_only_hides_its_tab(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BROKEN_PLUGIN)
    (tmp_path / "logs").mkdir()
    environment = {"PYTHONPATH": str(tmp_path)}
    with running_tensorboard(tmp_path / "logs", environment=environment) as tensorboard:
        listed = json.loads(tensorboard.get("data/plugins_listing").body)
        assert "adam_debug" not in listed
        assert "scalars" in listed
        assert tensorboard.log.count("broken on purpose") == 1
        assert "Traceback" not in tensorboard.log


def test_tensorboard_still_tells_its_version(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tensorboard.main", "--version"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"\d+\.\d+\.\S+", answer.stdout.strip())
