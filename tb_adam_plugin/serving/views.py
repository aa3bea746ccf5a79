"""Records into answers for the tab: JSON and packed binary. Pure functions."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from tb_adam_plugin import __version__, schema
from tb_adam_plugin.diagnosis import thresholds
from tb_adam_plugin.diagnosis.compass import Compass, GainReading, Reading
from tb_adam_plugin.diagnosis.diagnose import Diagnosis
from tb_adam_plugin.diagnosis.registry import RULES
from tb_adam_plugin.diagnosis.rule import Finding
from tb_adam_plugin.reading.records import Float64s
from tb_adam_plugin.reading.run_listing import Message, Run
from tb_adam_plugin.reading.store import HistogramRecords, NamedRecords, Runs, StatisticRecords
from tb_adam_plugin.reading.thinning import (
    MIDDLES,
    RATIO,
    column_bounds,
    evenly_spread,
    latest_of_columns,
    mean_of_columns,
    worst_of_columns,
)

Crowded = Literal["worst", "latest", "mean"]
_Reduce = Callable[..., npt.NDArray[np.float32]]
CROWDED: tuple[Crowded, ...] = get_args(Crowded)

_MAGIC = b"ADBG"
_ALIGNMENT = 8
# Points of the compass' history.
_COMPASS_COLUMNS = 256
_MODULE_COLUMNS = 64
_DTYPES = ("float32", "float64", "uint32", "uint8")


def pack(header: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Pack arrays behind a JSON header, as ``http_api.md`` describes.

    Args:
        header: Fields that JSON can say, ``arrays`` not among them.
        arrays: float32, float64, uint32 or uint8.

    Returns:
        The answer; the browser can make views of the arrays in place.

    Raises:
        ValueError: If an array is of another dtype.
    """
    parts: list[tuple[str, npt.NDArray[Any]]] = []
    for name, array in arrays.items():
        if array.dtype.name not in _DTYPES:
            raise ValueError(f"array {name} is {array.dtype}, expected one of {_DTYPES}")
        parts.append((name, np.asarray(array, array.dtype.newbyteorder("<"), order="C")))
    start, text = _header(header, parts)
    answer = bytearray(_MAGIC + (start - 8).to_bytes(4, "little") + text.ljust(start - 8))
    for _, array in parts:
        answer += array.tobytes()
        answer += bytes(-len(answer) % _ALIGNMENT)
    return bytes(answer)


def summary(runs: Runs) -> str:
    """Return the JSON of the ``summary`` route."""
    return _json(
        {
            "version": __version__,
            "revision": runs.revision,
            "runs": [_run(run) for run in runs.runs],
            "statistics": [_statistic(s) for s in schema.STATISTICS],
            "messages": _messages(runs.messages),
            "rules": [rule.id for rule in RULES],
        }
    )


def findings(run: str, diagnosis: Diagnosis) -> str:
    """Return the JSON of the ``findings`` route."""
    return _json(
        {
            "findings": [finding_fields(run, finding) for finding in diagnosis.findings],
            "not_evaluated": [dataclasses.asdict(rule) for rule in diagnosis.not_evaluated],
            "compass": None if diagnosis.compass is None else compass_fields(diagnosis.compass),
            "recording": diagnosis.recording,
        }
    )


def compass_fields(compass: Compass) -> dict[str, Any]:
    """Return the readings of the learning-rate compass as JSON can say them."""
    return {
        **_reading(compass.run, _COMPASS_COLUMNS),
        "gain": None if compass.gain is None else _gain_reading(compass.gain),
        "modules": [
            {"name": reading.name, **_reading(reading, _MODULE_COLUMNS)}
            for reading in compass.modules
        ],
        "calibration": {
            "tasks": thresholds.COMPASS_TASKS,
            "records": thresholds.COMPASS_WINDOWS,
            "about": thresholds.COMPASS_ABOUT,
            "cosines": thresholds.COMPASS_COSINES,
            "factors": [_number(factor) for factor in thresholds.COMPASS_FACTORS],
            "first_steps": thresholds.LR_TOO_HIGH_STEPS,
            "path_steps": thresholds.LR_TOO_HIGH_PATH_STEPS,
            "paths": thresholds.COMPASS_PATHS,
            "path_factors": thresholds.COMPASS_PATH_FACTORS,
            "gain_records": thresholds.GAIN_RATIO_WINDOWS,
            "gain_ratios": thresholds.COMPASS_GAIN_RATIOS,
            "gain_factors": [_number(factor) for factor in thresholds.COMPASS_GAIN_FACTORS],
        },
    }


def _reading(reading: Reading, columns: int) -> dict[str, Any]:
    return {
        "text": reading.text,
        "factor": _number(reading.factor),
        "cosine": _number(reading.cosine),
        **_history(reading, columns),
    }


def _gain_reading(reading: GainReading) -> dict[str, Any]:
    return {
        "text": reading.text,
        "factor": _number(reading.factor),
        "gain_ratio": _number(reading.gain_ratio),
        **_history(reading, _COMPASS_COLUMNS),
    }


def _history(reading: Reading | GainReading, columns: int) -> dict[str, Any]:
    kept = evenly_spread(reading.step.size, columns)
    return {
        "steps": reading.step[kept].tolist(),
        "factors": [_number(value) for value in reading.factors[kept].tolist()],
    }


def _number(value: float) -> float | None:
    """A number with four digits that count, or None for NaN and infinity."""
    return float(f"{value:.4g}") if math.isfinite(value) else None


def finding_fields(run: str, finding: Finding) -> dict[str, Any]:
    """Return a finding as JSON can say it."""
    return {
        "id": f"{finding.rule}-{finding.first_step:.0f}",
        "run": run,
        "rule": finding.rule,
        "severity": finding.severity,
        "title": finding.title,
        "text": finding.text,
        "advice": finding.advice,
        "reference": finding.reference,
        "parameters": finding.parameters,
        "from": finding.first_step,
        "to": finding.last_step,
        "at": finding.worst_step,
        "value": _number(finding.value),
        "threshold": finding.threshold,
        "consequence_of": finding.consequence_of,
    }


def revision(runs: Runs) -> str:
    """Return the JSON of the ``revision`` route."""
    return _json({"revision": runs.revision})


def overview(
    run: str,
    statistic: str,
    records: StatisticRecords,
    columns: int,
    from_step: float = -math.inf,
    to_step: float = math.inf,
    since: float = -math.inf,
    against: str | None = None,
    crowded: Crowded = "worst",
) -> bytes:
    """Return the packed ``overview``: one value of each parameter in each column.

    Args:
        run: Its name.
        statistic: Its name.
        records: The statistic of all parameters, or how it compares with that of another run.
        columns: At most so many; where fewer steps were logged, each has a column of its own.
        from_step: The first step to consider.
        to_step: The last step to consider.
        since: Leave out the steps up to this one, which the asker has already.
        against: The run that ``records`` are compared with.
        crowded: What a column of several steps holds.
    """
    start = int(np.searchsorted(records.step, from_step, "left"))
    end = max(start, int(np.searchsorted(records.step, to_step, "right")))
    middle = MIDDLES.get(statistic) if against is None else _middle_of_comparison(statistic)
    # Infinite where the weight was zero before the step, as a bias is at its first one.
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
    """Return whether two runs' values of a statistic are subtracted, rather than divided."""
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
    """Return the packed ``histograms``: bins that are never used are cut off at both ends."""
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
    """Return where the steps after ``since`` start, and what says whether the others are the same.

    A run that was started again writes earlier steps anew, later in time.
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


def _header(
    fields: Mapping[str, Any], parts: list[tuple[str, npt.NDArray[Any]]]
) -> tuple[int, bytes]:
    # The offsets are a part of the header and depend on its length: start small and let it grow.
    start = _ALIGNMENT
    while True:
        listed, offset = [], start
        for name, array in parts:
            listed.append(
                {
                    "name": name,
                    "dtype": array.dtype.name,
                    "shape": array.shape,
                    "offset": offset,
                }
            )
            offset += array.nbytes + -array.nbytes % _ALIGNMENT
        text = _json({**fields, "arrays": listed}).encode()
        needed = 8 + len(text) + -len(text) % _ALIGNMENT
        if needed <= start:
            return start, text
        start = needed


def _run(run: Run) -> dict[str, Any]:
    layout = run.layout
    last_step, last_wall_time = run.last
    return {
        "run": run.run,
        "name": run.name,
        "last_step": last_step,
        "last_wall_time": last_wall_time,
        "parameters": [
            {
                "name": p.name,
                "shape": p.shape,
                "dtype": p.dtype,
                "elements": p.elements,
                "elements_read": p.elements_read,
                "group": p.group,
            }
            for p in layout.parameters
        ],
        "groups": [
            {
                "optimizer": group.optimizer,
                "options": {name: _finite(value) for name, value in group.options.items()},
                "undefined": group.undefined,
                "meanings": group.meanings,
                "storage": group.storage,
            }
            for group in layout.groups
        ],
        "unoptimized": [dataclasses.asdict(u) for u in layout.newest.unoptimized],
        "statistics": layout.statistics,
        "quantities": [{"name": q.name, "signed": q.signed} for q in layout.quantities],
        "step_columns": run.step_columns,
        "gradient_norms": bool(run.gradient_norms),
        "scalars": [scalar._asdict() for scalar in run.scalars],
        "messages": _messages(run.messages),
    }


def _statistic(statistic: schema.Statistic) -> Mapping[str, Any]:
    fields = dataclasses.asdict(statistic)
    del fields["needs"]  # which the side of training looks at
    return fields


def _messages(messages: tuple[Message, ...]) -> list[dict[str, str]]:
    return [message._asdict() for message in messages]


def _axis(records: NamedRecords) -> dict[str, npt.NDArray[Any]]:
    return {"step": records.step, "wall_time": records.wall_time}


def _any_of_columns(
    logged: npt.NDArray[np.bool_], first: npt.NDArray[np.intp]
) -> npt.NDArray[np.bool_]:
    return np.logical_or.reduceat(logged, first, axis=0) if first.size else logged


def _finite(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, separators=(",", ":"), allow_nan=False)
