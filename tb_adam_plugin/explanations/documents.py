"""The documents that are read offline: where they are, and what stands below a heading."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from tb_adam_plugin.languages.catalogues import ENGLISH

HOW_TO_READ = "how-to-read.md"
RULES = "rules.md"

# Where they are in a checkout. setup.py copies them into the package when it is built.
_CHECKOUT = Path(__file__).parents[2] / "docs"
_HEADING = re.compile(r"^(#+) +(.*?) *$", re.MULTILINE)
_CELL = re.compile(r"(?<!\\)\|")


class Section(NamedTuple):
    """What stands below one heading.

    Attributes:
        heading: Without the marks before it.
        markdown: Up to the next heading of its level or of a higher one.
    """

    heading: str
    markdown: str


class Row(NamedTuple):
    """One row of a table.

    Attributes:
        first: Its first cell, which says what it is about.
        cells: The other cells that are not empty, each below the heading of its column.
    """

    first: str
    cells: tuple[Section, ...]


@cache
def document(name: str, language: str = ENGLISH) -> str:
    """Return a document, or "" where there is none in that language.

    Args:
        name: :data:`HOW_TO_READ` or :data:`RULES`.
        language: One of those of the catalogues.
    """
    path = name if language == ENGLISH else f"{language}/{name}"
    installed = resources.files(__package__).joinpath(f"documents/{path}")
    for place in (installed, _CHECKOUT / path):
        if place.is_file():
            return place.read_text("utf-8")
    return ""


def sections(text: str) -> Iterator[Section]:
    """Go through the sections of a document, those within others too."""
    found = list(_HEADING.finditer(text))
    for place, heading in enumerate(found):
        later = (m for m in found[place + 1 :] if len(m[1]) <= len(heading[1]))
        end = next((m.start() for m in later), len(text))
        yield Section(heading[2], text[heading.end() : end].strip())


def rows(text: str) -> Iterator[Row]:
    """Go through the rows of all tables of a document."""
    columns: list[str] = []
    for line in text.splitlines():
        if not line.startswith("|"):
            columns = []
            continue
        cells = [cell.strip().replace("\\|", "|") for cell in _CELL.split(line.strip())[1:-1]]
        if not columns:
            columns = [cell[:1].upper() + cell[1:] for cell in cells]
        elif not all(set(cell) <= set("-: ") for cell in cells):
            named = zip(columns[1:], cells[1:], strict=False)
            yield Row(cells[0], tuple(Section(name, cell) for name, cell in named if cell))


def anchor(heading: str) -> str:
    """Return what GitHub calls a heading in a link: letters, marks, digits, hyphens."""
    kept = (c for c in heading.lower() if c in " -_" or unicodedata.category(c)[0] in "LMN")
    return "".join(kept).replace(" ", "-")
