"""Makes names from files and requests harmless in a message, a terminal or a spreadsheet."""

from __future__ import annotations

# Common spreadsheets treat a cell with one of these as a formula.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_MOST_QUOTED = 100


def printable(text: str) -> str:
    r"""Replace characters that a terminal would interpret by their escapes, such as ``\x1b``.

    These are control characters, marks that change the writing direction, line separators and lone
    surrogates; spaces and visible characters stay.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def cell_text(text: str) -> str:
    """Put an apostrophe before text that a spreadsheet would take for a formula.

    Source: CSV Injection, OWASP, https://owasp.org/www-community/attacks/CSV_Injection.
    """
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def quoted(text: str) -> str:
    """Return a text in quotation marks, cut to 100 characters."""
    return repr(text if len(text) <= _MOST_QUOTED else text[:_MOST_QUOTED] + "…")
