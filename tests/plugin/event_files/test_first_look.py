"""Many event files, indexed in separate processes or in this one, with the same result."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from event_files import write_run
from in_process import EXPERIMENT, files_of

from tb_adam_plugin.event_files import first_look as module
from tb_adam_plugin.event_files.first_look import first_look
from tb_adam_plugin.event_files.log_roots import LogRoots
from tb_adam_plugin.event_files.run_files import RunFiles
from tb_adam_plugin.reading.store import Store

RUNS = 6


@pytest.fixture(name="folder")
def folder_fixture(tmp_path: Path) -> Path:
    for run in range(RUNS):
        write_run(tmp_path / f"run{run}" / "adam_debug", range(9), histograms=run == 2)
    damaged = next((tmp_path / "run1" / "adam_debug").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:-7])
    return tmp_path


@pytest.fixture(name="processes")
def processes_fixture(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """What is started from now on, for however little."""
    started: list[subprocess.Popen[bytes]] = []

    class Noted(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self)

    monkeypatch.setattr(module, "_MANY_FILES", 1)
    monkeypatch.setattr(subprocess, "Popen", Noted)
    return started


def contents(found: dict[str, RunFiles]) -> dict[str, Any]:
    return {
        run: {tag: series._replace(files=()) for tag, series in files.series().items()}
        for run, files in found.items()
    }


def looked_at_here(runs: dict[str, list[str]]) -> dict[str, RunFiles]:
    found = {}
    for run, paths in runs.items():
        found[run] = RunFiles(is_ours=True)
        found[run].update(paths, 0)
    return found


def test_processes_find_what_is_found_here(
    folder: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    runs = LogRoots.of_folder(folder).event_files()
    found = first_look(runs)
    assert processes
    assert all(process.returncode == 0 for process in processes)
    assert found.keys() == runs.keys()
    assert contents(found) == contents(looked_at_here(runs))


def test_every_index_has_a_number_of_its_own(
    folder: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    found = first_look(LogRoots.of_folder(folder).event_files())
    assert processes
    numbers = {s.files for files in found.values() for s in files.series().values()}
    assert len(numbers) == RUNS


def test_runs_that_processes_looked_at_grow(
    folder: Path, processes: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = files_of(folder)
    store = Store(source)
    (run, *_) = store.runs(EXPERIMENT).runs
    assert processes
    before = store.statistic(EXPERIMENT, run.run, "update_rms").step.tolist()
    write_run(folder / "run0" / "adam_debug", [100, 101])
    monkeypatch.setattr(source, "_good_until", 0.0)
    assert store.statistic(EXPERIMENT, run.run, "update_rms").step.tolist() == [*before, 100, 101]


@pytest.mark.parametrize(
    "program",
    [
        pytest.param("import sys; sys.exit(3)", id="that fails"),
        pytest.param("print('Welcome!')", id="that prints"),
        pytest.param("import os; os.write(1, b'\\x80\\x05')", id="that is killed"),
    ],
)
def test_what_a_process_has_not_found_is_looked_at_here(
    folder: Path,
    processes: list[subprocess.Popen[bytes]],
    program: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noted = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda command, **o: noted([command[0], "-c", program], **o)
    )
    runs = Store(files_of(folder)).runs(EXPERIMENT)
    assert processes
    assert len(runs.runs) == RUNS
    assert not runs.messages


def test_no_process_is_started_for_little(
    folder: Path, processes: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MANY_FILES", RUNS + 1)
    assert not first_look(LogRoots.of_folder(folder).event_files())
    assert not processes


@pytest.mark.parametrize("executable", [None, "", "/opt/app/trainer"])
def test_no_program_is_started_that_may_not_be_python(
    folder: Path,
    processes: list[subprocess.Popen[bytes]],
    executable: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    assert not first_look(LogRoots.of_folder(folder).event_files())
    assert not processes


def test_modules_in_the_current_folder_are_not_imported(
    folder: Path,
    processes: list[subprocess.Popen[bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    for name in ("numpy", "random", "pickle", "tb_adam_plugin"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the module of a user')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    runs = LogRoots.of_folder(folder).event_files()
    assert first_look(runs).keys() == runs.keys()
    assert not caplog.records
