"""Runs without the parts and layouts that a restart has superseded completely."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tb_adam_plugin.reading.record_source import Experiment
from tb_adam_plugin.reading.run import StoredRun
from tb_adam_plugin.reading.standing_series import StandingSeries
from tb_adam_plugin.schema import Layout, Tag

# Largest difference in seconds between the clocks of machines that train together.
_CLOCKS_DIFFER = 10.0


def standing_run(series: StandingSeries, experiment: Experiment, run: StoredRun) -> StoredRun:
    """Leave out the parts and layouts that a restart has superseded completely."""
    return _without_over_layouts(series, experiment, _without_over_parts(series, experiment, run))


def _without_over_parts(
    series: StandingSeries, experiment: Experiment, run: StoredRun
) -> StoredRun:
    """Leave out the parts of processes that only an earlier training had."""
    by_part = run.steps_by_part()
    if len(by_part) == 1:
        return run
    written = {
        part: np.concatenate(
            [rows.written for rows in series.rows(experiment, tags, run.ended).rows]
        )
        for part, tags in by_part.items()
        if tags
    }
    began = np.min(written.pop(run.run, np.empty(0)), initial=np.inf)
    over = {
        part
        for part, times in written.items()
        if np.isfinite(began) and times.size and times.max() + _CLOCKS_DIFFER < began
    }
    return run.without_parts(over) if over else run


def _without_over_layouts(
    series: StandingSeries, experiment: Experiment, run: StoredRun
) -> StoredRun:
    """Leave out layouts without any remaining data, such as another model's."""
    over: set[str] = set()
    ended = run.ended
    by_part: dict[str, list[str]] = {}
    for id_ in run.layout.layouts:
        by_part.setdefault(run.home(Tag("statistics", id_)), []).append(id_)
    for newest, *older in by_part.values():
        kept = _shapes(run.layout.layouts[newest])
        # Other layouts add nothing to the newest one, and reading takes time.
        others = [i for i in older if not _shapes(run.layout.layouts[i]) <= kept]
        all_stored = series.statistics(experiment, run, others, [], everything=True)
        all_standing = series.statistics(experiment, run, others, [])
        for id_, stored, standing in zip(others, all_stored, all_standing, strict=True):
            is_another_model = not _shapes(run.layout.layouts[id_]) & kept
            if standing.step.size < stored.step.size and (
                not standing.step.size or is_another_model
            ):
                over.add(id_)
                if is_another_model:
                    ended = max(ended, float(stored.written.max()))
    if not over:
        return run
    run = run.without_layouts(over, ended)
    # Also columns that only the other model had.
    own = run.steps_by_part()[run.run]
    rows = series.rows(experiment, own, ended).rows
    steps = {tag.id: tag.columns for tag, left in zip(own, rows, strict=True) if left.step.size}
    last = max((int(left.step[-1]) for left in rows if left.step.size), default=None)
    return replace(run, steps=steps, last_step=last)


def _shapes(layout: Layout) -> set[tuple[str, tuple[int, ...]]]:
    return {(p.name, p.shape) for p in layout.parameters}
