"""Explains a rule or a statistic by collecting its texts from the documents."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tb_adam_plugin import schema
from tb_adam_plugin.diagnosis.engine.rule import Rule, together
from tb_adam_plugin.diagnosis.rules.registry import RULES
from tb_adam_plugin.explanations import documents
from tb_adam_plugin.explanations.documents import Section, document, rows, sections
from tb_adam_plugin.languages.catalogues import ENGLISH, catalogue
from tb_adam_plugin.languages.sentences import in_language, say

RULE_BY_ID = {rule.id: rule for rule in RULES}

# A paragraph that begins with its own heading: **What to do.** Call ...
_LED = re.compile(r"\*\*(.+?)[.:。：]\*\* *(.*)", re.DOTALL)
_LINK = re.compile(r"\[([^\]]*)\]\(([^)]*)\)")


class Explanation(NamedTuple):
    """The explanation of one rule or statistic.

    Attributes:
        name: Its id.
        title: A few words.
        sections: Each with a heading and Markdown without links: paragraphs, lists, tables.
    """

    name: str
    title: str
    sections: tuple[Section, ...]


def explain_rule(id_: str, language: str = ENGLISH) -> Explanation | None:
    """Explain a rule: what it means, what to do, when it fires, and the source.

    Args:
        id_: Id of the rule.
        language: Missing parts fall back to English.

    Returns:
        None if the rule does not exist.
    """
    rule = RULE_BY_ID.get(id_)
    if rule is None:
        return None
    words = catalogue(language)
    found = [*_paragraphs(id_, language), *_cells(id_, language)]
    if rule.statistic:
        shown = f"`{rule.statistic}`: {in_language(_label(rule.statistic), words)}"
        found.append(Section(in_language(say("Statistic that shows it"), words), shown))
    return Explanation(id_, in_language(rule.title, words), tuple(_without_links(found)))


def explain_statistic(name: str, language: str = ENGLISH) -> Explanation | None:
    """Explain a statistic, or a column of every step: what it is, what it shows, and the source.

    Args:
        name: Name of the statistic.
        language: Missing parts fall back to English.

    Returns:
        None if the statistic does not exist.
    """
    words = catalogue(language)
    found = _cells(name, language)
    statistic = schema.STATISTIC_BY_NAME.get(name)
    if statistic is not None:
        definition = in_language(statistic.description, words)
        found.insert(0, Section(in_language(say("Definition"), words), definition))
    elif name not in column_names():
        return None
    asking = [f"- `{r.id}`: {in_language(r.title, words)}" for r in RULES if name in _read_by(r)]
    linked = _linked(found, language)
    if asking:
        heading = in_language(say("Rules that use it"), words)
        found.append(Section(heading, "\n".join(asking)))
    title = in_language(_label(name), words)
    return Explanation(name, title, tuple(_without_links([*found, *linked])))


def column_names() -> tuple[str, ...]:
    """Return the columns of every step that are explained, in the order of the document."""
    explained = {*schema.STATISTIC_BY_NAME, *RULE_BY_ID}
    names = [name for row in rows(document(documents.HOW_TO_READ)) for name in _names(row.first)]
    return tuple(name for name in dict.fromkeys(names) if name not in explained)


def _label(name: str) -> str:
    statistic = schema.STATISTIC_BY_NAME.get(name)
    return name.replace("_", " ") if statistic is None else statistic.label


def _read_by(rule: Rule) -> set[str]:
    some = (name for names in rule.needs_any for name in together(names))
    return {*rule.needs, *some, *rule.uses, rule.statistic}


def _names(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)


def _paragraphs(id_: str, language: str) -> list[Section]:
    """Return the paragraphs about a rule, each with its leading heading."""
    for text in _in_languages(documents.RULES, language):
        for section in sections(text):
            if section.heading == f"`{id_}`":
                parts = map(_LED.fullmatch, section.markdown.split("\n\n"))
                return [Section(part[1], part[2]) for part in parts if part is not None]
    return []


def _cells(name: str, language: str) -> list[Section]:
    """Return the table cells about a name, each with the heading of its column."""
    for text in _in_languages(documents.HOW_TO_READ, language):
        found = [cell for row in rows(text) if name in _names(row.first) for cell in row.cells]
        if found:
            return found
    return []


def _linked(found: Iterable[Section], language: str) -> list[Section]:
    """Return the sections of the document that the texts link to."""
    wanted = [
        target.removeprefix("#")
        for section in found
        for _, target in _LINK.findall(section.markdown)
        if target.startswith("#")
    ]
    for text in _in_languages(documents.HOW_TO_READ, language):
        by_anchor = {documents.anchor(section.heading): section for section in sections(text)}
        if any(target in by_anchor for target in wanted):
            return [by_anchor[t] for t in dict.fromkeys(wanted) if t in by_anchor]
    return []


def _in_languages(name: str, language: str) -> Iterator[str]:
    """Yield a document in a language, then in English."""
    yield document(name, language)
    if language != ENGLISH:
        yield document(name)


def _without_links(found: Iterable[Section]) -> Iterator[Section]:
    for section in found:
        yield Section(section.heading, _LINK.sub(r"\1", section.markdown))
