from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tb_adam_plugin.reading.thinning import (
    column_bounds,
    evenly_spread,
    latest_of_columns,
    mean_of_columns,
    worst_of_columns,
)

VALUES = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=30),
    elements=st.one_of(
        st.floats(0, 1e6, width=32),
        st.sampled_from(np.array([0.0, 1e-45, 1e-3, 3e38, np.inf, np.nan], np.float32).tolist()),
    ),
)
COLUMNS = st.integers(1, 40)


def decades(value: float, middle: float | None, infinity_is_usual: bool = False) -> float:
    """How bad a value is, by the definition: one value at a time, in plain Python."""
    if infinity_is_usual and value == np.inf:
        return 1.0
    if not np.isfinite(value):
        return np.inf
    if middle is None:
        return abs(value)
    return 1.0 if value == 0 else float(abs(np.log10(value / middle)))


@given(st.integers(0, 10_000), st.integers(1, 5000))
def test_every_step_is_in_exactly_one_column(steps: int, columns: int) -> None:
    first, last = column_bounds(steps, columns)
    assert first.size == min(steps, columns)
    members = [i for a, b in zip(first, last, strict=True) for i in range(a, b + 1)]
    assert members == list(range(steps))


@given(VALUES, COLUMNS, st.sampled_from([(None, False), (1e-3, False), (1e-3, True)]))
def test_the_worst_value_of_each_column_is_kept(
    values: npt.NDArray[np.float32], columns: int, rule: tuple[float | None, bool]
) -> None:
    first, last = column_bounds(values.shape[0], columns)
    middle, usual = rule
    worst = worst_of_columns(values, first, last, middle=middle, infinity_is_usual=usual)
    assert worst.shape == (first.size, values.shape[1])
    for column, (a, b) in enumerate(zip(first, last, strict=True)):
        for series in range(values.shape[1]):
            members = values[a : b + 1, series].tolist()
            kept = float(worst[column, series])
            assert any(kept == m or (np.isnan(kept) and np.isnan(m)) for m in members)
            expected = max(decades(m, middle, usual) for m in members)
            assert decades(kept, middle, usual) == pytest.approx(expected, rel=1e-5)


@given(st.integers(1, 3000), st.integers(1, 50), st.data())
def test_a_spike_of_one_step_is_never_lost(steps: int, columns: int, data: st.DataObject) -> None:
    spike = data.draw(st.integers(0, steps - 1))
    values = np.full((steps, 1), 1e-3, np.float32)
    values[spike] = data.draw(st.sampled_from([np.nan, np.inf, 0.0, 1e-7, 0.5]))
    first, last = column_bounds(steps, columns)
    worst = worst_of_columns(values, first, last, middle=1e-3)[:, 0]
    (found,) = np.flatnonzero(worst != np.float32(1e-3))
    assert first[found] <= spike <= last[found]


@given(VALUES, COLUMNS, st.data())
def test_what_was_not_logged_never_counts(
    values: npt.NDArray[np.float32], columns: int, data: st.DataObject
) -> None:
    logged = data.draw(hnp.arrays(np.bool_, values.shape))
    first, last = column_bounds(values.shape[0], columns)
    worst = worst_of_columns(values, first, last, logged=logged)
    for column, (a, b) in enumerate(zip(first, last, strict=True)):
        for series in range(values.shape[1]):
            members = values[a : b + 1, series][logged[a : b + 1, series]]
            expected = max((decades(m, None) for m in members.tolist()), default=None)
            kept = float(worst[column, series])
            assert np.isnan(kept) if expected is None else decades(kept, None) == expected


@given(VALUES, COLUMNS, st.booleans(), st.data())
def test_a_column_may_hold_the_latest_or_the_mean(
    values: npt.NDArray[np.float32], columns: int, all_logged: bool, data: st.DataObject
) -> None:
    logged = None if all_logged else data.draw(hnp.arrays(np.bool_, values.shape))
    first, last = column_bounds(values.shape[0], columns)
    latest = latest_of_columns(values, first, last, logged=logged)
    mean = mean_of_columns(values, first, last, logged=logged)
    known = np.ones(values.shape, bool) if logged is None else logged
    for column, (a, b) in enumerate(zip(first, last, strict=True)):
        for series in range(values.shape[1]):
            members = values[a : b + 1, series][known[a : b + 1, series]].astype(np.float64)
            expected = [members[-1], members.mean()] if members.size else [np.nan, np.nan]
            found = [latest[column, series], mean[column, series]]
            assert found == pytest.approx(expected, rel=1e-6, nan_ok=True)


def test_without_steps_there_are_no_columns() -> None:
    nothing = np.empty((0, 3), np.float32)
    for reduce in (worst_of_columns, latest_of_columns, mean_of_columns):
        for logged in (None, np.empty((0, 3), bool)):
            assert reduce(nothing, *column_bounds(0, 5), logged=logged).shape == (0, 3)


def test_the_largest_magnitude_of_a_cosine_may_be_negative() -> None:
    values = np.array([[0.1], [-0.9], [0.5]], np.float32)
    worst = worst_of_columns(values, *column_bounds(3, 1))
    assert worst.tolist() == [[np.float32(-0.9)]]


@given(st.integers(0, 10_000), st.integers(2, 3000))
def test_spread_steps_include_both_ends_and_lie_evenly(steps: int, columns: int) -> None:
    kept = evenly_spread(steps, columns)
    assert kept.size == min(steps, columns)
    if steps:
        assert (kept[0], kept[-1]) == (0, steps - 1)
    gaps = np.diff(kept)
    assert gaps.size == 0 or (gaps.min() >= 1 and gaps.max() - gaps.min() <= 1)


def test_one_column_is_the_last_step() -> None:
    assert evenly_spread(7, 1).tolist() == [6]
