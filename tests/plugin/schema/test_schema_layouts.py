"""Layouts, columns and tags: what is encoded is decoded again, and damage is a ``FormatError``."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from schema_values import (
    LAYOUT,
    damaged,
    example_layout,
    json_bytes,
    json_values,
    layouts,
    names,
    several_names,
)

from tb_adam_plugin import schema
from tb_adam_plugin.schema import (
    VERSION,
    Columns,
    FormatError,
    Group,
    HistogramSource,
    Layout,
    NewerVersionError,
    Parameter,
    Tag,
    Unoptimized,
)


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
        ("parameters", [["w", [2], "float32", 2, 0]] * 2, "have the same name"),
        ("quantities", [["update", True, -52]] * 2, "have the same name"),
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
    with pytest.raises(FormatError, match="has no columns"):
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


def test_every_statistic_and_quantity_has_one_name() -> None:
    # Group.undefined names either, so they share one namespace.
    known = [s.name for s in schema.STATISTICS] + [q.name for q in schema.QUANTITIES]
    assert len(set(known)) == len(known)
    assert all(name.isascii() and name.isidentifier() for name in known)
    assert list(schema.STATISTIC_BY_NAME.values()) == list(schema.STATISTICS)
    assert all(s.label and s.description for s in schema.STATISTICS)
    assert len(set(schema.STEP_COLUMNS)) == len(schema.STEP_COLUMNS)
    assert len(set(schema.HYPERPARAMETERS.names)) == len(schema.HYPERPARAMETERS.names)
