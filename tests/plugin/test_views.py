from __future__ import annotations

import json
import struct
import time
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from in_process import unpack

from tb_adam_plugin import schema
from tb_adam_plugin.diagnosis.engine.healthy_ranges import RANGES
from tb_adam_plugin.reading.answers import HistogramRecords, Runs, StatisticRecords
from tb_adam_plugin.reading.run import Message
from tb_adam_plugin.reading.run_listing import RunListing
from tb_adam_plugin.schema import Group, Layout, Parameter, Unoptimized
from tb_adam_plugin.serving import json_answers, packing
from tb_adam_plugin.serving.packed_answers import histograms, overview

ARRAYS = st.dictionaries(
    st.text(max_size=20),
    st.sampled_from([np.float32, np.float64, np.uint32, np.uint8]).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0))
    ),
    max_size=5,
)


def records(values: npt.NDArray[np.float32], **logged: Any) -> StatisticRecords:
    step = np.arange(1, values.shape[0] + 1, dtype=np.float64)
    return StatisticRecords(step, 100 + step, values, logged.get("logged"))


@given(ARRAYS, st.dictionaries(st.text(), st.text() | st.integers(), max_size=3))
def test_packed_arrays_come_back_bit_for_bit(
    arrays: dict[str, npt.NDArray[Any]], fields: dict[str, Any]
) -> None:
    fields.pop("arrays", None)
    header, found = unpack(packing.pack(fields, arrays))
    assert header == fields
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


def test_the_first_bytes_are_as_documented() -> None:
    answer = packing.pack({"a": 1}, {"x": np.array([1, 2], np.uint8)})
    text = b'{"a":1,"arrays":[{"name":"x","dtype":"uint8","shape":[2],"offset":80}]}'
    assert answer == b"ADBG" + struct.pack("<I", 72) + text.ljust(72) + b"\1\2" + bytes(6)


def test_other_dtypes_are_refused() -> None:
    with pytest.raises(ValueError, match="array x is int64, expected one of"):
        packing.pack({}, {"x": np.array([1])})


def test_the_overview_has_one_column_a_step_where_they_fit() -> None:
    values = np.arange(6, dtype=np.float32).reshape(3, 2)
    header, arrays = unpack(overview("r", "update_rms", records(values), 10))
    assert header == {
        "run": "r",
        "statistic": "update_rms",
        "against": None,
        "earlier": {"steps": 0, "wall_time": 0.0},
        "total": {"steps": 3, "wall_time": 103.0},
    }
    assert arrays["values"].tolist() == [[0, 2, 4], [1, 3, 5]]
    assert arrays["first_step"].tolist() == arrays["last_step"].tolist() == [1, 2, 3]
    assert arrays["wall_time"].tolist() == [101, 102, 103]
    assert "logged" not in arrays


def test_the_overview_thins_out_to_the_worst() -> None:
    values = np.array([[1e-3], [5e-3], [1e-3], [1e-6], [1e-3]], np.float32)
    header, arrays = unpack(overview("r", "update_to_weight_ratio", records(values), 2))
    assert header["total"]["steps"] == 5
    assert arrays["values"].tolist() == [[np.float32(5e-3), np.float32(1e-6)]]
    assert arrays["first_step"].tolist() == [1, 3]
    assert arrays["last_step"].tolist() == [2, 5]
    assert arrays["wall_time"].tolist() == [102, 105]


@pytest.mark.parametrize(
    ("first", "last", "steps"),
    [(2, 3, [2, 3]), (4, 9, [4]), (5, 9, []), (0, 0, []), (3, 3, [3])],
)
def test_the_overview_of_a_range_includes_both_ends(
    first: int, last: int, steps: list[int]
) -> None:
    values = np.arange(8, dtype=np.float32).reshape(4, 2)
    header, arrays = unpack(overview("r", "update_rms", records(values), 9, (first, last)))
    assert header["total"]["steps"] == len(steps)
    assert arrays["first_step"].tolist() == steps
    assert arrays["values"].shape == (2, len(steps))


@pytest.mark.parametrize("columns", [2, 4, 9])
def test_the_overview_says_where_nothing_was_logged(columns: int) -> None:
    values = np.ones((4, 2), np.float32)
    logged = np.array([[True, False], [True, False], [True, True], [True, False]])
    _, arrays = unpack(overview("r", "update_rms", records(values, logged=logged), columns))
    expected = [[1, 1], [0, 1]] if columns == 2 else [[1, 1, 1, 1], [0, 0, 1, 0]]
    assert arrays["logged"].tolist() == expected
    assert (np.isnan(arrays["values"]) == (arrays["logged"] == 0)).all()


def test_the_overview_of_a_range_that_was_all_logged_needs_no_mask() -> None:
    logged = np.array([[False], [True], [True]])
    found = records(np.ones((3, 1), np.float32), logged=logged)
    _, arrays = unpack(overview("r", "update_rms", found, 9, (2, 3)))
    assert "logged" not in arrays


def test_steps_written_anew_by_a_restart_show_in_what_is_earlier() -> None:
    before = records(np.ones((4, 1), np.float32))
    wall_time = before.wall_time.copy()
    wall_time[1:3] = 500, 501  # steps 2 and 3 were run again
    after = replace(before, wall_time=wall_time)
    known, _ = unpack(overview("r", "update_rms", before, 9))
    same, _ = unpack(overview("r", "update_rms", before, 9, since=4))
    changed, _ = unpack(overview("r", "update_rms", after, 9, since=4))
    assert same["earlier"] == known["total"]
    assert changed["earlier"] != known["total"]


def test_ratios_to_another_run_thin_out_to_the_furthest_from_one() -> None:
    values = np.array([[1.2], [0.2], [1.5], [2.0]], np.float32)
    header, arrays = unpack(
        overview("r", "update_to_weight_ratio", records(values), 1, against="other")
    )
    assert header["against"] == "other"
    assert arrays["values"].tolist() == [[np.float32(0.2)]]


def test_the_overview_of_a_large_model_takes_less_than_half_a_second() -> None:
    values = np.random.default_rng(0).lognormal(-7, 1, (2000, 1000)).astype(np.float32)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        _, arrays = unpack(overview("r", "update_to_weight_ratio", records(values), 1024))
        times.append(time.perf_counter() - start)
    assert arrays["values"].shape == (1000, 1024)
    assert min(times) < 0.5


def histogram_records(values: list[list[float]], quantity: schema.Quantity) -> HistogramRecords:
    parameter = Parameter("w", (4, 5), "float32", 10, 0)
    step = np.arange(len(values), dtype=np.float64)
    counts = np.array([[schema.count_values(v, quantity)] for v in values])
    return HistogramRecords(parameter, step, step, (quantity,), counts, step, step, 1)


@pytest.mark.parametrize("quantity", schema.QUANTITIES[:2])
def test_histograms_are_cut_to_the_used_bins(quantity: schema.Quantity) -> None:
    values = [[1e-3, 2e-3, 0.0, np.nan], [1e-4, 1e-3, np.inf, -np.inf], [0.0, 0.0, 0.0, 1e-41]]
    header, arrays = unpack(histograms("r", histogram_records(values, quantity)))
    assert header == {
        "run": "r",
        "parameter": "w",
        "quantities": [{"name": quantity.name, "signed": quantity.signed}],
        "elements": 20,
        "elements_read": 10,
        "earlier": {"steps": 1, "wall_time": 0.0},
        "total": {"steps": 3, "wall_time": 2.0},
    }
    counts, edges = arrays[f"{quantity.name}/counts"], arrays[f"{quantity.name}/edges"]
    assert counts.sum(axis=1).tolist() == [2, 2, 0]
    assert counts[:, 0].any()
    assert counts[:, -1].any()
    assert edges.size == counts.shape[1] + 1
    for row, kept in zip(counts, [[1e-3, 2e-3], [1e-4, 1e-3]], strict=False):
        expected = np.histogram(kept, edges)[0]
        assert row.tolist() == expected.tolist()
    # zeros, subnormal, -inf, +inf, NaN
    special = arrays[f"{quantity.name}/special"].tolist()
    assert special == [[1, 0, 0, 0, 1], [0, 0, 1, 1, 0], [3, 1, 0, 0, 0]]


def test_a_histogram_of_zeros_alone_has_no_bins() -> None:
    quantity = schema.QUANTITIES[0]
    _, arrays = unpack(histograms("r", histogram_records([[0.0, 0.0]], quantity)))
    assert arrays["exp_avg/counts"].shape == (1, 0)
    assert arrays["exp_avg/edges"].shape == (1,)
    assert arrays["exp_avg/special"].tolist() == [[2, 0, 0, 0, 0]]


def test_the_summary_is_strict_json_whatever_the_names_and_options() -> None:
    layout = Layout(
        (Parameter("вес\ud800", (2, 3), "bfloat16", 6, 0),),
        (
            Group(
                "AdamW",
                {"clip": float("inf"), "fused": None},
                ("exp_avg",),
                {"exp_avg_sq": "a sum"},
                {"exp_avg_sq": "uint8"},
            ),
        ),
        ("update_rms",),
        schema.QUANTITIES[:1],
        (Unoptimized("frozen", (), False),),
    )

    class Listed:
        plugin_content = layout.content()
        max_step = 5
        max_wall_time = 6.5

    (run,), _ = RunListing().describe(
        {"exp1": {f"adam_debug/statistics/{layout.id}": Listed()}}, {}
    )
    found = json.loads(json_answers.summary(Runs((run,), (Message("error", "oh"),), "abc")))
    assert found["runs"] == [
        {
            "run": "exp1",
            "name": "exp1",
            "last_step": 5,
            "last_wall_time": 6.5,
            "parameters": [
                {
                    "name": "вес\ud800",
                    "shape": [2, 3],
                    "dtype": "bfloat16",
                    "elements": 6,
                    "elements_read": 6,
                    "group": 0,
                    "kind": "matrix",
                }
            ],
            "groups": [
                {
                    "optimizer": "AdamW",
                    "options": {"clip": "inf", "fused": None},
                    "undefined": ["exp_avg"],
                    "meanings": {"exp_avg_sq": "a sum"},
                    "storage": {"exp_avg_sq": "uint8"},
                    "healthy_ratios": {
                        kind: list(range_) for kind, range_ in RANGES["adaptive"].items()
                    },
                }
            ],
            "unoptimized": [
                {"name": "frozen", "shape": [], "trainable": False, "other_optimizer": ""}
            ],
            "statistics": ["update_rms"],
            "quantities": [{"name": "exp_avg", "signed": True}],
            "step_columns": [],
            "strip_columns": [],
            "gradient_norms": False,
            "scalars": [],
            "messages": [],
        }
    ]
    assert found["messages"] == [{"severity": "error", "text": "oh"}]
    assert found["revision"] == "abc"
    assert {s["name"] for s in found["statistics"]} == set(schema.STATISTIC_BY_NAME)
