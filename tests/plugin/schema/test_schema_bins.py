"""Bins: every value is counted where the edges say."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tb_adam_plugin import schema
from tb_adam_plugin.schema import BINS, SPECIAL, Quantity

WINDOWS = [*schema.QUANTITIES, Quantity("high", True, 60), Quantity("higher", False, 110)]
SMALLEST_NORMAL = np.finfo(np.float32).tiny

each_window = pytest.mark.parametrize("quantity", WINDOWS, ids=lambda quantity: quantity.name)


def adversarial_values(quantity: Quantity) -> npt.NDArray[np.float32]:
    """Edges and their neighbours, the limits of float32, and every kind of NaN; of both signs."""
    limits = np.array([0, 1e-45, SMALLEST_NORMAL, np.finfo(np.float32).max, np.inf, 1], np.float32)
    with np.errstate(over="ignore"):
        exact = np.concatenate([schema.bin_edges(quantity).astype(np.float32), limits])
        below, above = np.nextafter(exact, np.float32(-np.inf)), np.nextafter(exact, np.inf)
    quiet_and_signalling = np.array([0x7FC00000, 0x7F800001, 0x7FFFFFFF], np.uint32)
    values = np.concatenate([exact, below, above, quiet_and_signalling.view(np.float32)])
    return np.concatenate([values, -values])


def is_in_its_place(value: np.float32, place: int, quantity: Quantity) -> bool:
    """Whether the documentation of the bins has a value where it was counted."""
    if place >= BINS:
        x = float(value)
        kinds: dict[str, bool] = {
            "zero": x == 0,
            "subnormal": 0 < abs(x) < float(SMALLEST_NORMAL),
            "negative_infinity": x == -math.inf,
            "positive_infinity": x == math.inf,
            "nan": math.isnan(x),
        }
        return kinds[SPECIAL[place - BINS]]
    if not (np.isfinite(value) and abs(value) >= SMALLEST_NORMAL):
        return False
    edges = schema.bin_edges(quantity)
    edges[-1] = math.inf
    if not quantity.signed:
        value = np.abs(value)
    elif value < 0:  # mirrored
        value, place = -value, BINS - 1 - place
    return bool(edges[place] <= value < edges[place + 1])


@each_window
def test_edges_are_four_to_the_octave_over_the_whole_window(quantity: Quantity) -> None:
    edges = schema.bin_edges(quantity).tolist()
    assert len(edges) == BINS + 1
    assert edges == sorted(set(edges))
    octaves = 64 if quantity.signed else 128
    positive = edges[-4 * octaves - 1 :]
    for i, edge in enumerate(positive[1:], 1):  # the lowest bin reaches down to 0
        assert edge == math.ldexp(1 + i % 4 / 4, quantity.lowest_exponent + i // 4)
    assert positive[0] == 0
    assert edges[: -4 * octaves - 1] == [-edge for edge in positive[:0:-1] if quantity.signed]


@each_window
def test_adversarial_values_are_counted_where_the_edges_say(quantity: Quantity) -> None:
    values = adversarial_values(quantity)
    total = np.zeros(BINS + len(SPECIAL), np.int64)
    for value in values:
        counts = schema.count_values(value, quantity)
        (place,) = np.flatnonzero(counts).tolist()
        assert counts[place] == 1
        assert is_in_its_place(value, place, quantity), (value, place)
        total += counts
    counted_together = schema.count_values(values.reshape(2, -1), quantity)
    assert counted_together.dtype == np.int64
    assert counted_together.tolist() == total.tolist()


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 2**32 - 1), st.sampled_from(WINDOWS))
def test_any_float_is_counted_where_the_edges_say(bits: int, quantity: Quantity) -> None:
    value = np.uint32(bits).view(np.float32)
    (place,) = np.flatnonzero(schema.count_values(value, quantity)).tolist()
    assert is_in_its_place(value, place, quantity)


@each_window
def test_values_are_counted_as_float32(quantity: Quantity) -> None:
    values = np.array([1 - 1e-12, 1e-60, -0.1, 3.0])
    counts = schema.count_values(values, quantity)
    assert counts.tolist() == schema.count_values(values.astype(np.float32), quantity).tolist()
    assert counts[BINS + SPECIAL.index("zero")] == 1
    assert counts.tolist() == schema.count_values(values.tolist(), quantity).tolist()


def test_no_values_make_an_empty_histogram() -> None:
    counts = schema.count_values([], schema.QUANTITIES[0])
    assert counts.tolist() == [0] * (BINS + len(SPECIAL))
