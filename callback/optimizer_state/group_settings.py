"""The settings of a parameter group, and the numbers among them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

GroupSettings = Mapping[str, Any]


def hyperparameter(group: GroupSettings, name: str) -> float:
    """Return a number of a group; NaN if there is none.

    ``beta1`` … are from ``betas``, ``eps1`` … from ``eps``, and so on for every tuple.
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
    """Return a hyperparameter, tensor or not, as a float; NaN if it is not a number."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return float("nan")
