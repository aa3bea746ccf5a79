"""No module, function, class or style sheet is too long to read."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from repository import CALLBACK, MODULES, OWN_SCRIPTS, PLUGIN, ROOT, STYLES, named

# A module that does not fit on so many lines has more than one topic.
MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION, MOST_ATTRIBUTES = 60, 15
LONGEST_STYLE = 250


def test_no_function_is_too_long_and_no_class_holds_too_much() -> None:
    """The lint limits complexity and parameters; docstrings do not count here."""
    found = []
    for path in [*PLUGIN, *CALLBACK]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                first = node.body[1 if ast.get_docstring(node) and len(node.body) > 1 else 0]
                assert node.end_lineno is not None
                if node.end_lineno - first.lineno >= MOST_LINES_OF_A_FUNCTION:
                    found.append((path.name, node.name))
            elif isinstance(node, ast.ClassDef):
                attributes = {
                    target.attr
                    for target in ast.walk(node)
                    if isinstance(target, ast.Attribute)
                    and isinstance(target.ctx, ast.Store)
                    and isinstance(target.value, ast.Name)
                    and target.value.id == "self"
                }
                if len(attributes) > MOST_ATTRIBUTES:
                    found.append((path.name, node.name))
    assert found == [("kernels.py", "reduce")]  # one kernel is one function


def test_no_module_is_too_long() -> None:
    """Tests, benchmarks, examples and documents included."""
    lines = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in MODULES
    }
    assert {"callback/lightning.py", "frontend_static/index.js", "setup.py"} <= set(lines)
    assert {name for name, count in lines.items() if count > MOST_LINES} == set()


@pytest.mark.parametrize("path", [*OWN_SCRIPTS, *STYLES], ids=named)
def test_no_file_of_the_tab_is_too_long_to_be_read(path: Path) -> None:
    most = LONGEST_STYLE if path.suffix == ".css" else MOST_LINES
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= most
