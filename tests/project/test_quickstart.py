"""The program in docs/quickstart.md, and the claims about its runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tb_adam_plugin.run_data import load_runs

DOCUMENT = (Path(__file__).parents[2] / "docs/quickstart.md").read_text(encoding="utf-8")


def test_the_program_records_a_run_that_is_wrong_and_one_that_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (program,) = re.findall(r"^```python\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
    exec(compile(program, "docs/quickstart.md", "exec"), {})
    said = {run.name: [f.rule for f in run.findings()] for run in load_runs("runs")}
    assert said["lr_0.3"][0] == "lr_too_high"
    assert said["lr_1e-3"] == []
