"""Explanations of rules and statistics: from the documents, by the command and by the route."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from in_process import PluginClient

from tb_adam_plugin import cli, schema
from tb_adam_plugin.commands.explain import terminal_lines
from tb_adam_plugin.diagnosis.rules.registry import RULES
from tb_adam_plugin.explanations import documents, explain
from tb_adam_plugin.explanations.documents import Section, document, rows, sections
from tb_adam_plugin.explanations.explain import (
    column_names,
    explain_rule,
    explain_statistic,
)

ROOT = Path(__file__).parents[2]
LANGUAGES = ("en", "zh")


@pytest.fixture
def client(tmp_path: Path) -> PluginClient:
    return PluginClient(tmp_path)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_rule_says_what_it_means_and_what_to_do(language: str) -> None:
    text = document(documents.RULES, language)
    ids = [section.heading.strip("`") for section in sections(text)][1:]
    assert ids == [rule.id for rule in RULES]
    own = [explain._paragraphs(rule.id, language) for rule in RULES]
    (headings,) = {tuple(section.heading for section in found) for found in own}
    assert len(headings) == 2
    assert len({section.markdown for found in own for section in found}) >= 2 * len(RULES) - 3


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_is_explained_with_its_condition_and_source(rule: Any) -> None:
    found = explain_rule(rule.id)
    assert found is not None
    assert found.title == rule.title
    texts = {section.heading: section.markdown for section in found.sections}
    assert len(texts) >= 4
    if rule.reference:
        assert any(rule.reference in text for text in texts.values())
    if rule.statistic:
        assert any(text.startswith(f"`{rule.statistic}`") for text in texts.values())


@pytest.mark.parametrize("name", [*(s.name for s in schema.STATISTICS), *column_names()])
def test_a_statistic_is_explained_by_what_it_says(name: str) -> None:
    found = explain_statistic(name)
    assert found is not None
    (told,) = explain._cells(name, "en")[:1]
    assert len(told.markdown) > 10
    assert "](" not in "".join(section.markdown for section in found.sections)
    if name in schema.STATISTIC_BY_NAME:
        assert found.sections[0].markdown == schema.STATISTIC_BY_NAME[name].description


def test_what_a_text_links_to_follows_it() -> None:
    found = explain_statistic("update_to_weight_ratio")
    assert found is not None
    healthy = found.sections[-1]
    assert "| embedding |" in healthy.markdown
    assert "The healthy range depends on the kind of tensor" in " ".join(
        section.markdown for section in found.sections
    )


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_nothing_of_a_rule_stays_english_in_chinese(rule: Any) -> None:
    found = explain_rule(rule.id, "zh")
    assert found is not None
    told = [found.title, *(section.heading for section in found.sections)]
    assert all(re.search("[一-鿿]", text) for text in told)
    assert len(found.sections) == len(explain_rule(rule.id).sections)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", [*(s.name for s in schema.STATISTICS), *column_names()])
def test_a_statistic_has_as_many_sections_in_chinese(name: str) -> None:
    found, english = explain_statistic(name, "zh"), explain_statistic(name)
    assert found is not None
    assert english is not None
    assert len(found.sections) == len(english.sections)
    assert all(re.search("[一-鿿]", section.heading) for section in found.sections)


def test_unknown_names_are_not_explained() -> None:
    assert explain_rule("update_rms") is None
    assert explain_statistic("lr_zero") is None
    assert explain_statistic("parameter") is None


def test_tables_and_sections_are_read() -> None:
    text = (
        "# A\n\n| name | says |\n|---|---|\n| `x`, `y` | \\|x\\| |\n| `z` | |\n\n## B\n\nb\n\n# C\n"
    )
    assert [(row.first, row.cells) for row in rows(text)] == [
        ("`x`, `y`", (Section("Says", "|x|"),)),
        ("`z`", ()),
    ]
    assert [section.heading for section in sections(text)] == ["A", "B", "C"]
    assert [*sections(text)][1].markdown == "b"
    assert next(sections(text)).markdown.endswith("## B\n\nb")


def test_what_is_not_translated_is_english(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {
        (documents.RULES, "zh"): "## `lr_zero`\n\n**含义。** 学习率为 0。\n",
        (documents.HOW_TO_READ, "zh"): "| 规则 | 触发条件 |\n|---|---|\n| `lr_jump` | 跃升 |\n",
    }
    monkeypatch.setattr(
        explain,
        "document",
        lambda name, language="en": texts.get((name, language), "") or document(name, language),
    )
    zero, jump = explain_rule("lr_zero", "zh"), explain_rule("lr_jump", "zh")
    assert zero is not None
    assert jump is not None
    assert zero.sections[0] == Section("含义", "学习率为 0。")
    assert "Fires if" in [section.heading for section in zero.sections]
    assert jump.sections[0].heading == "What it means"
    assert Section("触发条件", "跃升") in jump.sections


def test_the_command_explains_rules_and_statistics(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", "lr_zero", "--lang", "en"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("lr_zero: The learning rate is 0")
    assert "\nWhat to do\n  Call scheduler.step() after each optimizer.step()" in said
    assert max(map(len, said.splitlines())) <= 100
    assert cli.main(["explain", "gain_ratio", "--lang", "en"]) == 0
    assert "Nocedal & Wright" in capsys.readouterr().out
    assert cli.main(["explain", "lr_high", "--lang", "en"]) == 2
    assert "unknown rule or statistic lr_high" in capsys.readouterr().err


def test_without_a_name_the_command_lists_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", "--lang", "en"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line[0] == " "]
    statistics = [statistic.name for statistic in schema.STATISTICS]
    assert listed == [*(rule.id for rule in RULES), *statistics, *column_names()]


def test_markdown_is_shown_as_a_terminal_can() -> None:
    markdown = (
        "**Long** `words` here\n\n- one\n  and more\n- two\n\n| a | bb |\n|---|---|\n| ccc | d |"
    )
    assert [*terminal_lines(markdown, 12)] == [
        "Long words", "here", "", "- one and", "  more", "- two", "", "a    bb", "ccc  d",
    ]  # fmt: skip


def test_the_route_answers_as_documented(client: PluginClient) -> None:
    text = (ROOT / "tb_adam_plugin" / "http_api.md").read_text("utf-8")
    example = json.loads(text.split("## `explain")[1].split("```json\n")[1].split("```")[0])
    answer = client.get("explain", rule=example["rule"])
    found = json.loads(answer.data)
    assert list(found) == list(example)
    assert found["title"] == example["title"]
    for told, shown in zip(found["sections"], example["sections"], strict=False):
        assert told["heading"] == shown["heading"]
        assert told["markdown"].startswith(shown["markdown"].removesuffix("…"))
    of_statistic = json.loads(client.get("explain", statistic="rms_t", lang="zh").data)
    assert list(of_statistic) == ["statistic", "title", "sections"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"rule": "no_such_rule"}, 404),
        ({"statistic": "lr_zero"}, 404),
        ({}, 400),
        ({"rule": "lr_zero", "statistic": "rms_t"}, 400),
        ({"rule": "lr_zero", "lang": "xx"}, 400),
        ({"rule": "lr_zero", "run": "a"}, 400),
    ],
)
def test_what_cannot_be_explained_is_refused(
    client: PluginClient, query: dict[str, str | int | list[str]], code: int
) -> None:
    assert client.get("explain", **query).status_code == code
