"""English sentences that remember how they were made, so that another language can say the same.

A sentence is made of a template with named gaps, ``say("{share} of the units", share="94 %")``. It
is English text like any other; :func:`in_language` looks its template up in the catalogue of a
language and fills the same gaps, which may be sentences themselves.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Mapping
from typing import Any

_FORMATTER = string.Formatter()

# Gaps have spaces around them for names and numbers in Latin; Chinese that fills them needs none.
_AMONG_CHINESE = re.compile(
    "(?<=[{0}]) +(?=[{0}])".format(r"\u4e00-\u9fff\u3001\u3002\uff01-\uff1f")
)


class Sentence(str):
    """English text, and what it was made of.

    Attributes:
        template: English text with gaps as of :meth:`str.format`; of joined texts what lies between
            them.
        values: What fills the gaps, by name.
        parts: The texts that were joined; empty for a single sentence.
    """

    template: str
    values: Mapping[str, Any]
    parts: tuple[str, ...]

    def __add__(self, other: str) -> Sentence:
        """Join two texts; what is no sentence stays as it is in every language."""
        return _joined("", (self, other))

    def __radd__(self, other: str) -> Sentence:
        """Join two texts; what is no sentence stays as it is in every language."""
        return _joined("", (other, self))

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep what it is made of when it is pickled or copied."""
        return _restore, (str(self), self.template, dict(self.values), self.parts)


def say(template: str, /, **values: Any) -> Sentence:
    """Make a sentence.

    Args:
        template: In English, a literal: it is the key of the catalogues. Gaps are named.
        values: What fills the gaps: names, formatted numbers, or other sentences.
    """
    return _restore(template.format(**values), template, values, ())


def joined(texts: Iterable[str], between: str = " ") -> Sentence:
    """Join texts, each in its own language; empty ones are left out.

    Args:
        texts: Sentences, or text that is the same in every language.
        between: What separates them.
    """
    return _joined(between, tuple(text for text in texts if text))


def in_language(text: str, catalogue: Mapping[str, str]) -> str:
    """Say a text in another language.

    Args:
        text: A sentence, or English text that is a key of the catalogue by itself. What the
            catalogue lacks stays English.
        catalogue: Translated templates by English ones; empty for English.
    """
    if not catalogue:
        return str(text)
    if not isinstance(text, Sentence):
        return catalogue.get(text, str(text))
    if text.parts:
        between = catalogue.get(text.template, text.template)
        return _closed_up(between.join(in_language(part, catalogue) for part in text.parts))
    values = {
        name: in_language(value, catalogue) if isinstance(value, str) else value
        for name, value in text.values.items()
    }
    return _closed_up(catalogue.get(text.template, text.template).format(**values))


def _closed_up(text: str) -> str:
    """Text without spaces between Chinese characters; any other text as it is."""
    return _AMONG_CHINESE.sub("", text)


def reason_of(error: BaseException) -> str:
    """Return what an error or a warning says: a sentence, if it was raised with one."""
    text = error.args[0] if len(error.args) == 1 else None
    return text if isinstance(text, Sentence) else str(error)


def gaps(template: str) -> set[str]:
    """Return the names of a template's gaps.

    Raises:
        ValueError: If it is no template.
    """
    return {name for _, name, _, _ in _FORMATTER.parse(template) if name is not None}


def _joined(between: str, texts: tuple[str, ...]) -> Sentence:
    return _restore(between.join(texts), between, {}, texts)


def _restore(
    text: str, template: str, values: Mapping[str, Any], parts: tuple[str, ...]
) -> Sentence:
    sentence = Sentence(text)
    sentence.template, sentence.values, sentence.parts = template, values, parts
    return sentence
