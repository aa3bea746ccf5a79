"""The release on the package index: the whole README, for users outside the repository."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from readme_renderer.clean import clean

from tb_adam_plugin import __version__

ROOT = Path(__file__).parents[2]
ADDRESS = "https://forge.example/owner/name"

# Runs setup.py without installing anything, and prints what it would tell the index.
_TOLD = """
import json, sys
import setuptools
told = {}
setuptools.setup = lambda **of_package: told.update(of_package)
source = open("setup.py", encoding="utf-8").read()
assert source.count('REPOSITORY = ""') == 1
source = source.replace('REPOSITORY = ""', f"REPOSITORY = {sys.argv[1]!r}")
exec(compile(source, "setup.py", "exec"), {"__file__": "setup.py", "__name__": "__main__"})
keys = ("long_description", "project_urls", "classifiers", "extras_require", "python_requires")
print(json.dumps({key: told[key] for key in keys}))
"""


def told_index(address: str) -> dict[str, object]:
    """Return what setup.py tells the index of a repository at that address."""
    ended = subprocess.run(
        [sys.executable, "-c", _TOLD, address], cwd=ROOT, check=True, capture_output=True, text=True
    )
    told: dict[str, object] = json.loads(ended.stdout)
    return told


def rendered(address: str) -> str:
    """Return README as the index shows it: what its filter leaves of the HTML."""
    to_html = MarkdownIt("commonmark").enable("table")
    page = clean(to_html.render(str(told_index(address)["long_description"])))
    assert page is not None
    return page


def test_without_an_address_nothing_is_linked_that_is_not_there() -> None:
    page = rendered("")
    assert "<img" not in page
    targets = re.findall(r'href="([^"]*)"', page)
    assert [target for target in targets if not target.startswith("https://")] == []
    assert "](" not in page
    assert told_index("")["project_urls"] == {}


def test_with_an_address_links_and_pictures_lead_to_files_of_the_release() -> None:
    page = rendered(ADDRESS)
    targets = re.findall(r'(?:href|src)="([^"]*)"', page)
    files = [t.removeprefix(f"{ADDRESS}/") for t in targets if t.startswith(ADDRESS)]
    relative = re.findall(r"\]\((?!https:)([^)]+)\)", (ROOT / "README.md").read_text("utf-8"))
    assert len(files) == len(relative) + 1  # and the picture
    for file in files:
        kind, tag, path = file.split("/", 2)
        assert kind == ("raw" if path.endswith(".png") else "blob")
        assert tag == f"v{__version__}"
        assert (ROOT / path.partition("#")[0]).is_file(), path
    assert all(target.startswith("https://") for target in targets)
    assert told_index(ADDRESS)["project_urls"] == {"Source": ADDRESS}


@pytest.mark.parametrize("address", ["", ADDRESS])
def test_everything_else_of_readme_is_shown(address: str) -> None:
    page = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", rendered(address)))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for heading in re.findall(r"^#+ (.*)$", readme, re.MULTILINE):
        assert heading in page
    for code in ("AdamDebugCallback(model, optimizer", "make demo", "Learning rate too high"):
        assert code in page
    assert "source media" not in page


def test_extras_are_for_users_and_every_version_of_python_was_tried() -> None:
    told = told_index("")
    assert set(told["extras_require"]) == {  # type: ignore[call-overload]
        "torch", "plot", "examples", "accelerate", "lightning", "transformers",
    }  # fmt: skip
    page = (ROOT / "docs/compatibility.md").read_text(encoding="utf-8")
    (tried,) = re.findall(r"^\| Python \| (\S+) \| (\S+) \|", page, re.MULTILINE)
    classifiers = "\n".join(told["classifiers"])  # type: ignore[arg-type]
    versions = re.findall(r"Python :: (3\.\d+)$", classifiers, re.MULTILINE)
    assert (versions[0], versions[-1]) == tried
    assert told["python_requires"] == f">={versions[0]}"
