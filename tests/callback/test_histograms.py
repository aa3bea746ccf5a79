"""Histograms against a direct count, bin by bin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from recorded_run import read_run
from torch import nn

from tb_adam_plugin import schema
from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.measure import histograms

QUANTITY = {quantity.name: quantity for quantity in schema.QUANTITIES}


def count_by_edges(values: npt.ArrayLike, quantity: schema.Quantity) -> schema.Counts:
    """Count with NumPy's histogram and the documented edges, not with bits."""
    x = np.asarray(values, np.float32).ravel().astype(np.float64)
    smallest_normal = float(np.finfo(np.float32).tiny)
    special = [
        x == 0,
        (np.abs(x) < smallest_normal) & (x != 0),
        x == -np.inf,
        x == np.inf,
        np.isnan(x),
    ]
    normal = x[~np.any(special, axis=0)]
    edges = schema.bin_edges(quantity)
    if not quantity.signed:
        positive = np.abs(normal)
        counts = np.histogram(np.minimum(positive, np.nextafter(edges[-1], 0)), edges)[0]
    else:
        # NumPy's bins are closed on the left, ours towards zero: mirrored for negative values.
        middle = len(edges) // 2
        inside = np.nextafter(edges[-1], 0)
        positive = np.minimum(normal[normal > 0], inside)
        negative = np.minimum(-normal[normal < 0], inside)
        right = np.histogram(positive, edges[middle:])[0]
        counts = np.concatenate([np.histogram(negative, edges[middle:])[0][::-1], right])
    return np.concatenate([counts, [int(s.sum()) for s in special]]).astype(np.int64)


def count_on_device(
    parameters: list[npt.NDArray[np.float32]], quantity: schema.Quantity
) -> schema.Counts:
    """Count several parameters at once, in rows of 8 with zeros for padding, as the panel does."""
    rows = [max(1, -(-len(values) // 8)) for values in parameters]
    padded = [
        np.pad(values, (0, 8 * n - len(values))) for values, n in zip(parameters, rows, strict=True)
    ]
    matrix = torch.from_numpy(np.concatenate(padded)).view(-1, 8)
    owners = torch.arange(len(parameters)).repeat_interleave(torch.tensor(rows))
    codes = histograms.count_rows(
        matrix,
        histograms.code_offsets(owners),
        len(parameters),
        torch.empty(matrix.shape, dtype=torch.int32),
        histograms.CodeTable(torch.int32),
    ).numpy()
    zeros = np.array([int((values == 0).sum()) for values in padded])
    lengths = np.array([len(values) for values in parameters])
    counts = np.zeros((len(parameters), histograms.COUNTS), np.int64)
    histograms.to_bins(codes, quantity, counts)
    histograms.separate_zeros(counts, zeros, np.array(rows) * 8 - lengths)
    return counts


any_bits = st_numpy.arrays(np.uint32, st.integers(0, 60)).map(lambda bits: bits.view(np.float32))
ordinary = st_numpy.arrays(
    np.float32,
    st.integers(0, 60),
    elements=st.floats(-1e4, 1e4, width=32) | st.sampled_from([0.0, -0.0, 1.25, 2.0**-52, 2.0**12]),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(any_bits | ordinary, min_size=1, max_size=5), st.sampled_from(schema.QUANTITIES))
def test_histograms_equal_a_direct_count(
    parameters: list[npt.NDArray[np.float32]], quantity: schema.Quantity
) -> None:
    counts = count_on_device(parameters, quantity)
    for values, row in zip(parameters, counts, strict=True):
        assert row.sum() == len(values)
        assert row.tolist() == count_by_edges(values, quantity).tolist()
        assert row.tolist() == schema.count_values(values, quantity).tolist()


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("parameters", [1, 32, 33, 64])
def test_codes_are_counted_in_memory_that_is_used_again(
    parameters: int, dtype: torch.dtype
) -> None:
    table = histograms.CodeTable(dtype)
    for elements in (1, 70_000, 16_384, 0):
        codes = torch.randint(parameters * histograms.CODES, (elements,), dtype=torch.int32)
        counts = table.count(codes, parameters * histograms.CODES)
        expected = np.bincount(codes.numpy(), minlength=parameters * histograms.CODES)
        assert counts.tolist() == expected.tolist()


@pytest.mark.parametrize("few", [0, 32])
@pytest.mark.parametrize("at_once", [1, 2, 64])
def test_a_parameter_goes_on_in_the_next_blocks(
    at_once: int, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(histograms, "_FEW_PARAMETERS", few)
    monkeypatch.setattr(histograms, "_PARAMETERS_AT_ONCE", at_once)
    rows = torch.randn(12, 8) * torch.logspace(-30, 10, 12)[:, None]
    rows[3, 3], rows[7, 1], rows[11, 7] = 0, torch.nan, torch.inf
    owners = torch.tensor([0, 0, 1, 1, 1, 1, 1, 1, 1, 2, 3, 3])
    ends = np.cumsum(np.bincount(owners))
    counts = histograms.HistogramCounts(
        schema.QUANTITIES, np.bincount(owners) * 8, torch.device("cpu")
    )
    for _ in range(2):  # memory is used again
        counts.begin()
        for first in range(0, 12, 4):
            of_block = owners[first : first + 4]
            start = int(of_block[0])
            for cut in histograms.cuts((of_block - start).numpy(), torch.device("cpu")):
                table = histograms.count_rows(
                    rows[first : first + 4][cut.rows],
                    cut.offsets,
                    cut.parameters.stop - cut.parameters.start,
                    torch.empty(4, 8, dtype=torch.int32)[cut.rows],
                    counts.table,
                )
                parameters = slice(start + cut.parameters.start, start + cut.parameters.stop)
                counts.begin_cut(parameters)
                for index in range(len(schema.QUANTITIES)):
                    counts.add(index, parameters, table.clone())
                here = np.arange(parameters.start, parameters.stop)
                ended = here[ends[here] <= first + 4]
                zeros = [np.array([0, 1, 0, 0])[ended]] * len(schema.QUANTITIES)
                is_there = np.ones((len(schema.QUANTITIES), len(ended)), bool)
                counts.end_cut(zeros, np.zeros(len(ended), np.int64), is_there)
        found = counts.take().dense()
        for parameter in range(4):
            values = rows[owners == parameter].numpy()
            for index, quantity in enumerate(schema.QUANTITIES):
                expected = schema.count_values(values, quantity)
                assert found[parameter, index].tolist() == expected.tolist()


def test_every_edge_belongs_to_the_bin_that_the_documentation_says() -> None:
    for quantity in schema.QUANTITIES:
        edges = schema.bin_edges(quantity).astype(np.float32)
        around = np.concatenate([edges, np.nextafter(edges, -1), np.nextafter(edges, 1)])
        (row,) = count_on_device([around], quantity)
        assert row.tolist() == count_by_edges(around, quantity).tolist()


def test_a_signalling_nan_is_no_infinity() -> None:
    values = np.array([0x7F800001, 0xFF800001, 0x7F800000, 0xFF800000], np.uint32).view(np.float32)
    (row,) = count_on_device([values], QUANTITY["gradient"])
    special = dict(zip(schema.SPECIAL, row[schema.BINS :].tolist(), strict=True))
    assert special == {
        "zero": 0, "subnormal": 0, "negative_infinity": 1, "positive_infinity": 1, "nan": 2
    }  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_recorded_histograms_are_those_of_weight_gradient_update_and_moments(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 4)).to(dtype)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    parameters = dict(model.named_parameters())
    with AdamDebugCallback(model, optimizer, log_dir=tmp_path, every_n_steps=1, on_error="raise"):
        for _ in range(2):
            optimizer.zero_grad()
            model(torch.randn(16, 30, dtype=dtype)).square().mean().backward()
            before = {name: p.detach().float() for name, p in parameters.items()}
            before = {name: weight.clone() for name, weight in before.items()}
            optimizer.step()
    run = read_run(tmp_path)
    for name, parameter in parameters.items():
        assert parameter.grad is not None
        state = optimizer.state[parameter]
        truth = {
            "exp_avg": state["exp_avg"],
            "exp_avg_sq": state["exp_avg_sq"],
            "update": parameter.detach().float() - before[name],
            "weight": parameter.detach(),
            "gradient": parameter.grad,
        }
        assert [q.name for q in run.layout.quantities] == list(truth)
        for quantity, values in truth.items():
            expected = count_by_edges(values.float().numpy(), QUANTITY[quantity])
            assert run.histogram(2, name, quantity).tolist() == expected.tolist(), quantity


def test_histograms_can_have_an_interval_of_their_own(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight])
    with AdamDebugCallback(
        [("weight", weight)],
        optimizer,
        log_dir=tmp_path,
        every_n_steps=40,
        histograms_every_n_steps=50,
        on_error="raise",
    ):
        for _ in range(101):
            weight.grad = torch.ones(3)
            optimizer.step()
    run = read_run(tmp_path)
    assert sorted(run.statistics) == [1, 2, 4, 8, 16, 32, 40, 50, 64, 80, 100]
    assert sorted(run.histograms) == [1, 2, 4, 8, 16, 32, 50, 64, 100]
    assert sorted(run.steps) == list(range(1, 102))
