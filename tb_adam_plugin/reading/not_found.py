"""Refuses names that do not exist, and lists those that do."""

from __future__ import annotations

from collections.abc import Collection

from tensorboard import errors

from tb_adam_plugin.reading.run import StoredRun
from tb_adam_plugin.schema import Parameter
from tb_adam_plugin.untrusted_text import quoted

_MAX_NAMED = 20


def require(name: str, kind: str, run: str, known: Collection[str]) -> None:
    """Refuse a name that a run does not have.

    Raises:
        tensorboard.errors.NotFoundError: With the names that it has.
    """
    if name not in known:
        raise errors.NotFoundError(f"run {run} has no {kind} {quoted(name)}; {choice(known)}")


def require_parameter(name: str, run: StoredRun) -> Parameter:
    """Return a parameter of a run by its name; refuse an unknown one like :func:`require`."""
    by_name = {p.name: p for p in run.layout.parameters}
    require(name, "parameter", run.run, by_name)
    return by_name[name]


def choice(known: Collection[str]) -> str:
    """Return text that lists the names, or counts them."""
    if not known:
        return "there is none"
    if len(known) > _MAX_NAMED:
        return f"{len(known)} exist"
    return "available: " + ", ".join(known)
