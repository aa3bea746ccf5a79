"""More is read of a parameter whose sample cannot tell how large its error is."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from recorded_run import RecordedRun, read_run
from torch import nn

from tb_adam_plugin import schema
from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.measure import row_ages
from tb_adam_plugin.callback.steps.samples import Samples
from tb_adam_plugin.run_data import load_runs

ROWS, WIDTH = 16_384, 16  # a row is a line: it is read as a whole, or not at all
ERROR = "update_rms_standard_error"


def train(folder: Path | None, steps: int, exact: bool = False) -> nn.ParameterDict:
    """Train an embedding of which a batch has one row, and a matrix."""
    generator = torch.Generator().manual_seed(0)
    model = nn.ParameterDict(
        {
            "embedding": nn.Parameter(torch.randn(ROWS, WIDTH, generator=generator)),
            "matrix": nn.Parameter(torch.randn(512, 64, generator=generator)),
        }
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    debug = None
    if folder is not None:
        debug = AdamDebugCallback(
            model, optimizer, log_dir=folder, every_n_steps=1, exact=exact, on_error="raise"
        )
    for _ in range(steps):
        gradient = torch.zeros(ROWS, WIDTH)
        gradient[torch.randint(ROWS, (1,), generator=generator)] = 1.0
        model["embedding"].grad = gradient
        model["matrix"].grad = torch.randn(512, 64, generator=generator)
        optimizer.step()
    if debug is not None:
        debug.close()
    return model


def read_of(run: RecordedRun, step: int) -> dict[str, int]:
    return {p.name: p.elements_read for p in run.layouts[run.layout_at[step]].parameters}


def test_more_is_read_of_what_a_sample_cannot_tell(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        train(tmp_path, 9)
    run = read_run(tmp_path)
    assert sorted(run.statistics) == list(range(1, 10))
    embedding = [read_of(run, step)["embedding"] for step in range(1, 10)]
    assert embedding == [16_384] * 3 + [65_536] * 3 + [ROWS * WIDTH] * 3  # at last all of it
    assert {read_of(run, step)["matrix"] for step in range(1, 10)} == {16_384}
    assert np.isnan([run.of(step, "embedding")[ERROR] for step in range(1, 4)]).all()
    assert [run.of(step, "embedding")[ERROR] for step in range(7, 10)] == [0] * 3
    assert all(0 < run.of(step, "matrix")[ERROR] < 0.05 for step in range(1, 10))
    assert caplog.text.count("elements of embedding") == 2
    (loaded,) = load_runs(tmp_path)
    rms = loaded.statistic("update_rms")
    assert rms.shape == (9, 2)
    assert np.isfinite(rms).all()


def test_training_does_not_see_that_more_is_read(tmp_path: Path) -> None:
    with_it, without = train(tmp_path, 8), train(None, 8)
    assert len(read_run(tmp_path).layouts) == 3
    for name, weight in without.items():
        assert torch.equal(with_it[name], weight)


def test_rows_without_gradient_are_followed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_ages, "LEAST_STEPS", 3)
    monkeypatch.setattr(row_ages, "LEAST_RECORDS", 3)
    runs = []
    for name, exact in (("sampled", False), ("exact", True)):
        train(tmp_path / name, 8, exact)
        runs.append(read_run(tmp_path / name))
    idle = [
        [run.of(step, "embedding")["idle_row_fraction"] for step in range(1, 9)] for run in runs
    ]
    assert np.isfinite(idle[0][3:]).all()
    np.testing.assert_array_equal(idle[0], idle[1])


NAMES = (ERROR, "update_rms", "zero_gradient_fraction")


def noted(samples: Samples, *of_parameters: tuple[float, float, float]) -> None:
    """Note the three statistics of parameters of ten million elements."""
    most = samples.most
    assert most is not None
    layout = schema.Layout(
        parameters=tuple(
            schema.Parameter(f"p{i}", (10_000_000,), "float32", samples.grown.get(f"p{i}", most), 0)
            for i in range(len(of_parameters))
        ),
        groups=(schema.Group("SGD", {}),),
        statistics=NAMES,
        quantities=(),
    )
    statistics: npt.NDArray[np.float32] = np.array(of_parameters, np.float32)
    samples.note(layout, statistics)


NAN = float("nan")
UNKNOWN, KNOWN = (NAN, 1.0, 0.9), (0.01, 1.0, 0.9)


def test_three_records_in_a_row_have_to_be_unknown() -> None:
    samples = Samples(16_384)
    for found in (UNKNOWN, UNKNOWN, KNOWN, UNKNOWN, UNKNOWN):
        noted(samples, found)
        assert not samples.grow(["p0"])
    noted(samples, UNKNOWN)
    assert samples.grow(["p0"])
    assert samples.grown == {"p0": 65_536}
    assert not samples.grow(["p0"])


def test_what_does_not_move_where_it_has_a_gradient_is_left_alone() -> None:
    samples = Samples(16_384)
    for _ in range(5):
        noted(samples, (NAN, 0.0, 0.2), (NAN, 0.0, 1.0))
    assert samples.grow(["p0", "p1"])
    assert set(samples.grown) == {"p1"}  # its sample has no gradient at all


def test_no_parameter_and_not_all_of_them_grow_without_end() -> None:
    for count in (2, 40):
        samples = Samples(16_384)
        names = [f"p{i}" for i in range(count)]
        for _ in range(40):
            noted(samples, *[UNKNOWN] * count)
            samples.grow(names)
        largest = max(samples.grown.values())
        assert largest == (16 if count == 2 else 4) * 16_384
        more = sum(size - 16_384 for size in samples.grown.values())
        assert (1 << 20) - 4 * largest < more <= 1 << 20 or count == 2


def test_small_samples_and_short_memory_stay_as_they_are() -> None:
    small, short = Samples(1024), Samples(16_384)
    for samples in (small, short):
        for _ in range(3):
            noted(samples, UNKNOWN)
    assert not small.grow(["p0"])
    assert short.grow(["p0"])
    assert short.shrink()
    assert (short.most, short.grown) == (8192, {})
    for _ in range(5):
        noted(short, UNKNOWN)
    assert not short.grow(["p0"])


def test_a_parameter_that_is_gone_frees_its_share() -> None:
    samples = Samples(16_384)
    for _ in range(3):
        noted(samples, UNKNOWN, KNOWN)
    assert samples.grow(["p0", "p1"])
    for _ in range(3):
        noted(samples, KNOWN, UNKNOWN)
    assert samples.grow(["p1"])
    assert samples.grown == {"p1": 65_536}
