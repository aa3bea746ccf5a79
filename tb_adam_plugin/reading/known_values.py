"""Distinguishes unknown values of a statistic from non-finite ones: both are stored as NaN."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .answers import StatisticRecords
from .record_source import Experiment
from .store import Store

_NONFINITE = "nonfinite_count"


def known_statistic(
    store: Store, experiment: Experiment, run: str, statistic: str
) -> StatisticRecords:
    """Return one statistic of all parameters of a run, with unknown values as not logged.

    A NaN is unknown if all numbers of the parameter were finite: for example without a gradient, or
    at a first step, before which there was no state.
    """
    records = store.statistic(experiment, run, statistic)
    statistics = store.run(experiment, run).layout.statistics
    if statistic == _NONFINITE or _NONFINITE not in statistics:
        return records
    missing = np.isnan(records.values)
    if not missing.any():
        return records
    missing &= store.statistic(experiment, run, _NONFINITE).values == 0
    logged = ~missing if records.logged is None else records.logged & ~missing
    return replace(records, logged=None if logged.all() else logged)
