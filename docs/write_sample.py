"""Write the output of ``adam-debug diagnose`` for the quickstart's program into the READMEs.

``python docs/write_sample.py`` trains the program's two runs, which takes seconds.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Pages, and their languages.
PAGES = {"README.md": "en", "README.zh-CN.md": "zh"}
ILL_RUN = "lr_0.3"
_SAMPLE = re.compile(r"(?<=^```text\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)


def train(folder: Path) -> None:
    """Run the quickstart's program in a folder."""
    text = (ROOT / "docs/quickstart.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    subprocess.run([sys.executable, "-c", program], cwd=folder, check=True, capture_output=True)


def sample(folder: Path, language: str) -> str:
    """Return the head line and the first finding that the command prints for the ill run."""
    command = [sys.executable, "-m", "tb_adam_plugin.cli", "diagnose", "runs"]
    environment = {**os.environ, "ADAM_DEBUG_LANG": language, "PYTHONUTF8": "1"}
    ended = subprocess.run(
        command, cwd=folder, env=environment, check=True, capture_output=True, encoding="utf-8"
    )
    printed = ended.stdout.splitlines()
    (start,) = (place for place, line in enumerate(printed) if line.startswith(ILL_RUN))
    head, *lines = printed[start:]
    return "\n".join([head, *_first_finding(lines), ""])


def sample_in(page: str) -> str:
    """Return the sample that a page shows."""
    (shown,) = _SAMPLE.findall(page)
    return str(shown)


def _first_finding(lines: list[str]) -> Iterator[str]:
    is_found = False
    for line in lines:
        if is_found and not line.startswith("     "):
            return
        # A finding starts with its severity, indented by two; its details are indented more.
        is_found = is_found or re.match(r"  \S+ +\S+ .*  \S", line) is not None
        if is_found:
            yield line


def main() -> None:
    """Train the runs and write the pages."""
    with tempfile.TemporaryDirectory() as folder:
        train(Path(folder))
        for name, language in PAGES.items():
            path = ROOT / name
            page = path.read_text(encoding="utf-8")
            printed = sample(Path(folder), language)
            path.write_text(page.replace(sample_in(page), printed), encoding="utf-8")
            print(f"wrote {path}")


if __name__ == "__main__":
    main()
