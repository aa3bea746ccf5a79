"""The catalogues: every sentence that is said, in every language, with the same gaps."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from repository import PLUGIN, ROOT
from said_texts import betweens_in, of_the_callback, templates_in

from tb_adam_plugin import schema
from tb_adam_plugin.diagnosis.rules.registry import RULES
from tb_adam_plugin.languages.catalogues import LANGUAGES, catalogue, known_language
from tb_adam_plugin.languages.sentences import Sentence, gaps, in_language, joined, say

OTHERS = [language for language in LANGUAGES if language != "en"]


def said() -> set[str]:
    """What catalogues translate: templates, what joins them, and texts of rules and statistics."""
    texts = {template for path in PLUGIN for template, _ in templates_in(path)}
    texts |= {between for path in PLUGIN for between in betweens_in(path)}
    texts |= {text for rule in RULES for text in (rule.title, rule.question) if text}
    texts |= {text for s in schema.STATISTICS for text in (s.label, s.description)}
    return texts | of_the_callback()


@pytest.mark.parametrize("path", PLUGIN, ids=lambda path: str(path.relative_to(ROOT)))
def test_templates_are_literals(path: Path) -> None:
    assert all(is_text for _, is_text in templates_in(path))


@pytest.mark.parametrize("language", OTHERS)
def test_a_catalogue_lacks_nothing_and_has_nothing_else(language: str) -> None:
    translated = set(catalogue(language))
    assert translated == said()


@pytest.mark.parametrize("language", OTHERS)
def test_translations_have_the_gaps_of_their_templates(language: str) -> None:
    wrong = [t for t, found in catalogue(language).items() if gaps(t) != gaps(found)]
    assert not wrong


@pytest.mark.parametrize("language", OTHERS)
def test_a_catalogue_is_sorted_and_has_each_sentence_once(language: str) -> None:
    path = ROOT / "tb_adam_plugin" / "languages" / f"{language}.json"
    pairs = json.loads(path.read_text("utf-8"), object_pairs_hook=list)
    assert [english for english, _ in pairs] == sorted(english for english, _ in pairs)
    assert len(dict(pairs)) == len(pairs)


SPOKEN = {
    "{count} steps": "{count} 步",
    "lost": "丢失",
    ": ": "：",
    "{what} of {where}": "{where} 的 {what}",
}


def test_gaps_are_filled_in_the_order_of_the_language() -> None:
    text = say("{what} of {where}", what=say("{count} steps", count=9), where="a.b")
    assert text == "9 steps of a.b"
    assert in_language(text, SPOKEN) == "a.b 的 9 步"


def test_joined_texts_are_said_one_by_one() -> None:
    text = joined([say("lost"), "", "a.b", say("{count} steps", count=1)], ": ")
    assert text == "lost: a.b: 1 steps"
    assert in_language(text, SPOKEN) == "丢失：a.b：1 步"
    assert in_language("x " + say("lost") + "!", SPOKEN) == "x 丢失!"


def test_what_a_catalogue_lacks_stays_english() -> None:
    assert in_language(say("{count} apples", count=2), SPOKEN) == "2 apples"
    assert in_language("lost", SPOKEN) == "丢失"
    assert in_language(say("lost"), {}) == "lost"


@pytest.mark.parametrize(
    ("what", "said"),
    [("lost", "把丢失乘以 2"), ("a.b", "把 a.b 乘以 2"), ("9 a", "把 9 a 乘以 2")],
)
def test_chinese_that_fills_a_gap_has_no_spaces_around_it(what: str, said: str) -> None:
    spoken = SPOKEN | {"{what} times 2": "把 {what} 乘以 2"}
    assert in_language(say("{what} times 2", what=what), spoken) == said
    assert in_language(joined([say("lost"), say("lost")], " "), spoken) == "丢失丢失"


def test_sentences_survive_pickling() -> None:
    text = say("{what} of {where}", what=say("lost"), where="{b}") + " x"
    again = pickle.loads(pickle.dumps(text))
    assert isinstance(again, Sentence)
    assert in_language(again, SPOKEN) == in_language(text, SPOKEN) == "{b} 的丢失 x"


@pytest.mark.parametrize(
    ("wanted", "language"),
    [
        ("zh-CN", "zh"),
        ("zh_TW.UTF-8", "zh"),
        ("ZH", "zh"),
        ("de-DE", "en"),
        ("", "en"),
        ("C", "en"),
    ],
)
def test_the_closest_language_is_found(wanted: str, language: str) -> None:
    assert known_language(wanted) == language
