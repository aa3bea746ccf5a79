"""The tensors of one event: their content, and refused shapes."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from schema_values import LAYOUT

from tb_adam_plugin import schema
from tb_adam_plugin.schema import BINS, SPECIAL, Columns, FormatError, HistogramSource, Layout

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
