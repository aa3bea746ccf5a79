"""The claims of README and its pages are true: tables are complete, links lead somewhere."""

from __future__ import annotations

import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import write_sample

from tb_adam_plugin import schema
from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.languages.catalogues import catalogue

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "examples/*.md", "benchmarks/**/*.md", "docs/**/*.md")
    for path in ROOT.glob(pattern)
)


def code_blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def table(document: str, heading: str) -> list[list[str]]:
    """Rows of the table of a section, without its head, as cells."""
    text = (ROOT / "docs" / document).read_text(encoding="utf-8")
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[1:]]


def test_the_first_block_adds_two_lines_to_a_training_loop() -> None:
    lines = [line for line in code_blocks("python")[0].splitlines() if line]
    assert lines[0].startswith("from tb_adam_plugin.callback import")
    assert len(lines) == 8
    assert [line.split("(")[0].strip() for line in lines if "debug" in line[:12]] == [
        "debug = AdamDebugCallback",
        "debug.record",
    ]


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 130


def test_the_sample_is_what_the_command_prints(tmp_path: Path) -> None:
    """``python docs/write_sample.py`` writes it anew. Its numbers depend on torch and processor."""
    write_sample.train(tmp_path)
    for name, language in write_sample.PAGES.items():
        shown = write_sample.sample_in((ROOT / name).read_text(encoding="utf-8"))
        assert 4 <= len(shown.splitlines()) <= 10
        printed = write_sample.sample(tmp_path, language)
        words, printed_words = (
            re.sub(r"\d[\d.]*(e-\d+)?", "0", text).split() for text in (shown, printed)
        )
        assert words == printed_words


def test_the_chinese_readme_has_the_same_pictures() -> None:
    chinese = (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")
    pictures = [re.findall(r'src(?:set)?="([^"]+)"', text) for text in (README, chinese)]
    assert pictures[0] == pictures[1]


def test_every_statistic_is_listed_with_its_meaning() -> None:
    listed = table("statistics.md", "All statistics")
    assert listed == [[f"`{s.name}`", s.description.replace("|", r"\|")] for s in schema.STATISTICS]


def test_the_chinese_page_has_the_meanings_that_the_tab_shows() -> None:
    meanings = catalogue("zh")
    listed = table("zh/statistics.md", "全部统计量")
    assert listed == [
        [f"`{s.name}`", meanings[s.description].replace("|", r"\|")] for s in schema.STATISTICS
    ]


def test_how_to_read_explains_every_statistic_and_quantity() -> None:
    page = (ROOT / "docs/how-to-read.md").read_text(encoding="utf-8")
    statistics, histograms = page.split("## The histograms")
    statistics, columns = statistics.split("### Every step")
    for name in schema.OPTIONAL_STEP_COLUMNS:
        assert f"| `{name}` |" in columns
    explained = re.findall(r"^\| (`.*?`) \|", statistics, re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(explained))) == sorted(schema.STATISTIC_BY_NAME)
    histograms = histograms.split("\n## ")[0]
    quantities = re.findall(r"^\| (\w+) \|", histograms, re.MULTILINE)
    known = {q.name for q in (*schema.QUANTITIES, *schema.OPTIONAL_QUANTITIES)}
    assert set(quantities) - {"quantity"} == known


def test_every_option_is_listed_with_its_default() -> None:
    listed = {
        option.strip("`"): default.strip("`")
        for option, default, _ in table("options.md", "All options")
    }
    options = list(inspect.signature(AdamDebugCallback).parameters.values())[2:]
    assert list(listed) == [option.name for option in options]
    for option in options[2:]:  # of log_dir and writer one is needed: the page gives no default
        assert listed[option.name].replace('"', "'") == repr(option.default)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_to_files(document: str) -> None:
    path = ROOT / document
    text = path.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", text) + re.findall(r'src(?:set)?="([^"]+)"', text)
    missing = [
        target
        for target in targets
        if not target.startswith("https://") and not (path.parent / target).exists()
    ]
    assert missing == []


def test_shell_lines_name_what_exists() -> None:
    """Every make target is one of the Makefile's, every option of the example one of its own."""
    installation = (ROOT / "docs/installation.md").read_text(encoding="utf-8")
    blocks = [*code_blocks("sh"), *code_blocks("sh", installation)]
    lines = [shlex.split(line, comments=True) for line in "".join(blocks).splitlines()]
    made = {words[1] for words in lines if words and words[0] == "make"}
    assert made == {"demo", "test"}
    for target in made:
        subprocess.run(["make", "-n", target], cwd=ROOT, check=True, capture_output=True)
    examples = [words for words in lines if words and words[0] == "python"]
    assert examples
    usage = subprocess.run(
        [sys.executable, "examples/train_cnn.py", "--help"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    for words in examples:
        assert (ROOT / words[1]).is_file()
        for option in filter(lambda word: word.startswith("--"), words):
            assert option in usage
