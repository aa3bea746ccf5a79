"""Blocks of histograms: what is encoded is decoded again, and damage is a ``FormatError``."""

from __future__ import annotations

import tracemalloc
import zlib

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from schema_values import WIDTH_OF, histograms

from tb_adam_plugin import schema
from tb_adam_plugin.schema import BINS, SPECIAL, Counts, FormatError


@settings(deadline=None)
@given(histograms())
def test_histograms_are_read_back(counts: Counts) -> None:
    blocks = schema.encode_histograms(counts)
    assert len(blocks) == len(counts)
    for block, expected in zip(blocks, counts, strict=True):
        decoded = schema.decode_histograms(block, counts.shape[1])
        assert decoded.dtype == np.int64
        np.testing.assert_array_equal(decoded, expected)


@settings(deadline=None)
@given(histograms())
def test_a_block_does_not_depend_on_other_parameters(counts: Counts) -> None:
    together = schema.encode_histograms(counts)
    assert together == [schema.encode_histograms(one[None])[0] for one in counts]


@pytest.mark.parametrize(("largest", "width"), list(WIDTH_OF.items()))
@pytest.mark.parametrize("place", [0, BINS - 1, BINS, BINS + len(SPECIAL) - 1])
def test_the_largest_count_decides_the_width(largest: int, width: int, place: int) -> None:
    counts = np.zeros((2, 3, BINS + len(SPECIAL)), np.int64)
    counts[0, 1, place] = largest
    counts[1] = 1
    wide, narrow = schema.encode_histograms(counts)
    assert (wide[0], narrow[0]) == (16 + width, 16 + 1)
    np.testing.assert_array_equal(schema.decode_histograms(wide, 3), counts[0])
    np.testing.assert_array_equal(schema.decode_histograms(narrow, 3), counts[1])


@settings(deadline=None)
@given(histograms(), st.integers(1, 4))
def test_parameters_that_share_a_block_are_read_back(counts: Counts, together: int) -> None:
    blocks = schema.encode_histograms(counts, together)
    assert len(blocks) == -(-len(counts) // together)
    for i, block in enumerate(blocks):
        expected = counts[i * together : (i + 1) * together]
        decoded = schema.decode_histograms(block, counts.shape[1], len(expected))
        np.testing.assert_array_equal(decoded, expected.reshape(-1, expected.shape[2]))


@pytest.mark.parametrize(("quantities", "parameters"), [(3, 1), (2, 2), (3, 3), (3, 0), (3, 65)])
def test_a_block_of_another_number_of_parameters_is_refused(
    quantities: int, parameters: int
) -> None:
    (block,) = schema.encode_histograms(np.stack([COUNTS, COUNTS]), 2)
    assert schema.decode_histograms(block, 3, 2).tolist() == [*COUNTS.tolist(), *COUNTS.tolist()]
    with pytest.raises(FormatError, match="histogram block"):
        schema.decode_histograms(block, quantities, parameters)


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from([1, 2, 3, 4, 8, 239]),
    st.lists(st.sets(st.integers(0, 519)), max_size=4),
    st.integers(-40, 40) | st.just(0),
    st.integers(0, 127),
)
def test_a_sparse_block_that_says_what_cannot_be_is_refused_or_read_as_it_says(
    width: int, places: list[set[int]], surplus: int, byte: int
) -> None:
    bits = np.zeros((len(places), 520), bool)
    for row, filled in zip(bits, places, strict=True):
        row[list(filled)] = True
    payload = np.packbits(bits).tobytes() + bytes([byte]) * (width * int(bits.sum()))
    payload = payload + bytes(surplus) if surplus >= 0 else payload[:surplus]
    block = bytes([16 + width]) + zlib.compress(payload)
    try:
        counts = schema.decode_histograms(block, len(places))
    except FormatError:
        assert width not in WIDTH_OF.values() or surplus or bits[:, BINS + len(SPECIAL) :].any()
        return
    number = int.from_bytes([byte] * width, "little")
    assert counts.tolist() == (bits[:, : BINS + len(SPECIAL)] * number).tolist()


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint64])
def test_counts_of_any_integer_type_are_taken(dtype: npt.DTypeLike) -> None:
    counts = np.arange(2 * 2 * (BINS + len(SPECIAL))).reshape(2, 2, -1) % 100
    assert schema.encode_histograms(counts.astype(dtype)) == schema.encode_histograms(counts)


def example_counts(quantity_count: int = 3) -> Counts:
    random = np.random.default_rng(0)
    values = random.normal(0, 1e-3, (quantity_count, 400))
    return np.stack([schema.count_values(v, schema.QUANTITIES[0]) for v in values])


COUNTS = example_counts()
(BLOCK,) = schema.encode_histograms(COUNTS[None])


@pytest.mark.parametrize("length", range(len(BLOCK)))
def test_a_truncated_block_is_refused(length: int) -> None:
    with pytest.raises(FormatError, match="histogram block"):
        schema.decode_histograms(BLOCK[:length], len(COUNTS))


def test_a_flipped_bit_is_noticed_nearly_always_and_never_fatal() -> None:
    # zlib's checksum is a weak one. That of the record around a block finds the rest.
    refused = 0
    for at in range(8 * len(BLOCK)):
        flipped = bytearray(BLOCK)
        flipped[at // 8] ^= 1 << at % 8
        try:
            decoded = schema.decode_histograms(bytes(flipped), len(COUNTS))
        except FormatError:
            refused += 1
        else:
            assert decoded.shape == COUNTS.shape
            assert decoded.min() >= 0
    assert refused > 0.95 * 8 * len(BLOCK)


@settings(deadline=None)
@given(
    st.binary(max_size=30) | st.builds(bytes.__add__, st.just(BLOCK[:3]), st.binary(max_size=30))
)
def test_bytes_that_are_no_block_are_refused(block: bytes) -> None:
    with pytest.raises(FormatError, match="histogram block"):
        schema.decode_histograms(block, len(COUNTS))


@pytest.mark.parametrize("asked", [-1, 0, 2, 4, 65, 10**9])
def test_a_block_of_another_number_of_quantities_is_refused(asked: int) -> None:
    with pytest.raises(FormatError, match="histogram block"):
        schema.decode_histograms(BLOCK, asked)


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from([0, 1, 2, 3, 4, 8, 255]),
    st.lists(
        st.tuples(*[st.sampled_from([0, 1, 511, 512, 513, 65535]) | st.integers(0, 65535)] * 2),
        max_size=4,
    ),
    st.integers(-40, 40) | st.just(0),
    st.integers(0, 127),
)
@example(1, [(0, 0)], -6, 0)
def test_a_block_that_says_what_cannot_be_is_refused_or_read_as_it_says(
    width: int, ranges: list[tuple[int, int]], surplus: int, byte: int
) -> None:
    header = np.array(ranges, "<u2").tobytes()
    stored = sum(len(SPECIAL) + length for _, length in ranges)
    payload = header + bytes([byte]) * (width * stored)
    payload = payload + bytes(surplus) if surplus >= 0 else payload[:surplus]
    block = bytes([width]) + zlib.compress(payload)
    try:
        counts = schema.decode_histograms(block, len(ranges))
    except FormatError:
        assert width not in WIDTH_OF.values() or surplus or any(sum(one) > BINS for one in ranges)
        return
    assert counts.shape == (len(ranges), BINS + len(SPECIAL))
    number = int.from_bytes([byte] * width, "little")
    for row, (first, length) in zip(counts, ranges, strict=True):
        filled = {*range(first, first + length), *range(BINS, BINS + len(SPECIAL))}
        assert row.tolist() == [number if i in filled else 0 for i in range(BINS + len(SPECIAL))]


def test_a_block_with_a_count_beyond_int64_is_refused() -> None:
    payload = np.array([0, 1], "<u2").tobytes() + b"\xff" * 8 * (1 + len(SPECIAL))
    with pytest.raises(FormatError, match="beyond"):
        schema.decode_histograms(b"\x08" + zlib.compress(payload), 1)
    payload = b"\x80" + bytes(64) + b"\xff" * 8
    with pytest.raises(FormatError, match="beyond"):
        schema.decode_histograms(b"\x18" + zlib.compress(payload), 1)


@pytest.mark.parametrize("quantity_count", [0, 3, 64])
def test_a_block_that_unpacks_to_many_megabytes_costs_little_memory(quantity_count: int) -> None:
    bomb = zlib.compressobj(9)
    megabyte = bytes(1 << 20)
    packed = b"".join(bomb.compress(megabyte) for _ in range(64)) + bomb.flush()
    tracemalloc.start()
    try:
        for kind in (b"\x08", b"\x18"):
            with pytest.raises(FormatError, match="too long"):
                schema.decode_histograms(kind + packed, quantity_count)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


def test_the_most_quantities_there_can_be_fit_into_a_block() -> None:
    counts = np.full((1, 64, BINS + len(SPECIAL)), 2**62, np.int64)
    (block,) = schema.encode_histograms(counts)
    np.testing.assert_array_equal(schema.decode_histograms(block, 64), counts[0])
