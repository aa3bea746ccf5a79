"""The help of every command speaks both languages, in lines that a terminal holds."""

from __future__ import annotations

import re

import pytest

from tb_adam_plugin import cli
from tb_adam_plugin.commands.language import VARIABLE, width_of

COMMANDS = ("", "diagnose", "compare", "explain", "export", "demo")
COLUMNS = 80


def ask_for_help(command: str, *more: str) -> None:
    """Ask for the help of a command, after which the process would end."""
    with pytest.raises(SystemExit) as ended:
        cli.main([*([command] if command else []), "--help", *more])
    assert ended.value.code == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_chinese_where_that_is_asked_for(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    ask_for_help(command, "--lang", "zh")
    by_option = capsys.readouterr().out
    monkeypatch.setenv(VARIABLE, "zh")
    ask_for_help(command)
    assert capsys.readouterr().out == by_option
    assert by_option.startswith("用法：")
    assert all(width_of(line) <= COLUMNS for line in by_option.splitlines())
    # Beside names, nothing is left in English: every help text has a Chinese letter.
    for text in re.findall(r"^ {2,}(?:-\S.*?|\w+) {2,}(\S.*)$", by_option, re.MULTILINE):
        assert re.search(r"[\u4e00-\u9fff]", text), text
    ask_for_help(command, "--lang", "en")  # the option counts more than the environment
    english = capsys.readouterr().out
    assert english.startswith("usage: ")
    assert not re.search(r"[\u4e00-\u9fff]", english)
