"""What links call a heading."""

from __future__ import annotations

import unicodedata


def anchor(heading: str) -> str:
    """Return what GitHub calls a heading in a link: letters, marks, digits, hyphens."""
    kept = (c for c in heading.lower() if c in " -_" or unicodedata.category(c)[0] in "LMN")
    return "".join(kept).replace(" ", "-")
