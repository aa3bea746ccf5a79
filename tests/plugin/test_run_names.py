"""Names of runs in the commands."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from event_files import write_run

from tb_adam_plugin.cli import main


@pytest.mark.parametrize("below", ["", "one"])
def test_export_names_a_run_as_diagnose_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], below: str
) -> None:
    folder, out = tmp_path / "logs", tmp_path / "out.csv"
    write_run(folder / below / "adam_debug", range(1, 4))
    assert main(["diagnose", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert main(["export", str(folder), "--csv", str(out)]) == 0
    with out.open(newline="", encoding="utf-8") as file:
        (name,) = {row["run"] for row in csv.DictReader(file)}
    assert name == (below or str(folder))
    assert printed.startswith(f"{name}: ")
