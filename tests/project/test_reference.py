"""The documentation site builds without a warning, its links lead somewhere, its examples run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

ROOT = Path(__file__).parents[2]


def build(builder: str, folder: Path, *pages: str) -> Path:
    """Build the site, as ``make docs`` does, or some pages of it."""
    command = [
        sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet",
        "-b", builder, "-c", str(ROOT / "docs/site"), str(ROOT), str(folder), *pages,
    ]  # fmt: skip
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("html", tmp_path_factory.mktemp("site"))


def test_the_reference_lists_what_is_public(site: Path) -> None:
    page = (site / "docs/reference/index.html").read_text(encoding="utf-8")
    for name in ("AdamDebugCallback", "load_runs", "Finding", "total_steps", "max_overhead"):
        assert name in page


def test_the_examples_of_the_reference_run(tmp_path: Path) -> None:
    build("doctest", tmp_path)
    said = (tmp_path / "output.txt").read_text(encoding="utf-8")
    assert "docs/reference/index" in said
    assert "0 failures in tests" in said


def test_every_document_is_a_page(site: Path) -> None:
    documents = {
        path.relative_to(ROOT).with_suffix("").as_posix()
        for pattern in ("*.md", "docs/**/*.md", "examples/*.md", "benchmarks/**/*.md")
        for path in ROOT.glob(pattern)
    }
    assert len(documents) > 30
    missing = {name for name in documents if not (site / f"{name}.html").is_file()}
    assert missing == set()
    start = (site / "README.html").read_text(encoding="utf-8")
    for name in documents - {"README"}:
        assert f'href="{name}.html"' in start, name


def test_links_lead_to_pages_headings_and_pictures(site: Path) -> None:
    """Also from the folder itself, and to pictures, which raw HTML would not bring along."""
    assert "url=README.html" in (site / "index.html").read_text(encoding="utf-8")
    pages = {path: path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    missing = []
    for path, text in pages.items():
        for target in re.findall(r'(?:href|src)="([^"]*)"', text):
            address, place = urldefrag(unquote(target))
            if "://" in address or target.startswith("mailto:"):
                continue
            local = address.partition("?")[0]
            file = (path.parent / local).resolve() if local else path
            if not file.is_file() or (
                place and file.suffix == ".html" and f'id="{place}"' not in pages[file]
            ):
                missing.append((path.relative_to(site).as_posix(), target))
    assert missing == []
    gallery = pages[site / "docs/gallery/README.html"]
    assert len(re.findall(r"<img [^>]*_images/\w+\.png", gallery)) == 27
    for name in ("README.html", "README.zh-CN.html"):
        assert "_images/adam_debug_light.png" in pages[site / name]
