"""Exit codes of ``adam-debug``: 0 on success."""

from __future__ import annotations

import sys

from tb_adam_plugin.commands.language import spoken

FAILED = 1  # a run has what --fail-on specifies
UNUSABLE = 2  # same as argparse's for an invalid command


def refuse(reason: str) -> int:
    """Say why a command cannot do what was requested, and return its exit code."""
    warn(reason)
    return UNUSABLE


def warn(text: str) -> None:
    """Warn about what a command leaves out."""
    print(f"adam-debug: {spoken(text)}", file=sys.stderr)
