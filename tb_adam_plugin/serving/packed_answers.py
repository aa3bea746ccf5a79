"""Converts records to the packed answers: arrays behind a JSON header. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from tb_adam_plugin import schema
from tb_adam_plugin.arrays import Float64s
from tb_adam_plugin.reading.answers import HistogramRecords, NamedRecords, StatisticRecords
from tb_adam_plugin.reading.thinning import (
    MIDDLES,
    RATIO,
    column_bounds,
    latest_of_columns,
    mean_of_columns,
    worst_of_columns,
)
from tb_adam_plugin.serving.packing import pack

Crowded = Literal["worst", "latest", "mean"]
_Reduce = Callable[..., npt.NDArray[np.float32]]
CROWDED: tuple[Crowded, ...] = get_args(Crowded)


def overview(
    run: str,
    statistic: str,
    records: StatisticRecords,
    columns: int,
    within: tuple[float, float] = (-math.inf, math.inf),
    since: float = -math.inf,
    against: str | None = None,
    crowded: Crowded = "worst",
) -> bytes:
    """Return the packed ``overview``: one value of each parameter in each column.

    Args:
        run: Its name.
        statistic: Its name.
        records: The statistic of all parameters, or its comparison with that of another run.
        columns: Largest number of columns; if fewer steps were logged, each has its own column.
        within: The first and the last step to consider.
        since: Leave out the steps up to this one, which the client already has.
        against: The run that ``records`` are compared with.
        crowded: The value that a column of several steps shows.
    """
    start = int(np.searchsorted(records.step, within[0], "left"))
    end = max(start, int(np.searchsorted(records.step, within[1], "right")))
    middle = MIDDLES.get(statistic) if against is None else _middle_of_comparison(statistic)
    # Infinite if the weight was zero before the step, such as a bias at its first step.
    infinity_is_usual = against is None and statistic == RATIO
    reducers: Mapping[Crowded, _Reduce] = {
        "worst": partial(worst_of_columns, middle=middle, infinity_is_usual=infinity_is_usual),
        "latest": latest_of_columns,
        "mean": mean_of_columns,
    }
    reduce = reducers[crowded]
    arrays, growth = _thinned(records, start, end, columns, since, reduce)
    return pack({"run": run, "statistic": statistic, "against": against, **growth}, arrays)


def gradient_norms(
    run: str,
    parameter: str | None,
    records: StatisticRecords,
    columns: int,
    since: float = -math.inf,
) -> bytes:
    """Return the packed ``gradient_norms``: the largest gradient RMS in each column."""
    arrays, growth = _thinned(records, 0, records.step.size, columns, since, worst_of_columns)
    return pack({"run": run, "parameter": parameter, **growth}, arrays)


def compares_by_difference(statistic: str) -> bool:
    """Return whether two runs' values of a statistic are subtracted rather than divided."""
    known = schema.STATISTIC_BY_NAME.get(statistic)
    return known is not None and known.scale in ("fraction", "cosine")


def series(run: str, parameter: str, records: NamedRecords, since: float = -math.inf) -> bytes:
    """Return the packed ``series``: all statistics of one parameter."""
    records, growth = _newer(records, since)
    header = {"run": run, "parameter": parameter, "statistics": records.names, **growth}
    return pack(header, {**_axis(records), "values": records.values})


def steps(run: str, records: NamedRecords, since: float = -math.inf) -> bytes:
    """Return the packed ``steps``: one row for every optimizer step."""
    records, growth = _newer(records, since)
    header = {"run": run, "columns": records.names, **growth}
    return pack(header, {"values": records.values})


def scalar(run: str, tag: str, records: NamedRecords, since: float = -math.inf) -> bytes:
    """Return the packed ``scalar``: an ordinary scalar series."""
    records, growth = _newer(records, since)
    header = {"run": run, "tag": tag, **growth}
    return pack(header, {**_axis(records), "value": records.values[0]})


def hyperparameters(run: str, records: NamedRecords, since: float = -math.inf) -> bytes:
    """Return the packed ``hyperparameters`` of all parameter groups."""
    records, growth = _newer(records, since)
    header = {"run": run, "columns": records.names, **growth}
    return pack(header, {**_axis(records), "values": records.values})


def histograms(run: str, records: HistogramRecords) -> bytes:
    """Return the packed ``histograms``, without unused bins at both ends."""
    parameter = records.parameter
    arrays: dict[str, npt.NDArray[Any]] = {"step": records.step, "wall_time": records.wall_time}
    for index, quantity in enumerate(records.quantities):
        counts = np.minimum(records.counts[:, index], np.iinfo(np.uint32).max).astype(np.uint32)
        bins = counts[:, : schema.BINS]
        used = np.flatnonzero(bins.any(axis=0))
        first = int(used[0]) if used.size else 0
        end = int(used[-1]) + 1 if used.size else 0
        arrays[f"{quantity.name}/counts"] = bins[:, first:end]
        arrays[f"{quantity.name}/edges"] = schema.bin_edges(quantity)[first : end + 1]
        arrays[f"{quantity.name}/special"] = counts[:, schema.BINS :]
    header = {
        "run": run,
        "parameter": parameter.name,
        "quantities": [{"name": q.name, "signed": q.signed} for q in records.quantities],
        "elements": parameter.elements,
        "elements_read": parameter.elements_read,
        "earlier": _extent(records.logged_step, records.logged_wall_time, records.earlier),
        "total": _extent(records.logged_step, records.logged_wall_time),
    }
    return pack(header, arrays)


def _thinned(
    records: StatisticRecords,
    start: int,
    end: int,
    columns: int,
    since: float,
    reduce: _Reduce,
) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """Return the records from ``start`` to ``end`` in columns, and their growth."""
    tail, growth = _growth(records.step[start:end], records.wall_time[start:end], since)
    start += tail
    step, wall_time = records.step[start:end], records.wall_time[start:end]
    logged = None if records.logged is None else records.logged[start:end]
    first, last = column_bounds(step.size, columns)
    values = reduce(records.values[start:end], first, last, logged=logged)
    arrays: dict[str, npt.NDArray[Any]] = {
        "values": values.T,
        "first_step": step[first],
        "last_step": step[last],
        "wall_time": wall_time[last],
    }
    if logged is not None and not logged.all():
        arrays["logged"] = _any_of_columns(logged, first).T.astype(np.uint8)
    return arrays, growth


def _middle_of_comparison(statistic: str) -> float | None:
    return None if compares_by_difference(statistic) else 1.0


def _newer(records: NamedRecords, since: float) -> tuple[NamedRecords, dict[str, Any]]:
    start, growth = _growth(records.step, records.wall_time, since)
    if start:
        records = replace(
            records,
            step=records.step[start:],
            wall_time=records.wall_time[start:],
            values=records.values[..., start:],
        )
    return records, growth


def _growth(step: Float64s, wall_time: Float64s, since: float) -> tuple[int, dict[str, Any]]:
    """Return where the steps after ``since`` start, and what shows if the others are unchanged.

    A restarted run rewrites earlier steps, at a later time.
    """
    start = int(np.searchsorted(step, since, "right"))
    return start, {
        "earlier": _extent(step, wall_time, start),
        "total": _extent(step, wall_time),
    }


def _extent(step: Float64s, wall_time: Float64s, end: int | None = None) -> dict[str, Any]:
    known = wall_time[:end]
    known = known[np.isfinite(known)]
    latest = float(known.max()) if known.size else 0.0
    return {"steps": int(step[:end].size), "wall_time": latest}


def _axis(records: NamedRecords) -> dict[str, npt.NDArray[Any]]:
    return {"step": records.step, "wall_time": records.wall_time}


def _any_of_columns(
    logged: npt.NDArray[np.bool_], first: npt.NDArray[np.intp]
) -> npt.NDArray[np.bool_]:
    return np.logical_or.reduceat(logged, first, axis=0) if first.size else logged
