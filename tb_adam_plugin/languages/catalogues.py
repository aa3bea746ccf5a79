"""The available languages, and each one's catalogue: JSON, translations by English text."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from functools import cache
from importlib import resources

ENGLISH = "en"
LANGUAGES = (ENGLISH, "zh")

_logger = logging.getLogger(__name__)


def known_language(wanted: str) -> str:
    """Return the closest available language, English if there is none.

    Args:
        wanted: A language name as used by browsers and systems: "zh-CN", "zh_CN.UTF-8", "EN".
    """
    first = wanted.replace("_", "-").partition("-")[0].lower()
    return first if first in LANGUAGES else ENGLISH


@cache
def catalogue(language: str) -> Mapping[str, str]:
    """Return a language's translations by English templates; empty for English.

    Raises:
        ValueError: If the language is not one of :data:`LANGUAGES`.
    """
    if language not in LANGUAGES:
        raise ValueError(f"language {language!r}: expected one of {', '.join(LANGUAGES)}")
    if language == ENGLISH:
        return {}
    try:
        text = resources.files(__package__).joinpath(f"{language}.json").read_text("utf-8")
        translations: dict[str, str] = json.loads(text)
    except (OSError, ValueError) as error:
        _logger.warning("Adam Debug speaks English: %s.json cannot be read: %s", language, error)
        return {}
    return translations
