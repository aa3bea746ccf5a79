"""The texts that the plugin's code says, as catalogues translate them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path


def templates_in(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield the first argument of every ``say()``, and whether it is a literal."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "say":
            first = node.args[0]
            is_text = isinstance(first, ast.Constant) and isinstance(first.value, str)
            yield (str(first.value) if isinstance(first, ast.Constant) else ""), is_text


def betweens_in(path: Path) -> Iterator[str]:
    """Yield what every ``joined()`` puts between texts."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if is_call and node.func.id == "joined":
            given = [*node.args[1:], *(k.value for k in node.keywords if k.arg == "between")]
            yield ast.literal_eval(given[0]) if given else " "
