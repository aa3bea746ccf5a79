"""In which tensors and statistics two runs first differ, beyond the usual variation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tb_adam_plugin.arrays import Float64s, Indices
from tb_adam_plugin.diagnosis.engine.recorded_run import RecordedRun
from tb_adam_plugin.schema import STATISTIC_BY_NAME, STATISTICS

# Significant differences: this many times a statistic's variation from record to record ...
OWN_VARIATION = 6.0
# ... and at least this much: in decades for statistics over decades, a factor of 2. In 32 of 36
# pairs of small runs that only differ in their seed, nothing exceeds it.
LEAST = {"log": 0.3, "fraction": 0.2, "cosine": 0.3}
# Tensors of fewer elements differ by chance.
LEAST_ELEMENTS = 64
# For this many common records, all values of one run are that far above all of the other's.
LASTING = 5
LEAST_RECORDS = LASTING
# Records are thinned to this many, more densely at first, because that is where runs first differ.
MOST_RECORDS = 300
MOST_PARTINGS = 5
# Statistics about the measurement, not about the training.
_LEFT_OUT = (
    "update_rms_standard_error", "update_rounding_error", "exp_avg_rounding_error",
    "exp_avg_sq_rounding_error",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Parting:
    """A statistic in which two runs differ.

    Attributes:
        statistic: Its name.
        step: The first step at which it differs.
        parameters: The tensors in which it differs there, the most different one first.
        first: The value of that tensor in the first run.
        second: The value in the second run.
    """

    statistic: str
    step: float
    parameters: tuple[str, ...]
    first: float
    second: float


def common_steps(first: RecordedRun, second: RecordedRun) -> Float64s:
    """Return the steps that both runs have recorded, thinned, float64."""
    steps = np.asarray(np.intersect1d(first.step, second.step), np.float64)
    if steps.size <= MOST_RECORDS:
        return steps
    places = np.geomspace(1, steps.size, MOST_RECORDS).round().astype(int) - 1
    return np.asarray(steps[np.unique(places)])


def partings(first: RecordedRun, second: RecordedRun) -> list[Parting]:
    """Return the statistics in which two runs differ, the earliest first.

    Args:
        first: One run.
        second: The other one.

    Returns:
        At most :data:`MOST_PARTINGS`; empty if the runs have too few common steps.
    """
    steps = common_steps(first, second)
    columns = {name: column for column, name in enumerate(second.names)}
    names = [p.name for p in first.parameters if p.name in columns and p.elements >= LEAST_ELEMENTS]
    if steps.size < LEAST_RECORDS or not names:
        return []
    rows = (np.searchsorted(first.step, steps), np.searchsorted(second.step, steps))
    of_first = np.array([first.names.index(name) for name in names], np.intp)
    of_second = np.array([columns[name] for name in names], np.intp)
    found = []
    for statistic in STATISTICS:
        name = statistic.name
        if statistic.scale not in LEAST or name in _LEFT_OUT:
            continue
        if name not in first.statistics or name not in second.statistics:
            continue
        mine = _values(first, name, rows[0], of_first)
        theirs = _values(second, name, rows[1], of_second)
        parting = _parting(name, steps, names, mine, theirs)
        if parting is not None:
            found.append(parting)
    return sorted(found, key=lambda p: (p.step, -len(p.parameters)))[:MOST_PARTINGS]


def _values(run: RecordedRun, name: str, rows: Indices, columns: Indices) -> Float64s:
    statistic = run.statistic(name)
    found = np.empty((rows.size, columns.size))
    for place, row in enumerate(rows.tolist()):  # a few of thousands
        found[place] = statistic[row, columns]
    return found


def _parting(
    name: str, steps: Float64s, names: list[str], mine: Float64s, theirs: Float64s
) -> Parting | None:
    scale = STATISTIC_BY_NAME[name].scale
    first, second = (_on_scale(values, scale) for values in (mine, theirs))
    least = np.maximum(OWN_VARIATION * _own_variation(first, second), LEAST[scale])
    distance = _distance(first, second)
    begins = distance > least
    records = np.flatnonzero(begins.any(axis=1))
    if not records.size:
        return None
    record = int(records[0])
    apart = np.flatnonzero(begins[record])
    apart = apart[np.argsort(-distance[record, apart], kind="stable")]
    worst = int(apart[0])
    return Parting(
        name,
        float(steps[record]),
        tuple(names[i] for i in apart),
        float(mine[record, worst]),
        float(theirs[record, worst]),
    )


def _on_scale(values: Float64s, scale: str) -> Float64s:
    """Values on the scale on which they are compared; NaN if unknown, or zero."""
    if scale != "log":
        return np.where(np.isfinite(values), values, np.nan)
    with np.errstate(all="ignore"):
        logarithms = np.log10(np.abs(values))
    return np.where(np.isfinite(logarithms), logarithms, np.nan)


def _own_variation(first: Float64s, second: Float64s) -> Float64s:
    """Variation of values from record to record, the larger one of both runs, ``[columns]``."""
    jumps = [np.abs(np.diff(values, axis=0)) for values in (first, second)]
    with np.errstate(all="ignore"):
        # A normal distribution's standard deviation, from the median of differences of two.
        both = [1.4826 * _median(jump) / np.sqrt(2) for jump in jumps]
    return np.asarray(np.fmax(*both))


def _median(values: Float64s) -> Float64s:
    known = ~np.isnan(values).all(axis=0)
    found = np.full(values.shape[1], np.nan)
    if known.any():
        found[known] = np.nanmedian(values[:, known], axis=0)
    return found


def _distance(first: Float64s, second: Float64s) -> Float64s:
    """Least distance between two runs' values over some records from each on; NaN if unknown."""
    mine, theirs = (sliding_window_view(values, LASTING, axis=0) for values in (first, second))
    above = mine.min(axis=-1) - theirs.max(axis=-1)
    below = theirs.min(axis=-1) - mine.max(axis=-1)
    return np.asarray(np.maximum(above, below))
