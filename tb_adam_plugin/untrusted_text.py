"""Names from files of others, made harmless for a terminal and for a spreadsheet."""

from __future__ import annotations

# With these a cell becomes a formula, in the spreadsheets that there are.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


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
