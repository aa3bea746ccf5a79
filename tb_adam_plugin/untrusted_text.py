"""Names from files and requests of others, harmless for a message, a terminal, a spreadsheet."""

from __future__ import annotations

# With these a cell becomes a formula, in the spreadsheets that there are.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_MOST_QUOTED = 100


def printable(text: str) -> str:
    r"""Replace what a terminal would obey rather than show by its escape, as ``\x1b``.

    Control characters, marks that change the direction of writing, line separators and lone
    surrogates; spaces and what is visible stay.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def cell_text(text: str) -> str:
    """Put an apostrophe before what a spreadsheet would take for a formula.

    Source: CSV Injection, OWASP, https://owasp.org/www-community/attacks/CSV_Injection.
    """
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def quoted(text: str) -> str:
    """Return a text in quotation marks, at most 100 letters of it."""
    return repr(text if len(text) <= _MOST_QUOTED else text[:_MOST_QUOTED] + "…")
