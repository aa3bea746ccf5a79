"""The language that the commands speak: which one, and a text in it as a terminal shows it."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from tb_adam_plugin.languages.catalogues import ENGLISH, catalogue, known_language
from tb_adam_plugin.languages.sentences import in_language
from tb_adam_plugin.untrusted_text import printable

VARIABLE = "ADAM_DEBUG_LANG"
# As POSIX has it: the first one that is set says which language messages are in.
_LOCALES = ("LC_ALL", "LC_MESSAGES", "LANG")
# A line may break between two Chinese letters, but not before what closes or after what opens.
_CLOSES = "，。；：！？、）》」』】%)]}”’…"
_OPENS = "（《「『【([{“‘"
_WIDE = r"[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60]"
_PIECES = re.compile(rf"\s+|[{re.escape(_OPENS)}]*(?:{_WIDE}|(?:(?!{_WIDE})\S)+)")

_language: ContextVar[str] = ContextVar("language", default=ENGLISH)


def preferred(environment: Mapping[str, str]) -> str:
    """Return the language that a user's environment asks for.

    Args:
        environment: As ``os.environ``: ``ADAM_DEBUG_LANG`` decides, else the locale.
    """
    for name in (VARIABLE, *_LOCALES):
        if environment.get(name):
            return known_language(environment[name])
    return ENGLISH


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Let :func:`spoken` speak a language."""
    token = _language.set(language)
    try:
        yield
    finally:
        _language.reset(token)


def language() -> str:
    """Return the language that is spoken."""
    return _language.get()


def spoken(text: str) -> str:
    """Return a text in the language that is spoken, harmless for a terminal."""
    return printable(in_language(text, catalogue(_language.get())))


def width_of(text: str) -> int:
    """Return how many columns of a terminal a text takes: two for each Chinese letter."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def padded(text: str, width: int) -> str:
    """Return a text with spaces after it, so that it takes at least so many columns."""
    return text + " " * (width - width_of(text))


def wrapped(text: str, width: int, subsequent_indent: str = "") -> list[str]:
    """Return the lines of a text, each of at most so many columns where words allow it.

    Args:
        text: As it is spoken.
        width: In columns of a terminal.
        subsequent_indent: What all lines but the first start with.
    """
    if width_of(text) == len(text):
        return textwrap.wrap(text, width, subsequent_indent=subsequent_indent)
    lines: list[str] = []
    line = ""
    for piece in _pieces(text):
        if line.strip() and width_of(line + piece.rstrip()) > width:
            lines.append(line.rstrip())
            line = subsequent_indent
            piece = piece.lstrip()
        line += piece
    return [*lines, line.rstrip()] if line.strip() else lines


def _pieces(text: str) -> Iterator[str]:
    """Cut a text where a line may break; spaces stay at the end of a piece."""
    piece = ""
    for found in _PIECES.findall(text):
        if piece and not found.isspace() and found[0] not in _CLOSES and _ends(piece, found):
            yield piece
            piece = ""
        piece += found
    if piece:
        yield piece


def _ends(piece: str, following: str) -> bool:
    """Whether a line may break between two texts: at a space, or beside a Chinese letter."""
    wide = piece[-1].isspace() or width_of(piece[-1]) == 2 or width_of(following[0]) == 2
    return wide and piece[-1] not in _OPENS
