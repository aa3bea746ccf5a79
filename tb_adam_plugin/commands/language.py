"""The language of the commands, and its text formatted for a terminal."""

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
# POSIX: the first of these that is set determines the language of messages.
_LOCALES = ("LC_ALL", "LC_MESSAGES", "LANG")
# A line may break between two Chinese characters, but not before closing or after opening marks.
_CLOSES = "，。；：！？、）》」』】%)]}”’…"
_OPENS = "（《「『【([{“‘"
_WIDE = r"[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60]"
_PIECES = re.compile(rf"\s+|[{re.escape(_OPENS)}]*(?:{_WIDE}|(?:(?!{_WIDE})\S)+)")

_language: ContextVar[str] = ContextVar("language", default=ENGLISH)


def preferred(environment: Mapping[str, str]) -> str:
    """Return the language of a user's environment.

    Args:
        environment: Like ``os.environ``: ``ADAM_DEBUG_LANG`` decides, else the locale.
    """
    for name in (VARIABLE, *_LOCALES):
        if environment.get(name):
            return known_language(environment[name])
    return ENGLISH


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Set the language of :func:`spoken`."""
    token = _language.set(language)
    try:
        yield
    finally:
        _language.reset(token)


def language() -> str:
    """Return the current language."""
    return _language.get()


def spoken(text: str) -> str:
    """Return a text in the current language, harmless for a terminal."""
    return printable(in_language(text, catalogue(_language.get())))


def width_of(text: str) -> int:
    """Return a text's width in terminal columns: two for each Chinese character."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def padded(text: str, width: int) -> str:
    """Pad a text with spaces to at least this many columns."""
    return text + " " * (width - width_of(text))


def wrapped(text: str, width: int, subsequent_indent: str = "") -> list[str]:
    """Return the lines of a text, each within the width if its words allow it.

    Args:
        text: The translated text.
        width: Width in terminal columns.
        subsequent_indent: Start of all lines but the first.
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
    """Split a text where a line may break; spaces stay at the end of a piece."""
    piece = ""
    for found in _PIECES.findall(text):
        if piece and not found.isspace() and found[0] not in _CLOSES and _ends(piece, found):
            yield piece
            piece = ""
        piece += found
    if piece:
        yield piece


def _ends(piece: str, following: str) -> bool:
    """Whether a line may break between two texts: at a space, or next to a Chinese character."""
    wide = piece[-1].isspace() or width_of(piece[-1]) == 2 or width_of(following[0]) == 2
    return wide and piece[-1] not in _OPENS
