"""The translatable texts in the plugin's code."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

from tb_adam_plugin.callback import optimizer_state
from tb_adam_plugin.callback.demo.demonstrations import THEMES
from tb_adam_plugin.callback.optimizer_state.base import OptimizerState


def templates_in(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield the first argument of every ``say()``, and whether it is a literal."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "say":
            first = node.args[0]
            is_text = isinstance(first, ast.Constant) and isinstance(first.value, str)
            yield (str(first.value) if isinstance(first, ast.Constant) else ""), is_text


def betweens_in(path: Path) -> Iterator[str]:
    """Yield the separator of every ``joined()``."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        if node.func.id == "joined":
            given = [*node.args[1:], *(k.value for k in node.keywords if k.arg == "between")]
            yield ast.literal_eval(given[0]) if given else " "


def of_the_callback() -> set[str]:
    """English texts that the training side stores, and the plugin shows in every language."""
    texts = set(THEMES)
    for demonstrations in THEMES.values():
        texts |= {text for shown in demonstrations for text in (shown.title, shown.change)}
    for module in pkgutil.iter_modules(optimizer_state.__path__):
        importlib.import_module(f"{optimizer_state.__name__}.{module.name}")
    for state in _below(OptimizerState):  # type: ignore[type-abstract]  # none is made
        if state.__module__.startswith(optimizer_state.__name__):
            texts |= set(state.meanings.values())
    return texts


def _below(family: type[OptimizerState]) -> Iterator[type[OptimizerState]]:
    for state in family.__subclasses__():
        yield state
        yield from _below(state)
