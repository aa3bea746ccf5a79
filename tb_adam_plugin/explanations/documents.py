"""The documents for offline reading: where they are, and their sections and tables."""

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

# Their location in a checkout. setup.py copies them into the package at build time.
_CHECKOUT = Path(__file__).parents[2] / "docs"
_HEADING = re.compile(r"^(#+) +(.*?) *$", re.MULTILINE)
_CELL = re.compile(r"(?<!\\)\|")


class Section(NamedTuple):
    """The text below one heading.

    Attributes:
        heading: Without its markup.
        markdown: Up to the next heading of the same or a higher level.
    """

    heading: str
    markdown: str


class Row(NamedTuple):
    """One row of a table.

    Attributes:
        first: Its first cell, which names the subject.
        cells: The other non-empty cells, each with the heading of its column.
    """

    first: str
    cells: tuple[Section, ...]


@cache
def document(name: str, language: str = ENGLISH) -> str:
    """Return a document, or "" if it does not exist in that language.

    Args:
        name: :data:`HOW_TO_READ` or :data:`RULES`.
        language: One of the catalogues' languages.
    """
    path = name if language == ENGLISH else f"{language}/{name}"
    installed = resources.files(__package__).joinpath(f"documents/{path}")
    for place in (installed, _CHECKOUT / path):
        if place.is_file():
            return place.read_text("utf-8")
    return ""


def sections(text: str) -> Iterator[Section]:
    """Iterate over the sections of a document, including nested ones."""
    found = list(_HEADING.finditer(text))
    for place, heading in enumerate(found):
        later = (m for m in found[place + 1 :] if len(m[1]) <= len(heading[1]))
        end = next((m.start() for m in later), len(text))
        yield Section(heading[2], text[heading.end() : end].strip())


def rows(text: str) -> Iterator[Row]:
    """Iterate over the rows of all tables of a document."""
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
    """Return GitHub's anchor of a heading: letters, marks, digits, hyphens."""
    kept = (c for c in heading.lower() if c in " -_" or unicodedata.category(c)[0] in "LMN")
    return "".join(kept).replace(" ", "-")
