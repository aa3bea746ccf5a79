"""Conveniences of the commands: a default folder, progress, defaults in the help."""

from __future__ import annotations

import importlib
import io
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from generated_logs import write_run
from generated_runs import Run

from tb_adam_plugin import cli
from tb_adam_plugin.commands import demo, progress
from tb_adam_plugin.commands.language import width_of
from tb_adam_plugin.commands.progress import Progress
from tb_adam_plugin.diagnosis.rules.registry import RULES


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    write_run(folder / "runs" / "spiked", Run(steps=160, spike_at=150))
    return folder


def test_without_a_folder_the_usual_one_is_read(
    logs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(logs)
    assert cli.main(["diagnose", "--lang", "en"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("spiked: ")
    assert printed.err == f"adam-debug: no folder given: reading {logs / 'runs'}\n"
    monkeypatch.chdir(logs / "runs" / "spiked")
    assert cli.main(["diagnose", "--lang", "en"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(".: ")
    assert printed.err.endswith(f"reading {logs / 'runs' / 'spiked'}\n")


def test_where_there_is_no_run_the_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["diagnose", "--lang", "en"]) == 2
    assert f"reading {tmp_path}\n" in capsys.readouterr().err


def test_json_has_the_evidence_of_each_finding(
    logs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["diagnose", str(logs), "--json"]) == 0
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    statistic_of = {rule.id: rule.statistic for rule in RULES}
    assert run["findings"]
    for finding in run["findings"]:
        assert finding["statistic"] == statistic_of[finding["rule"]]
        assert {"value", "threshold", "parameters", "from", "to", "at"} <= set(finding)
        assert all(len(point) == 2 for point in finding["course"])


@pytest.mark.parametrize(
    ("command", "defaults"),
    [
        ("diagnose", ("./runs", "default: never", "default: text")),
        ("compare", ("./runs", "default: all runs", "default: text")),
        ("export", ("./runs",)),
        ("explain", ("default: list them all",)),
        ("demo", (f"default: {demo.FOLDER}", "default: all of them")),
    ],
)
def test_the_help_says_what_is_done_by_default(
    command: str, defaults: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for default in (*defaults, "default: ADAM_DEBUG_LANG"):
        assert default in text


# --- progress -----------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def __init__(self, is_terminal: bool = True) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


def shown_on(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, patience: float, text: str = "reading"
) -> str:
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress, "PATIENCE", patience)
    with Progress().on(text):
        end = time.monotonic() + 5
        while text[:5] not in terminal.getvalue() and time.monotonic() < end and patience == 0:
            time.sleep(0.01)
    return terminal.getvalue()


def test_progress_is_shown_on_a_terminal_and_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = shown_on(Terminal(), monkeypatch, 0.0)
    assert shown == "\r\x1b[Kreading\r\x1b[K"


def test_what_is_quick_is_not_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "reading" not in shown_on(Terminal(), monkeypatch, 60.0)


def test_what_is_no_terminal_gets_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown_on(Terminal(is_terminal=False), monkeypatch, -1.0) == ""


def test_a_long_line_does_not_wrap(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = shown_on(Terminal(), monkeypatch, 0.0, "读取" * 60).split("\r\x1b[K")[1]
    assert width_of(shown) <= 80
    assert shown.endswith("…")


# --- demonstrations -----------------------------------------------------------------------------


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Path]]:
    """What would be trained, and where."""
    known = [SimpleNamespace(name=name) for name in ("dead_units", "updates_lost")]
    stand_in = SimpleNamespace(DEMONSTRATIONS=known)
    monkeypatch.setattr(importlib, "import_module", lambda name: stand_in)
    called: list[tuple[str, Path]] = []
    monkeypatch.setattr(demo, "_train_both", lambda _, d, folder: called.append((d.name, folder)))
    return called


@pytest.mark.parametrize(
    ("arguments", "folder", "names"),
    [
        (["dead_units"], demo.FOLDER, ["dead_units"]),
        (["dead_units", "--logdir", "out"], "out", ["dead_units"]),
        (["./out", "dead_units"], "out", ["dead_units"]),
        (["./out"], "out", ["dead_units", "updates_lost"]),
        ([], demo.FOLDER, ["dead_units", "updates_lost"]),
        (["updates_lost", "dead_units", "updates_lost"], demo.FOLDER,
         ["updates_lost", "dead_units"]),
    ],
)  # fmt: skip
def test_a_name_is_never_taken_for_a_folder(
    trained: list[tuple[str, Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    folder: str,
    names: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["demo", *arguments]) == 0
    assert trained == [(name, Path(folder) / name) for name in names]


@pytest.mark.parametrize("arguments", [["dead_unit"], ["out", "dead_units"], ["./out", "x"]])
def test_an_unknown_name_trains_nothing(
    trained: list[tuple[str, Path]], capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert cli.main(["demo", *arguments, "--lang", "en"]) == 2
    assert "unknown fault" in capsys.readouterr().err
    assert trained == []


def test_another_demonstration_goes_beside_the_first(
    trained: list[tuple[str, Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dead_units" / "fault").mkdir(parents=True)
    assert cli.main(["demo", "updates_lost", "--logdir", str(tmp_path)]) == 0
    assert len(trained) == 1
    assert cli.main(["demo", "--logdir", str(tmp_path), "--lang", "en"]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert len(trained) == 1
