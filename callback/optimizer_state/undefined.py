"""Which statistics and quantities an optimizer does not have, from the needs it does not meet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tb_adam_plugin import schema

# The catalogue lists what the statistics need.
_NEEDS: Mapping[str, tuple[schema.Need, ...]] = {
    "exp_avg": ("exp_avg",),
    "exp_avg_sq": ("exp_avg_sq",),
    "normalized_update": schema.STATISTIC_BY_NAME["normalized_update_rms"].needs,
    **{statistic.name: statistic.needs for statistic in schema.STATISTICS},
}


def without(lacking: Iterable[schema.Need]) -> tuple[str, ...]:
    """Return the names of what needs something missing, in the order of the catalogue."""
    missing = set(lacking)
    return tuple(name for name, needs in _NEEDS.items() if not missing.isdisjoint(needs))
