"""Length of the text examples, and size of the vocabularies."""

from __future__ import annotations

LENGTH = 24
VOCABULARY = 2000
