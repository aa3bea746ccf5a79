"""What ``adam-debug`` ends with: 0 where all went well."""

from __future__ import annotations

import sys

from tb_adam_plugin.commands.language import spoken

FAILED = 1  # a run has what --fail-on asks for
UNUSABLE = 2  # as argparse ends where the command was not understood


def refuse(reason: str) -> int:
    """Say why a command cannot do what it was asked to, and return the exit code for that."""
    warn(reason)
    return UNUSABLE


def warn(text: str) -> None:
    """Say what a command goes on without."""
    print(f"adam-debug: {spoken(text)}", file=sys.stderr)
