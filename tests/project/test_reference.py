"""The API reference builds without a warning, its examples run, and it lists what is public."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


@pytest.mark.parametrize("builder", ["html", "doctest"])
def test_the_reference_builds_and_its_examples_run(tmp_path: Path, builder: str) -> None:
    command = [
        sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet",
        "-b", builder, str(REFERENCE), str(tmp_path),
    ]  # fmt: skip
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    if builder == "html":
        page = (tmp_path / "index.html").read_text(encoding="utf-8")
        for name in ("AdamDebugCallback", "load_runs", "Finding", "total_steps", "max_overhead"):
            assert name in page
    else:
        assert "0 failures in tests" in (tmp_path / "output.txt").read_text(encoding="utf-8")
