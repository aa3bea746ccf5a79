"""The commands' output for several runs, and how a user may name one."""

from __future__ import annotations

from pathlib import Path

import pytest
from generated_logs import write_run
from generated_runs import Run

from tb_adam_plugin.cli import main
from tb_adam_plugin.commands.diagnose import MOST_WITHOUT_SUMMARY

NAMES = ("ash", "birch", "elm", "oak")
ILL = "elm"


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAM_DEBUG_LANG", "en")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    for name in NAMES:
        run = Run(steps=160, spike_at=150) if name == ILL else Run(steps=160)
        write_run(folder / "runs" / name, run)
    return folder


def printed_of(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> list[str]:
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out.splitlines()


def test_a_summary_of_many_runs_comes_first_with_ill_ones_at_its_head(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed_of(capsys, "diagnose", project / "runs")
    assert len(NAMES) > MOST_WITHOUT_SUMMARY
    assert lines[0] == "4 runs:"
    summary = lines[1 : lines.index("")]
    assert summary[0].startswith("  elm    1 ")
    assert sorted(line.split()[0] for line in summary) == sorted(NAMES)
    details = [line.split(":")[0] for line in lines[6:] if line and line[0] != " "]
    assert details == [*NAMES, "not evaluated in any of these runs"]
    counts = dict(line.split(maxsplit=1) for line in summary)
    for name in NAMES:
        assert f"{name}: {counts[name]}" in lines


def test_of_one_run_there_is_no_summary(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed_of(capsys, "diagnose", project / "runs" / "ash")
    assert lines[0].startswith(f"{project / 'runs' / 'ash'}: ")
    assert "  not evaluated:" in lines


def test_why_no_run_could_be_evaluated_is_said_once(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed_of(capsys, "diagnose", project / "runs")
    alone = printed_of(capsys, "diagnose", project / "runs" / "ash")
    reasons = alone[alone.index("  not evaluated:") + 1 :]
    rules = [line.split(" (")[0].strip() for line in reasons if " (" in line]
    assert rules
    end = lines.index("not evaluated in any of these runs:")
    for rule in rules:
        assert sum(line.strip().startswith(f"{rule} (") for line in lines) == 1
        assert any(line.strip().startswith(f"{rule} (") for line in lines[end:])


def test_an_empty_folder_is_named_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["diagnose"]) == 2
    assert f"no Adam Debug run in {tmp_path}\n" in capsys.readouterr().err


def test_the_language_may_stand_before_the_command(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = project / "runs"
    before = printed_of(capsys, "--lang", "zh", "diagnose", runs)
    assert before == printed_of(capsys, "diagnose", runs, "--lang", "zh")
    assert before[0] == "4 个 run："
    last = printed_of(capsys, "--lang", "zh", "diagnose", runs, "--lang", "en")
    assert last[0] == "4 runs:"


def test_compare_takes_the_folders_of_runs(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    by_name = printed_of(capsys, "compare", "ash", "oak")
    assert by_name == printed_of(capsys, "compare", "runs/ash", "./runs/oak/")
    assert by_name == printed_of(capsys, "compare", "runs/ash/adam_debug", project / "runs/oak")
    assert main(["compare", "runs/ash", "runs/nowhere"]) == 2
    assert "no run runs/nowhere; runs: ash, birch, elm, oak" in capsys.readouterr().err
