"""One run's values against another's."""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.reading.comparison import Positioned, compare


def positioned(
    positions: list[float], values: list[list[float]], names: str = "ab", logged: object = None
) -> Positioned:
    mask = None if logged is None else np.array(logged)
    return Positioned(list(names), np.array(positions), np.array(values, np.float32), mask)


REFERENCE = positioned([1, 3, 5], [[2, 10], [4, 20], [8, 40]])


def test_each_point_is_compared_with_the_last_logged_one_before_it() -> None:
    run = positioned([1, 2, 4, 5], [[2, 10], [2, 20], [2, 20], [2, 20]])
    ratio, logged = compare(run, REFERENCE, difference=False)
    assert ratio.tolist() == [[1, 1], [1, 2], [0.5, 1], [0.25, 0.5]]
    assert logged.all()


def test_nothing_is_compared_outside_the_reference() -> None:
    run = positioned([0, 1, 6], [[1, 1]] * 3)
    ratio, logged = compare(run, REFERENCE, difference=False)
    assert logged.tolist() == [[False, False], [True, True], [False, False]]
    assert np.isnan(ratio[[0, 2]]).all()


def test_parameters_are_matched_by_name() -> None:
    run = positioned([1], [[5, 2, 7]], "bac")
    ratio, logged = compare(run, REFERENCE, difference=False)
    assert ratio[0, :2].tolist() == [0.5, 1.0]
    assert logged.tolist() == [[True, True, False]]


def test_differences_of_fractions() -> None:
    run = positioned([1], [[2.5, 0]])
    found, _ = compare(run, REFERENCE, difference=True)
    assert found.tolist() == [[0.5, -10]]


def test_equal_zeros_are_equal_and_nothing_is_divided_by_zero() -> None:
    reference = positioned([1], [[0, 0]])
    ratio, logged = compare(positioned([1], [[0, 3]]), reference, difference=False)
    assert ratio[0, 0] == 1
    assert logged.tolist() == [[True, False]]


def test_nan_of_the_run_stays_and_nan_of_the_reference_compares_with_nothing() -> None:
    run, reference = positioned([1], [[np.nan, 1]]), positioned([1], [[1, np.nan]])
    ratio, logged = compare(run, reference, difference=False)
    assert np.isnan(ratio[0, 0])
    assert logged.tolist() == [[True, False]]


def test_what_either_run_did_not_log_is_not_compared() -> None:
    run = positioned([1, 3], [[1, 1], [1, 1]], logged=[[False, True], [True, True]])
    reference = positioned([1, 3], [[1, 1], [1, 1]], logged=[[True, True], [True, False]])
    _, logged = compare(run, reference, difference=False)
    assert logged.tolist() == [[False, True], [True, False]]


def test_a_reference_without_steps_compares_with_nothing() -> None:
    empty = Positioned(["a", "b"], np.empty(0), np.empty((0, 2), np.float32), None)
    _, logged = compare(positioned([1], [[1, 1]]), empty, difference=False)
    assert not logged.any()
