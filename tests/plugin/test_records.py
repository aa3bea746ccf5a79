from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from event_files import STEPS, counts_of, make_layout
from hypothesis import given
from hypothesis import strategies as st

from tb_adam_plugin import schema
from tb_adam_plugin.reading.merged_steps import merge_steps
from tb_adam_plugin.reading.records import (
    PackedBlocks,
    Series,
    decode_block,
    decode_blocks,
    decode_statistics,
    decode_steps,
    last_of_each_step,
)

LAYOUT = make_layout()


class Datum(NamedTuple):
    step: int
    wall_time: float
    numpy: npt.NDArray[Any]


def matrix(value: float) -> npt.NDArray[np.float32]:
    return np.full((len(LAYOUT.parameters), len(LAYOUT.statistics)), value, np.float32)


@given(st.lists(st.integers(0, 20)))
def test_of_equal_steps_the_last_is_kept(steps: list[int]) -> None:
    kept = last_of_each_step(np.array(steps, np.float64))
    expected = {step: i for i, step in enumerate(steps)}
    assert kept.tolist() == [expected[step] for step in sorted(expected)]


def test_a_restart_that_overlaps_is_sorted_and_the_later_record_wins() -> None:
    data = [Datum(t, 100.0 + i, matrix(i)) for i, t in enumerate([1, 2, 3, 2, 3, 4])]
    series = decode_statistics(data, LAYOUT)
    assert series.step.tolist() == [1, 2, 3, 4]
    assert series.wall_time.tolist() == [100, 103, 104, 105]
    assert series.values[0, :, 0].tolist() == [0, 3, 4, 5]
    assert series.values.shape == (3, 4, 2)


@pytest.mark.parametrize(
    "damaged",
    [
        np.zeros((2, 2), np.float32),
        np.zeros((2, 3), np.float64),
        np.zeros(6, np.float32),
        np.float32(1)[()] * np.ones(()),
    ],
)
def test_a_damaged_record_is_left_out_and_told(damaged: npt.NDArray[Any]) -> None:
    data = [Datum(1, 0, matrix(1)), Datum(2, 0, damaged), Datum(3, 0, matrix(3))]
    series = decode_statistics(data, LAYOUT)
    assert series.step.tolist() == [1, 3]
    assert series.damage.startswith(
        "1 damaged record was left out (step 2): expected float32 2×3, got"
    )


def test_many_damaged_records_are_one_sentence() -> None:
    data = [Datum(t, 0, np.zeros(3, np.float64)) for t in range(7)]
    series = decode_blocks(data)
    assert series.step.size == 0
    assert series.damage == (
        "7 damaged records were left out (step 0, 1, 2, 3, 4, …): expected uint8 n, got float64 3"
    )


def test_rows_of_steps_are_joined_and_later_records_win() -> None:
    def rows(*steps: float, loss: float) -> npt.NDArray[np.float64]:
        return np.array([[t, 50 + t, 1, 1e-3, 0, 0, 0, 1, loss] for t in steps])

    data = [
        Datum(3, 0, rows(1, 2, 3, loss=1.0)),
        Datum(4, 0, rows(3, float("nan"), 4, loss=2.0)),
    ]
    series = decode_steps(data, STEPS)
    assert series.step.tolist() == [1, 2, 3, 4]
    assert series.wall_time.tolist() == [51, 52, 53, 54]
    assert series.values[STEPS.names.index("loss")].tolist() == [1, 1, 2, 2]


def test_no_records_make_an_empty_series() -> None:
    assert decode_steps([], STEPS).values.shape == (len(STEPS.names), 0)
    assert decode_statistics([], LAYOUT).values.shape == (3, 0, 2)
    assert decode_blocks([]).blocks == PackedBlocks(())
    assert merge_steps([])[0].size == 0


@given(st.lists(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 99))), max_size=3))
def test_merged_series_hold_the_latest_record_of_every_step(
    logs: list[list[tuple[int, int]]],
) -> None:
    # Wall times are distinct, so that "latest" has one meaning.
    times = iter(range(1000))
    series, expected = [], dict[float, tuple[float, int]]()
    for log in logs:
        stamped = sorted({step: (wall, next(times)) for step, wall in log}.items())
        step = np.array([t for t, _ in stamped], np.float64)
        wall_time = np.array([wall + order / 1000 for _, (wall, order) in stamped], np.float64)
        series.append(Series(step, wall_time, np.empty(0)))
        for t, wall in zip(step.tolist(), wall_time.tolist(), strict=True):
            expected[t] = max(expected.get(t, (-1.0, 0)), (wall, len(series) - 1))
    step, wall_time, placements = merge_steps(series)
    assert step.tolist() == sorted(expected)
    owner = {t: i for i, (_, positions) in enumerate(placements) for t in step[positions].tolist()}
    assert owner == {t: i for t, (_, i) in expected.items()}
    for s, (rows, positions) in zip(series, placements, strict=True):
        assert s.step[rows].tolist() == step[positions].tolist()
        assert s.wall_time[rows].tolist() == wall_time[positions].tolist()


def test_a_block_is_unpacked_for_the_quantities_asked() -> None:
    counts = counts_of(LAYOUT, 1)
    (block, _) = schema.encode_histograms(counts)
    first, second = LAYOUT.quantities
    other = schema.QUANTITIES[2]
    assert (decode_block(block, (first, second), (first, second)) == counts[0]).all()
    found = decode_block(block, (first, second), (second, other))
    assert (found[0] == counts[0, 1]).all()
    assert not found[1].any()
