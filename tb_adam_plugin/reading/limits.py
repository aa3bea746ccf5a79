"""How much is shown of what has any number of names, so that no answer grows without bound.

A run is bounded by its number of steps and parameters. Names that the user chooses are not: a
scalar may have another name at every step, a model other parameters at every record.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence

from tb_adam_plugin import schema
from tb_adam_plugin.schema import Layout

# Parameters beside those of the newest layout.
MOST_OLDER_PARAMETERS = 10_000


def shown_columns(
    names: Iterable[str], lasting: Collection[str] = schema.LASTING_COLUMNS
) -> tuple[str, ...]:
    """Return the columns to show: those that last, and the first of the others.

    A callback that has recorded a scalar once keeps the column. So the first names of the newest
    tag are those that were recorded for longest, and they stay the same while a run grows; a name
    that is new at every step comes last.

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
    """Return the ids of layouts that are too many, or have too many parameters together.

    Args:
        ids: Of all layouts, the newest first. The newest one that is readable stays.
        read: Returns a layout, or None if it is not readable. Not called where there is one layout,
            nor of those that are left out.
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
