"""Command lines whose help speaks the language that is spoken."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from tb_adam_plugin.commands.language import spoken, width_of, wrapped
from tb_adam_plugin.languages.sentences import say


class Parser(argparse.ArgumentParser):
    """A parser with translated headings. Texts of arguments are translated where they are given."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Take what :class:`argparse.ArgumentParser` takes."""
        super().__init__(
            *arguments, **{"formatter_class": HelpFormatter, **options, "add_help": False}
        )
        self._positionals.title = spoken(say("positional arguments"))
        self._optionals.title = spoken(say("options"))
        self.add_argument(
            "-h", "--help", action="help", help=spoken(say("show this help message and exit"))
        )


class HelpFormatter(argparse.HelpFormatter):
    """Breaks lines between Chinese letters, too, which take two columns each."""

    def add_usage(
        self,
        usage: str | None,
        actions: Iterable[argparse.Action],
        groups: Iterable[Any],
        prefix: str | None = None,
    ) -> None:
        """Add the usage after a translated word."""
        if prefix is None:
            prefix = spoken(say("usage: "))
        super().add_usage(usage, actions, groups, prefix)

    def _format_usage(
        self,
        usage: str | None,
        actions: Iterable[argparse.Action],
        groups: Iterable[Any],
        prefix: str | None,
    ) -> str:
        wider = width_of(prefix or "") - len(prefix or "")  # than argparse takes it for
        self._width -= wider
        try:
            return super()._format_usage(usage, actions, groups, prefix)
        finally:
            self._width += wider

    def _split_lines(self, text: str, width: int) -> list[str]:
        return wrapped(" ".join(text.split()), width)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines = wrapped(" ".join(text.split()), width - len(indent))
        return "\n".join(indent + line for line in lines)
