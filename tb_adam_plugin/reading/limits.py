"""Limits on user-chosen names, so no answer grows without bound.

A run is bounded by its number of steps and parameters. User-chosen names are not: a scalar may have
a new name at every step, a model new parameters at every record.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence

from tb_adam_plugin import schema
from tb_adam_plugin.schema import Layout

# Parameters in addition to those of the newest layout.
MOST_OLDER_PARAMETERS = 10_000


def shown_columns(
    names: Iterable[str], lasting: Collection[str] = schema.LASTING_COLUMNS
) -> tuple[str, ...]:
    """Return the columns to show: the lasting ones, and the first of the others.

    A callback keeps a column once it has recorded the scalar. So the first names of the newest tag
    have been recorded for the longest time, and stay the same while a run grows; names that are new
    at every step come last.

    Args:
        names: Each once, those of the newest tag first.
        lasting: Columns that are always shown.
    """
    names = tuple(names)
    if len(names) <= schema.MOST_SCALARS:
        return names
    others = [name for name in names if name not in lasting]
    over = set(others[schema.MOST_SCALARS :])
    return tuple(name for name in names if name not in over)


def layouts_to_leave_out(ids: Sequence[str], read: Callable[[str], Layout | None]) -> set[str]:
    """Return the ids of excess layouts: too many of them, or too many parameters in total.

    Args:
        ids: Ids of all layouts, the newest first. The newest readable one is kept.
        read: Returns a layout, or None if it is not readable. Not called if there is only one
            layout, nor for those that are left out.
    """
    if len(ids) < 2:
        return set()
    kept, most = 0, math.inf
    names: set[str] = set()
    for place, id_ in enumerate(ids):
        if kept == schema.MOST_LAYOUTS:
            return {*ids[place:]}
        layout = read(id_)
        if layout is None:
            continue
        names.update(parameter.name for parameter in layout.parameters)
        if len(names) > most:
            return {*ids[place:]}
        if not kept:
            most = MOST_OLDER_PARAMETERS + len(names)
        kept += 1
    return set()
