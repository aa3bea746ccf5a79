"""English sentences that remember how they were composed, so they can be translated.

A sentence is made from a template with named gaps, ``say("{share} of the units", share="94 %")``.
It is ordinary English text; :func:`in_language` looks its template up in a language's catalogue and
fills the same gaps, whose values may be sentences themselves.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Mapping
from typing import Any

_FORMATTER = string.Formatter()

# Gaps are surrounded by spaces for Latin names and numbers; a Chinese value needs none.
_AMONG_CHINESE = re.compile(
    "(?<=[{0}]) +(?=[{0}])".format(r"\u4e00-\u9fff\u3001\u3002\uff01-\uff1f")
)


class Sentence(str):
    """English text that remembers its parts.

    Attributes:
        template: English text with gaps as in :meth:`str.format`; for joined texts the separator.
        values: The values of the gaps, by name.
        parts: The joined texts; empty for a single sentence.
    """

    template: str
    values: Mapping[str, Any]
    parts: tuple[str, ...]

    def __add__(self, other: str) -> Sentence:
        """Join two texts; one that is not a sentence stays the same in every language."""
        return _joined("", (self, other))

    def __radd__(self, other: str) -> Sentence:
        """Join two texts; one that is not a sentence stays the same in every language."""
        return _joined("", (other, self))

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep the parts when pickled or copied."""
        return _restore, (str(self), self.template, dict(self.values), self.parts)


def say(template: str, /, **values: Any) -> Sentence:
    """Make a sentence.

    Args:
        template: An English literal, which is the key of the catalogues. Gaps are named.
        values: Values of the gaps: names, formatted numbers, or other sentences.
    """
    return _restore(template.format(**values), template, values, ())


def known(text: str) -> Sentence:
    """Make a sentence of an English text that is a catalogue key, such as a rule's title."""
    return _restore(text, text, {}, ())


def joined(texts: Iterable[str], between: str = " ") -> Sentence:
    """Join texts, each translated on its own; empty ones are left out.

    Args:
        texts: Sentences, or text that is the same in every language.
        between: What separates them.
    """
    return _joined(between, tuple(text for text in texts if text))


def in_language(text: str, catalogue: Mapping[str, str]) -> str:
    """Translate a text.

    Args:
        text: A sentence, or an English text that is itself a key of the catalogue. Anything missing
            in the catalogue stays English.
        catalogue: Translated templates by English ones; empty for English.
    """
    if not catalogue:
        return str(text)
    if not isinstance(text, Sentence):
        return catalogue.get(text, str(text))
    # Parts and values that are not sentences are names, which might equal a key.
    if text.parts:
        between = catalogue.get(text.template, text.template)
        return _closed_up(between.join(_of_sentence(part, catalogue) for part in text.parts))
    values = {name: _of_sentence(value, catalogue) for name, value in text.values.items()}
    return _closed_up(catalogue.get(text.template, text.template).format(**values))


def _of_sentence(value: Any, catalogue: Mapping[str, str]) -> Any:
    return in_language(value, catalogue) if isinstance(value, Sentence) else value


def _closed_up(text: str) -> str:
    """Remove spaces between Chinese characters."""
    return _AMONG_CHINESE.sub("", text)


def reason_of(error: BaseException) -> str:
    """Return the message of an error or a warning: a sentence, if it was raised with one."""
    text = error.args[0] if len(error.args) == 1 else None
    return text if isinstance(text, Sentence) else str(error)


def gaps(template: str) -> set[str]:
    """Return the names of a template's gaps.

    Raises:
        ValueError: If it is not a template.
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
