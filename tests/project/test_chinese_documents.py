"""The Chinese documents match the English ones: none lags behind."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAIRS = {"README.md": "README.zh-CN.md"} | {
    f"docs/{path.name}": f"docs/zh/{path.name}" for path in sorted((ROOT / "docs/zh").glob("*.md"))
}
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)]*)\)")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def sections(text: str) -> list[tuple[str, str]]:
    """Each heading's level, and the text below it up to the next heading, without code blocks."""
    parts = re.split(r"^(#+) .*$", _FENCE.sub("", text), flags=re.MULTILINE)
    return list(zip(parts[1::2], parts[2::2], strict=True))


def code_blocks(text: str) -> list[tuple[str, str]]:
    """Language and content of each block: of code all but comments, of other text the numbers."""
    found = []
    for language, content in _FENCE.findall(text):
        if language in ("python", "sh"):
            content = re.sub(r" +# .*$", "", content, flags=re.MULTILINE)
        else:
            content = " ".join(sorted(numbers(content).elements()))
        found.append((language, content))
    return found


def tables(text: str) -> list[list[int]]:
    """For each table the number of cells of each row."""
    found: list[list[int]] = []
    is_within = False
    for line in text.splitlines():
        if line.startswith("|"):
            if not is_within:
                found.append([])
            found[-1].append(len(re.split(r"(?<!\\)\|", line)) - 2)
        is_within = line.startswith("|")
    return found


def numbers(text: str) -> Counter[str]:
    """Every number that is written in digits, but for those in the targets of links."""
    return Counter(re.findall(r"\d[\d,.]*\d|\d", _LINK.sub(lambda m: m[0].split("](")[0], text)))


def code(text: str) -> Counter[str]:
    """What is marked as code: names, options, commands."""
    return Counter(re.findall(r"`([^`\n]+)`", text))


def targets(text: str, folder: Path) -> Counter[str]:
    """What links lead to, without the place in a page and without the language."""
    found = []
    for target in _LINK.findall(text):
        path = target.partition("#")[0]
        if path and "://" not in path:
            name = (folder / path).resolve().relative_to(ROOT).as_posix()
            found.append({chinese: english for english, chinese in PAIRS.items()}.get(name, name))
        else:
            found.append(path)
    return Counter(found)


def is_prose(line: str) -> bool:
    return bool(line) and not line.lstrip().startswith(("|", "#", "<"))


@pytest.mark.parametrize(("english", "chinese"), PAIRS.items())
class TestChinese:
    def test_the_headings_are_the_same(self, english: str, chinese: str) -> None:
        levels = [[level for level, _ in sections(read(name))] for name in (english, chinese)]
        assert levels[0] == levels[1]

    def test_the_code_is_the_same(self, english: str, chinese: str) -> None:
        assert code_blocks(read(english)) == code_blocks(read(chinese))

    def test_each_section_has_the_same_tables(self, english: str, chinese: str) -> None:
        found = [[tables(text) for _, text in sections(read(name))] for name in (english, chinese)]
        assert found[0] == found[1]

    def test_each_section_has_the_same_numbers(self, english: str, chinese: str) -> None:
        found = [[numbers(text) for _, text in sections(read(name))] for name in (english, chinese)]
        for place, (said, translated) in enumerate(zip(*found, strict=True)):
            assert (place, said - translated, translated - said) == (place, Counter(), Counter())

    def test_each_section_names_the_same_code(self, english: str, chinese: str) -> None:
        found = [[code(text) for _, text in sections(read(name))] for name in (english, chinese)]
        for place, (said, translated) in enumerate(zip(*found, strict=True)):
            assert (place, said - translated, translated - said) == (place, Counter(), Counter())

    def test_each_section_links_to_the_same_pages(self, english: str, chinese: str) -> None:
        found = [
            [targets(text, (ROOT / name).parent) for _, text in sections(read(name))]
            for name in (english, chinese)
        ]
        # At the top each page links to itself in the other language.
        assert targets(read(english), (ROOT / english).parent)[english] == 1
        assert found[0][1:] == found[1][1:]

    def test_no_line_ends_within_a_paragraph(self, english: str, chinese: str) -> None:
        """A page shows the end of a line as a space, which Chinese does not have."""
        lines = _FENCE.sub("", read(chinese)).splitlines()
        joined = [b for a, b in pairwise(lines) if is_prose(a) and is_prose(b)]
        assert [line for line in joined if not line.startswith(("- ", *"123456789"))] == []

    def test_it_is_written_in_chinese(self, english: str, chinese: str) -> None:
        for level, text in sections(read(chinese)):
            prose = re.sub(r"`[^`]*`|\|.*\||^- .*\d{4}, .*$", "", text, flags=re.MULTILINE)
            letters = len(re.findall(r"[A-Za-z]{2,}", _LINK.sub("", prose)))
            signs = len(re.findall(r"[一-鿿]", prose))
            assert signs >= letters, (level, text[:80])


def test_what_users_begin_with_is_translated() -> None:
    assert {"README.md", "docs/quickstart.md", "docs/how-to-read.md"} <= set(PAIRS)
    for name in PAIRS.values():
        assert (ROOT / name).is_file()
