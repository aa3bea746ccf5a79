"""``adam-debug explain``: the meaning of a rule or a statistic, offline."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

from tb_adam_plugin import schema
from tb_adam_plugin.commands.exit_codes import refuse
from tb_adam_plugin.commands.language import language, padded, spoken, width_of, wrapped
from tb_adam_plugin.diagnosis.rules.registry import RULES
from tb_adam_plugin.explanations.explain import column_names, explain_rule, explain_statistic
from tb_adam_plugin.languages.sentences import say

_TEXT_WIDTH = 100
# Wider tables are not aligned.
_TABLE_WIDTH = 120


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "explain",
        help=spoken(say("explain a rule or a statistic")),
        description=spoken(
            say(
                "Print what a rule or a statistic means, when a rule fires, what to do, and "
                "the source."
            )
        ),
        epilog=spoken(say("Exit codes: 0 done; 2 the rule or statistic is unknown.")),
    )
    parser.add_argument(
        "name",
        metavar="NAME",
        nargs="?",
        help=spoken(say("a rule or a statistic; default: list them all")),
    )
    parser.set_defaults(command=explain, reads_runs=False)


def explain(options: argparse.Namespace) -> int:
    """Print an explanation, or a list of what can be explained, and return the exit code."""
    name = options.name
    if name is None:
        _print_names()
        return 0
    found = explain_rule(name, language()) or explain_statistic(name, language())
    if found is None:
        return refuse(
            say("unknown rule or statistic {name}: adam-debug explain lists them", name=name)
        )
    print(spoken(say("{name}: {title}", name=found.name, title=found.title)))
    for section in found.sections:
        print(f"\n{spoken(section.heading)}")
        for line in terminal_lines(section.markdown, _TEXT_WIDTH - 2):
            print(f"  {line}".rstrip())
    return 0


def _print_names() -> None:
    groups = (
        (say("Rules"), [(rule.id, rule.title) for rule in RULES]),
        (say("Statistics"), [(s.name, s.label) for s in schema.STATISTICS]),
        (say("Columns of every step"), [(name, "") for name in column_names()]),
    )
    for heading, named in groups:
        print(spoken(heading))
        for name, title in named:
            print(f"  {name:<33}  {spoken(title)}".rstrip())


def terminal_lines(markdown: str, width: int) -> Iterator[str]:
    """Yield the lines of Markdown formatted for a terminal.

    Args:
        markdown: Paragraphs, lists and tables.
        width: Width of the terminal in columns.
    """
    for place, block in enumerate(markdown.split("\n\n")):
        lines = [spoken(line.replace("**", "").replace("`", "")) for line in block.splitlines()]
        if place:
            yield ""
        if block.startswith("|"):
            yield from _table_lines(lines)
        elif block.startswith("- "):
            for item in "\n".join(lines).removeprefix("- ").split("\n- "):
                yield from wrapped(f"- {' '.join(item.split())}", width, subsequent_indent="  ")
        else:
            yield from wrapped(" ".join(lines), width)


def _table_lines(lines: Sequence[str]) -> Iterator[str]:
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]
    rows = [row for row in rows if any(set(cell) - set("-: ") for cell in row)]
    columns = max(map(len, rows), default=0)
    widths = [
        max(width_of(row[column]) for row in rows if column < len(row)) for column in range(columns)
    ]
    if sum(widths) > _TABLE_WIDTH:
        widths = [0] * columns
    for row in rows:
        cells = (padded(cell, width) for cell, width in zip(row, widths, strict=False))
        yield "  ".join(cells).rstrip()
