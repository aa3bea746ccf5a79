"""The settings of a parameter group, and the numbers among them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

GroupSettings = Mapping[str, Any]


def hyperparameter(group: GroupSettings, name: str) -> float:
    """Return a number of a group; NaN where there is none.

    ``beta1`` … are those of ``betas``, ``eps1`` … of ``eps``, and so on for every tuple.
    """
    value = group.get(name)
    stem = name.rstrip("0123456789")
    if value is None and stem != name:
        values = group.get(f"{stem}s", group.get(stem))
        index = int(name[len(stem) :]) - 1
        if isinstance(values, tuple | list) and 0 <= index < len(values):
            value = values[index]
    return as_number(value)


def names_of_numbers(key: str, value: object) -> list[str]:
    """Names under which :func:`hyperparameter` finds the numbers of a default."""
    if isinstance(value, tuple | list):
        stem = key if key == "eps" else key.removesuffix("s")
        return [f"{stem}{i}" for i in range(1, len(value) + 1)]
    return [key] if isinstance(value, int | float) and not isinstance(value, bool) else []


def as_number(value: object) -> float:
    """Return a hyperparameter, tensor or not, as a float; NaN for what is no number."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return float("nan")
