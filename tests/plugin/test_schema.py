"""The format: what is encoded is decoded again, and damage is told as a ``FormatError``."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import tracemalloc
import zlib
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tb_adam_plugin import schema
from tb_adam_plugin.schema import (
    BINS,
    SPECIAL,
    VERSION,
    Columns,
    Counts,
    FormatError,
    Group,
    HistogramSource,
    Layout,
    NewerVersionError,
    Parameter,
    Quantity,
    Tag,
    Unoptimized,
)

# --- what can be written ------------------------------------------------------------------------

# Names are whatever a user calls things: any code points, also those that UTF-8 alone refuses.
names = st.text(st.characters(), max_size=8)
several_names = st.lists(names, max_size=4).map(tuple)
shapes = st.lists(st.integers(0, 2**15), max_size=4).map(tuple) | st.just((2**62,))
options = st.dictionaries(
    names,
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | names,
    max_size=4,
)
finite = st.floats(allow_nan=False, allow_infinity=False)
replaced_settings = st.dictionaries(names, st.tuples(finite, finite), max_size=2)
quantities = st.sampled_from(schema.QUANTITIES) | st.builds(
    Quantity, names, st.booleans(), st.integers(-150, 150)
)
statistics = st.sampled_from([statistic.name for statistic in schema.STATISTICS]) | names


def _name(item: Parameter | Quantity) -> str:
    return item.name


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    group = st.builds(Group, names, options, several_names, replaced=replaced_settings)
    groups = draw(st.lists(group, max_size=3))
    parameter = st.builds(
        Parameter, names, shapes, names, st.integers(0, 2**40), st.integers(0, len(groups) - 1)
    )
    return Layout(
        tuple(draw(st.lists(parameter, max_size=4, unique_by=_name))) if groups else (),
        tuple(groups),
        tuple(draw(st.lists(statistics, max_size=6))),
        tuple(draw(st.lists(quantities, max_size=6, unique_by=_name))),
        tuple(draw(st.lists(st.builds(Unoptimized, names, shapes, st.booleans()), max_size=3))),
    )


# Bytes that a count takes, on both sides of every limit.
WIDTH_OF = {
    2**8 - 1: 1,
    2**8: 2,
    2**16 - 1: 2,
    2**16: 4,
    2**32 - 1: 4,
    2**32: 8,
    2**63 - 1: 8,
}


@st.composite
def histograms(draw: st.DrawFn) -> Counts:
    """Some filled bins, ``[parameters, quantities, BINS + len(SPECIAL)]``."""
    shape = draw(st.integers(0, 3)), draw(st.integers(0, 6)), BINS + len(SPECIAL)
    counts = np.zeros(shape, np.int64)
    if counts.size:
        bins = st.integers(0, shape[2] - 1) | st.sampled_from([0, BINS - 1, BINS, shape[2] - 1])
        place = st.tuples(st.integers(0, shape[0] - 1), st.integers(0, shape[1] - 1), bins)
        largest = draw(st.sampled_from(list(WIDTH_OF)))
        for at, count in draw(st.dictionaries(place, st.integers(0, largest), max_size=12)).items():
            counts[at] = count
        counts[draw(place)] = largest
    return counts


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_infinity=False) | names,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)


def json_bytes(value: object) -> bytes:
    return json.dumps(value).encode()


@st.composite
def damaged(draw: st.DrawFn, value: Any) -> Any:
    """A copy of a JSON value with something within it replaced, left out or repeated."""
    value = copy.deepcopy(value)
    part = value
    while True:
        if isinstance(part, dict):
            key: Any = draw(st.sampled_from(sorted(part)))
        else:
            key = draw(st.integers(0, len(part) - 1))
        if not (isinstance(part[key], (dict, list)) and part[key] and draw(st.booleans())):
            break
        part = part[key]
    change = draw(st.sampled_from(["replace", "leave out", "repeat"]))
    if change == "leave out":
        del part[key]
    elif change == "repeat" and isinstance(part, list):
        part.insert(key, part[key])
    else:
        part[key] = draw(json_values)
    return value


def example_layout() -> Layout:
    return Layout(
        (Parameter("a", (3, 4), "float32", 12, 0), Parameter("b", (), "bfloat16", 1, 0)),
        (Group("AdamW", {"amsgrad": False, "fused": None}, ("weight_decay_ratio",)),),
        ("update_rms", "weight_rms", "nonfinite_count"),
        (Quantity("update", True, -52), Quantity("exp_avg_sq", False, -104)),
        (Unoptimized("c", (1,), True),),
    )


LAYOUT = example_layout()


# --- layouts and columns ------------------------------------------------------------------------


@settings(deadline=None)
@given(layouts())
def test_a_layout_is_read_back(layout: Layout) -> None:
    read = Layout.from_content(layout.content())
    assert read == layout
    assert read.content() == layout.content()
    assert read.id == layout.id


@settings(deadline=None)
@given(names, several_names)
def test_columns_are_read_back(name: str, others: tuple[str, ...]) -> None:
    columns = Columns((name, *others))
    assert Columns.from_content(columns.content()) == columns
    assert columns.id != Columns(others).id


@settings(deadline=None)
@given(several_names, several_names)
def test_a_block_says_which_parameters_it_belongs_to(
    parameters: tuple[str, ...], quantities: tuple[str, ...]
) -> None:
    fields = json.loads(HistogramSource(parameters, quantities).content())
    assert fields == {
        "version": VERSION, "parameters": list(parameters), "quantities": list(quantities)
    }  # fmt: skip


def test_another_layout_has_another_id_and_the_same_layout_has_the_same() -> None:
    layout = LAYOUT
    others = [
        dataclasses.replace(layout, parameters=layout.parameters[:1]),
        dataclasses.replace(layout, parameters=layout.parameters[::-1]),
        dataclasses.replace(layout, groups=(Group("AdamW", {"amsgrad": True, "fused": None}),)),
        dataclasses.replace(layout, statistics=layout.statistics[1:]),
        dataclasses.replace(layout, quantities=layout.quantities[1:]),
        dataclasses.replace(layout, unoptimized=(Unoptimized("c", (1,), False),)),
    ]
    assert len({layout.id, *(other.id for other in others)}) == 1 + len(others)
    (group,) = layout.groups
    in_another_order = dataclasses.replace(group, options={"fused": None, "amsgrad": False})
    assert dataclasses.replace(layout, groups=(in_another_order,)).id == layout.id
    assert example_layout().id == layout.id


def test_elements_are_those_of_the_whole_tensor() -> None:
    assert [Parameter("w", shape, "float32", 1, 0).elements for shape in [(), (3, 4), (2, 0)]] == [
        1,
        12,
        0,
    ]


@settings(deadline=None)
@given(damaged(json.loads(LAYOUT.content())))
def test_a_damaged_layout_is_refused_or_can_be_used(fields: Any) -> None:
    content = json_bytes(fields)
    try:
        layout = Layout.from_content(content)
    except FormatError:
        return
    assert Layout.from_content(layout.content()) == layout
    for parameter in layout.parameters:
        assert parameter.elements >= 0
        assert layout.groups[parameter.group]
    for quantity in layout.quantities:
        assert np.isfinite(schema.bin_edges(quantity)).all()


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("parameters", [["w", [2, -1], "float32", 2, 0]], "negative size"),
        ("parameters", [["w", [2], "float32", 2, 1]], "group that does not exist"),
        ("parameters", [["w", [2], "float32", 2, -1]], "group that does not exist"),
        ("parameters", [["w", [2], "float32", 2]], "not a layout"),
        ("parameters", None, "not a layout"),
        ("replaced_settings", [{"lr": [1.0]}], "not a layout"),
        ("replaced_settings", [["lr", 1.0, 2.0]], "not a layout"),
        ("replaced_settings", [{}, {}], "not a layout"),
        ("replaced_settings", 3, "not a layout"),
        ("parameters", [["w", [2**62, 4], "float32", 2, 0]], "2\\^63 elements or more"),
        ("parameters", [["w", [10**4000], "float32", 2, 0]], "2\\^63 elements or more"),
        ("parameters", [["w", [2], "float32", 2**63, 0]], "read is out of range"),
        ("parameters", [["w", [2], "float32", -1, 0]], "read is out of range"),
        ("parameters", [["w", [2], "float32", 2, 0]] * 2, "stands for two"),
        ("quantities", [["update", True, -52]] * 2, "stands for two"),
        ("unoptimized", [["w", [2**63], True]], "2\\^63 elements or more"),
        ("groups", [["AdamW", {"lr": [1]}, [], {}, {}]], "option 'lr'"),
        ("groups", [["AdamW", [[1, 2]], [], {}, {}]], "option 1"),
        ("groups", [["AdamW", 3, []]], "not a layout"),
        ("quantities", [["update", True, 151]], "outside float32"),
        ("quantities", [["update", True, -151]], "outside float32"),
    ],
)
def test_what_is_wrong_with_a_layout_is_told(field: str, value: object, reason: str) -> None:
    fields = json.loads(LAYOUT.content()) | {field: value}
    with pytest.raises(FormatError, match=reason):
        Layout.from_content(json_bytes(fields))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("parameters", [["w", [2], "float32", math.inf, 0]]),
        ("parameters", [["w", [math.inf], "float32", 2, 0]]),
        ("quantities", [["update", True, math.inf]]),
    ],
)
def test_a_layout_with_an_infinite_number_is_refused(field: str, value: object) -> None:
    with pytest.raises(FormatError):
        Layout.from_content(json_bytes(json.loads(LAYOUT.content()) | {field: value}))


@pytest.mark.parametrize(
    "field", ["parameters", "groups", "statistics", "quantities", "unoptimized"]
)
def test_a_layout_without_a_field_is_refused(field: str) -> None:
    fields = json.loads(LAYOUT.content())
    del fields[field]
    with pytest.raises(FormatError, match=field):
        Layout.from_content(json_bytes(fields))


@pytest.mark.parametrize("names", [None, "lr", [1], [["lr"]], {"lr": 1}])
def test_columns_without_names_are_refused(names: object) -> None:
    with pytest.raises(FormatError, match="names no columns"):
        Columns.from_content(json_bytes({"version": VERSION, "columns": names}))


@pytest.mark.parametrize("read", [Layout.from_content, Columns.from_content])
@settings(deadline=None)
@given(content=st.binary(max_size=20) | json_values.map(json_bytes))
@example(content=b"[" * 100_000)
@example(content=b'{"version":' + b"9" * 10_000 + b"}")
@example(content=b'{"version":1e400}')
def test_content_that_is_something_else_is_refused(read: Any, content: bytes) -> None:
    with pytest.raises(FormatError):
        read(content)


@pytest.mark.parametrize("read", [Layout.from_content, Columns.from_content])
@settings(deadline=None)
@given(newer=st.integers(VERSION + 1, 2**70), fields=st.dictionaries(names, json_values))
def test_a_newer_version_is_refused_politely_whatever_else_it_says(
    read: Any, newer: int, fields: dict[str, Any]
) -> None:
    with pytest.raises(NewerVersionError) as refused:
        read(json_bytes(fields | {"version": newer}))
    assert str(refused.value) == (
        f"written by format version {newer}, this reader knows up to {VERSION}: "
        "update tb-adam-plugin"
    )


@pytest.mark.parametrize("version", [None, True, str(VERSION + 1), VERSION + 0.5, [VERSION]])
def test_a_version_that_is_no_number_is_not_a_newer_one(version: object) -> None:
    with pytest.raises(FormatError, match="no version") as refused:
        Columns.from_content(json_bytes({"version": version, "columns": []}))
    assert refused.type is FormatError


# --- tags ---------------------------------------------------------------------------------------

ids = st.text("0123456789abcdef", min_size=1, max_size=10)
other_kinds = st.sampled_from([kind for kind in get_args(schema.Kind) if kind != "histograms"])


@settings(deadline=None)
@given(
    st.builds(Tag, other_kinds, ids, st.none())
    | st.builds(Tag, st.just("histograms"), ids, st.integers(0, 9_999_999))
)
def test_a_tag_is_split_as_it_was_put_together(tag: Tag) -> None:
    assert schema.parse_tag(str(tag)) == tag


@pytest.mark.parametrize(
    "tag",
    [
        "adam_debug",
        "adam_debug/statistics",
        "adam_debug/statistics/",
        "adam_debug/statistics/1a2b/0",
        "adam_debug/gradients/1a2b",
        "/statistics/1a2b",
        "other/statistics/1a2b",
        "adam_debug/histograms/1a2b",
        "adam_debug/histograms//0",
        "adam_debug/histograms/1a2b/",
        "adam_debug/histograms/1a2b/-1",
        "adam_debug/histograms/1a2b/+1",
        "adam_debug/histograms/1a2b/1.5",
        "adam_debug/histograms/1a2b/1_0",
        "adam_debug/histograms/1a2b/ 1",
        "adam_debug/histograms/1a2b/³",
        "adam_debug/histograms/1a2b/٣",
        "adam_debug/histograms/1a2b/12345678",
        "adam_debug/histograms/1a2b/" + "1" * 10_000,
        "adam_debug/histograms/1a2b/0/0",
    ],
)
def test_tags_that_only_resemble_ours_are_left_alone(tag: str) -> None:
    assert schema.parse_tag(tag) is None


@settings(deadline=None)
@given(names)
@example("")
@example("loss")
@example("adam_debug_2/steps/1a2b")
def test_tags_of_others_are_left_alone(tag: str) -> None:
    assert schema.parse_tag(tag) is None


# --- what the numbers are -----------------------------------------------------------------------


def test_every_statistic_and_quantity_has_one_name() -> None:
    # Group.undefined names either, so that they share one space of names.
    known = [s.name for s in schema.STATISTICS] + [q.name for q in schema.QUANTITIES]
    assert len(set(known)) == len(known)
    assert all(name.isascii() and name.isidentifier() for name in known)
    assert list(schema.STATISTIC_BY_NAME.values()) == list(schema.STATISTICS)
    assert all(s.label and s.description for s in schema.STATISTICS)
    assert len(set(schema.STEP_COLUMNS)) == len(schema.STEP_COLUMNS)
    assert len(set(schema.HYPERPARAMETERS.names)) == len(schema.HYPERPARAMETERS.names)


# --- bins ---------------------------------------------------------------------------------------

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


# --- histogram blocks ---------------------------------------------------------------------------


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


# --- damaged blocks -----------------------------------------------------------------------------


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


# --- one event's worth --------------------------------------------------------------------------


WIDTH = BINS + len(SPECIAL)


def test_tensors_say_what_they_are() -> None:
    values = np.arange(6.0).reshape(2, 3)
    statistics = schema.statistics_tensor(LAYOUT, values)  # type: ignore[arg-type]
    assert statistics.tag == f"adam_debug/statistics/{LAYOUT.id}"
    assert statistics.content == LAYOUT.content()
    assert statistics.tensor.dtype == np.dtype("<f4")
    assert statistics.tensor.tolist() == values.tolist()

    columns = Columns(("step", "loss"))
    hyperparameters = schema.hyperparameters_tensor(LAYOUT, np.array([[1e-3, 0.9]]), columns)
    assert hyperparameters.tag == f"adam_debug/hyperparameters/{LAYOUT.id}"
    assert hyperparameters.content == columns.content()
    assert hyperparameters.tensor.dtype == np.dtype("<f8")
    assert hyperparameters.tensor.tolist() == [[1e-3, 0.9]]

    steps = schema.steps_tensor(columns, np.array([[1, 0.5], [2, np.nan]]))
    assert steps.tag == f"adam_debug/steps/{columns.id}"
    assert steps.content == columns.content()
    assert steps.tensor.dtype == np.dtype("<f8")
    np.testing.assert_array_equal(steps.tensor, [[1, 0.5], [2, np.nan]])


def test_every_parameter_has_a_block_of_its_own() -> None:
    counts = np.random.default_rng(0).integers(0, 300, (2, 2, WIDTH))
    tensors = schema.histogram_tensors(LAYOUT, counts)
    assert [t.tag for t in tensors] == [f"adam_debug/histograms/{LAYOUT.id}/{i}" for i in (0, 1)]
    for tagged, parameter, expected in zip(tensors, LAYOUT.parameters, counts, strict=True):
        assert tagged.tensor.dtype == np.uint8
        assert tagged.tensor.ndim == 1
        source = HistogramSource((parameter.name,), ("update", "exp_avg_sq"))
        assert tagged.content == source.content()
        decoded = schema.decode_histograms(tagged.tensor.tobytes(), 2)
        np.testing.assert_array_equal(decoded, expected)


def test_parameters_share_blocks_where_the_layout_says_so() -> None:
    three = (*LAYOUT.parameters, dataclasses.replace(LAYOUT.parameters[0], name="third"))
    layout = dataclasses.replace(LAYOUT, parameters=three, parameters_per_block=2)
    assert Layout.from_content(layout.content()) == layout
    counts = np.random.default_rng(0).integers(0, 300, (3, 2, WIDTH))
    tensors = schema.histogram_tensors(layout, counts)
    assert [t.tag for t in tensors] == [f"adam_debug/histograms/{layout.id}/{i}" for i in (0, 1)]
    names = [[p.name for p in three[:2]], [three[2].name]]
    assert [json.loads(t.content)["parameters"] for t in tensors] == names
    for row, expected in enumerate(counts):
        block, place, parameters = layout.block_of(row)
        decoded = schema.decode_histograms(tensors[block].tensor.tobytes(), 2, parameters)
        np.testing.assert_array_equal(decoded[2 * place : 2 * place + 2], expected)


def test_a_layout_may_say_to_which_modules_its_parameters_belong() -> None:
    assert "modules" not in json.loads(LAYOUT.content())
    first, second = LAYOUT.parameters
    known = dataclasses.replace(
        LAYOUT, parameters=(dataclasses.replace(first, module="Embedding"), second)
    )
    assert json.loads(known.content())["modules"] == ["Embedding", ""]
    assert Layout.from_content(known.content()) == known
    assert known.id != LAYOUT.id
    for damaged in (["Embedding"], 3, ["a", "b", "c"]):
        fields = {**json.loads(known.content()), "modules": damaged}
        with pytest.raises(FormatError):
            Layout.from_content(json.dumps(fields).encode())


@pytest.mark.parametrize("parameters_per_block", [0, -1, 65])
def test_a_wrong_number_of_parameters_in_a_block_is_refused(parameters_per_block: int) -> None:
    content = dataclasses.replace(LAYOUT, parameters_per_block=parameters_per_block).content()
    with pytest.raises(FormatError, match="block"):
        Layout.from_content(content)


def test_other_byte_orders_and_strides_are_written_alike() -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    plain = schema.statistics_tensor(LAYOUT, values)
    for unusual in (values.astype(">f4"), np.asfortranarray(values), values[::-1][::-1]):
        written = schema.statistics_tensor(LAYOUT, unusual)
        assert written.tensor.tobytes() == plain.tensor.tobytes()
    counts = np.arange(2 * 2 * WIDTH).reshape(2, 2, WIDTH)
    for unusual_counts in (counts.astype(">i8"), np.asfortranarray(counts)):
        for one, expected in zip(
            schema.histogram_tensors(LAYOUT, unusual_counts),
            schema.histogram_tensors(LAYOUT, counts),
            strict=True,
        ):
            assert one.tensor.tobytes() == expected.tensor.tobytes()


@pytest.mark.parametrize(
    "shape", [(2, 2), (3, 3), (3, 2), (2, 4), (6,), (2, 3, 1), (1, 2, 3), (0, 3), ()]
)
def test_statistics_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected an array of shape \(2, 3\), got \("):
        schema.statistics_tensor(LAYOUT, np.zeros(shape, np.float32))


@pytest.mark.parametrize("shape", [(1, 4), (2, 5), (5, 1), (5,), (0, 5)])
def test_hyperparameters_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected an array of shape \(1, 5\), got \("):
        schema.hyperparameters_tensor(LAYOUT, np.zeros(shape), Columns(tuple("abcde")))


@pytest.mark.parametrize("shape", [(3, 1), (2,), (2, 3), (2, 2, 1)])
def test_steps_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"expected an array of shape \({shape[0]}, 2\), got \("):
        schema.steps_tensor(Columns(("step", "loss")), np.zeros(shape))


@pytest.mark.parametrize(
    "shape",
    [
        (2, 2, BINS),
        (2, 2, WIDTH + 1),
        (2, 3, WIDTH),
        (2, 1, WIDTH),
        (1, 2, WIDTH),
        (3, 2, WIDTH),
        (2, 2 * WIDTH),
        (2, 2, WIDTH, 1),
    ],
)
def test_histograms_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"expected an array of shape \(2, 2, {WIDTH}\), got \("):
        schema.histogram_tensors(LAYOUT, np.zeros(shape, np.int64))
