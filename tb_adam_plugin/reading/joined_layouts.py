"""Joins the layouts of a run by parameter name. The newest one takes precedence.

A run has several if a layer was unfrozen, or if training continued in the same folder with another
model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from tb_adam_plugin.schema import Group, Layout, Parameter, Quantity


@dataclass(frozen=True, slots=True)
class JoinedLayout:
    """The layouts of a run as one.

    Attributes:
        layouts: By layout id, the newest first.
        parameters: Parameters of all layouts, as described by the newest that has them; ``group``
            is an index into :attr:`groups`.
        groups: Groups of the newest layout, then those that only older ones have.
        group_rows: Index of each layout's groups in :attr:`groups`, by layout id.
        statistics: Statistics of all layouts.
        quantities: Quantities of all layouts.
    """

    layouts: Mapping[str, Layout]
    parameters: tuple[Parameter, ...]
    groups: tuple[Group, ...]
    group_rows: Mapping[str, tuple[int, ...]]
    statistics: tuple[str, ...]
    quantities: tuple[Quantity, ...]

    @property
    def newest(self) -> Layout:
        """The layout that was written last."""
        return next(iter(self.layouts.values()))

    def rows_of(self, parameter: str) -> dict[str, int]:
        """Return the row of a parameter in each layout that has it, by layout id."""
        return {
            layout_id: row
            for layout_id, layout in self.layouts.items()
            for row, p in enumerate(layout.parameters)
            if p.name == parameter
        }


def join_layouts(layouts: Mapping[str, Layout]) -> JoinedLayout:
    """Join layouts by parameter name.

    A group is the same as in the newest layout if it has the same index and the same optimizer;
    otherwise it is a separate one.

    Args:
        layouts: By layout id, the newest first; at least one.
    """
    groups: list[Group] = []
    places: dict[tuple[int, str], int] = {}
    group_rows: dict[str, tuple[int, ...]] = {}
    parameters: dict[str, Parameter] = {}
    for layout_id, layout in layouts.items():
        rows = []
        for index, group in enumerate(layout.groups):
            place = places.setdefault((index, group.optimizer), len(groups))
            if place == len(groups):
                groups.append(group)
            rows.append(place)
        group_rows[layout_id] = tuple(rows)
        for p in layout.parameters:
            if p.name not in parameters:
                parameters[p.name] = replace(p, group=rows[p.group])
    by_name: dict[str, Quantity] = {}
    for quantity in (q for layout in layouts.values() for q in layout.quantities):
        by_name.setdefault(quantity.name, quantity)
    return JoinedLayout(
        layouts,
        tuple(parameters.values()),
        tuple(groups),
        group_rows,
        union(layout.statistics for layout in layouts.values()),
        tuple(by_name.values()),
    )


def union(names: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """Return the names of several lists, each once, in the order of first occurrence."""
    return tuple(dict.fromkeys(chain.from_iterable(names)))
