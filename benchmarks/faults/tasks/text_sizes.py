"""How long the examples of texts are, and how many words are told apart."""

from __future__ import annotations

LENGTH = 24
VOCABULARY = 2000
