"""The language of ``adam-debug``: from its option, the environment, or the locale."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from generated_logs import write_run
from generated_runs import Run

from tb_adam_plugin.cli import main
from tb_adam_plugin.commands.language import padded, preferred, width_of, wrapped

HAN = re.compile(r"[\u4e00-\u9fff]")


@pytest.fixture(autouse=True)
def no_language(monkeypatch: pytest.MonkeyPatch) -> None:
    """Know no language, whatever that of the machine is."""
    for name in ("ADAM_DEBUG_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logs")
    write_run(folder / "spiked", Run(spike_at=150))
    return folder


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "LC_MESSAGES": "en_US.UTF-8"}, "en"),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "zh_TW"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": ""}, "zh"),
        ({"LC_ALL": "C", "LANG": "zh_CN.UTF-8"}, "en"),
        ({"ADAM_DEBUG_LANG": "en", "LC_ALL": "zh_CN.UTF-8"}, "en"),
        ({"ADAM_DEBUG_LANG": "zh", "LC_ALL": "C"}, "zh"),
        ({"ADAM_DEBUG_LANG": "", "LC_ALL": "zh_CN"}, "zh"),
        ({"ADAM_DEBUG_LANG": "klingon", "LC_ALL": "zh_CN"}, "en"),
    ],
)
def test_the_environment_says_which_language(environment: dict[str, str], language: str) -> None:
    assert preferred(environment) == language


def test_findings_are_printed_in_the_language_that_is_asked_for(
    logs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["diagnose", str(logs)]) == 0
    english = capsys.readouterr().out
    assert "Gradient spike" in english
    assert not HAN.search(english)
    assert main(["diagnose", str(logs), "--lang", "zh"]) == 0
    chinese = capsys.readouterr().out
    assert "Gradient spike" not in chinese
    assert HAN.search(chinese)
    assert max(map(width_of, chinese.splitlines())) <= 100
    # The language is that of one command, not of those after it.
    assert main(["diagnose", str(logs)]) == 0
    assert capsys.readouterr().out == english
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    assert main(["diagnose", str(logs)]) == 0
    assert capsys.readouterr().out == chinese
    assert main(["diagnose", str(logs), "--lang", "en"]) == 0
    assert capsys.readouterr().out == english


def test_json_keeps_ids_keys_and_numbers_in_every_language(
    logs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {}
    for language in ("en", "zh"):
        assert main(["diagnose", str(logs), "--json", "--lang", language]) == 0
        (said[language],) = json.loads(capsys.readouterr().out)["runs"]
    english, chinese = said["en"], said["zh"]
    assert english["findings"]
    assert list(english) == list(chinese)
    for one, other in zip(english["findings"], chinese["findings"], strict=True):
        differ = {name for name in one if one[name] != other[name]}
        assert differ == {name for name in ("title", "text", "advice") if one[name]}
    for one, other in zip(english["not_evaluated"], chinese["not_evaluated"], strict=True):
        assert one["rule"] == other["rule"]
        assert HAN.search(other["reason"])
    assert english["compass"]["factor"] == chinese["compass"]["factor"]
    assert HAN.search(chinese["compass"]["text"])


def test_refusals_speak_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        assert main(["diagnose", str(folder), "--lang", "zh"]) == 2
        told = capsys.readouterr().err
        assert told.startswith("adam-debug: ")
        assert str(folder) in told
        assert HAN.search(told)


def test_a_language_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["diagnose", ".", "--lang", "klingon"])
    assert ended.value.code == 2
    assert "klingon" in capsys.readouterr().err


def test_lines_of_chinese_are_as_wide_as_those_of_english() -> None:
    text = (
        "学习率过高：前 8 步里，每次更新平均把权重矩阵改变了 40 %"
        "（健康范围：2e-4 到 0.04），请先降低 lr。"
    ) * 3
    lines = wrapped(text, 30, "  ")
    assert max(map(width_of, lines)) <= 30
    assert min(map(width_of, lines[:-1])) > 20
    assert all(line.startswith("  ") for line in lines[1:])
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    for line in lines:
        assert line.strip()[0] not in "，。：）"
        assert line[-1] not in "（"
    assert not any(re.search(r"2e-$|^\s*4 到", line) for line in lines)
    assert wrapped("", 30) == []
    assert wrapped("one two three", 8) == ["one two", "three"]
    assert padded("错误", 7) == "错误   "
    assert padded("error", 3) == "error"
