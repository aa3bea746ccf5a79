"""Processes with their own parameters write parts, which are read as one run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from event_files import START, counts_of, make_layout, statistics_of, write_run
from in_process import EXPERIMENT, files_of, provider_of, read_folder

from tb_adam_plugin.reading.provider_source import ProviderSource
from tb_adam_plugin.reading.store import Store
from tb_adam_plugin.run_data import load_runs

FIRST = make_layout(["layer0.weight", "layer0.bias"])
SECOND = make_layout(["layer1.weight"], elements=16)

Provider = Callable[[Path], Any]


@pytest.fixture(params=[files_of, provider_of])
def provider(request: pytest.FixtureRequest) -> Provider:
    """What reads the files: our own reader, or TensorBoard's Python loader."""
    found: Provider = request.param
    return found


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    write_run(tmp_path / "run" / "adam_debug", [1, 2, 4], FIRST, histograms=True)
    write_run(tmp_path / "run" / "adam_debug_rank10", [1, 2, 3], SECOND, histograms=True)
    # A process with a copy of what another one has.
    write_run(tmp_path / "run" / "adam_debug_rank2", [1, 2, 4], FIRST, histograms=True)
    return tmp_path


def test_parts_join_by_parameter_name(logs: Path, provider: Provider) -> None:
    store = Store(provider(logs))
    (run,) = store.runs(EXPERIMENT).runs
    assert (run.run, run.name) == ("run/adam_debug", "run")
    assert run.messages == ()
    assert [p.name for p in run.layout.parameters] == [
        "layer0.weight", "layer0.bias", "layer1.weight",
    ]  # fmt: skip
    assert [g.optimizer for g in run.layout.groups] == ["AdamW"]
    records = store.statistic(EXPERIMENT, run.run, "update_rms")
    assert records.step.tolist() == [1, 2, 3, 4]
    assert records.wall_time.tolist() == [START + t for t in (1, 2, 3, 4)]
    assert records.logged is not None
    assert records.logged.tolist() == [
        [True, True, True], [True, True, True], [False, False, True], [True, True, False],
    ]  # fmt: skip
    for row, step in enumerate((1, 2)):
        expected = [*statistics_of(FIRST, step)[:, 1], *statistics_of(SECOND, step)[:, 1]]
        np.testing.assert_array_equal(records.values[row], expected)
    assert np.isnan(records.values[2, :2]).all()
    assert np.isnan(records.values[3, 2])


def test_a_parameter_is_read_where_it_was_written(logs: Path, provider: Provider) -> None:
    store = Store(provider(logs))
    for layout, name, steps in (
        (FIRST, "layer0.bias", [1, 2, 4]),
        (SECOND, "layer1.weight", [1, 2, 3]),
    ):
        row = [p.name for p in layout.parameters].index(name)
        records = store.parameter(EXPERIMENT, "run/adam_debug", name)
        assert records.step.tolist() == steps
        np.testing.assert_array_equal(
            records.values[1], [statistics_of(layout, t)[row, 1] for t in steps]
        )
        histograms = store.histograms(EXPERIMENT, "run/adam_debug", name, ["exp_avg"], 100)
        np.testing.assert_array_equal(
            histograms.counts[:, 0], [counts_of(layout, t)[row, 0] for t in steps]
        )
    hyperparameters = store.hyperparameters(EXPERIMENT, "run/adam_debug")
    assert hyperparameters.step.tolist() == [1, 2, 3, 4]
    assert hyperparameters.values[0, 0].tolist() == [1, 2, 3, 4]


def test_squared_gradient_norms_add_up_where_all_parts_have_them(
    logs: Path, provider: Provider
) -> None:
    steps = Store(provider(logs)).steps(EXPERIMENT, "run/adam_debug")
    columns = dict(zip(steps.names, steps.values, strict=True))
    assert columns["step"].tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(columns["gradient_norm"], [2**0.5, 2**0.5, np.nan, np.nan])
    assert columns["loss"].tolist() == [1.0] * 4


def test_a_part_that_grows_is_read_anew(logs: Path) -> None:
    provider = read_folder(logs)
    store = Store(ProviderSource(provider))
    before = store.runs(EXPERIMENT).revision
    write_run(logs / "run" / "adam_debug_rank10", [4], SECOND)
    provider.reload()
    store = Store(ProviderSource(provider))
    assert store.runs(EXPERIMENT).revision != before
    assert store.statistic(EXPERIMENT, "run/adam_debug", "update_rms").logged is not None
    steps = store.steps(EXPERIMENT, "run/adam_debug")
    norms = steps.values[steps.names.index("gradient_norm")]
    np.testing.assert_allclose(norms, [2**0.5, 2**0.5, np.nan, 2**0.5])


def test_parts_are_in_the_order_of_their_ranks(tmp_path: Path) -> None:
    for rank in (11, 2, 1):
        layout = make_layout([f"layer{rank}.weight"])
        write_run(tmp_path / "run" / f"adam_debug_rank{rank}", [1], layout)
    write_run(tmp_path / "run" / "adam_debug_rank", [1], FIRST)  # no rank
    other, run = load_runs(tmp_path)
    assert other.name == "run"
    assert [p.name for p in other.parameters] == [
        "layer1.weight", "layer2.weight", "layer11.weight",
    ]  # fmt: skip
    assert run.name == "run/adam_debug_rank"


def test_findings_are_of_all_parts(logs: Path) -> None:
    (run,) = load_runs(logs)
    assert run.findings() is not None
    assert run.steps.tolist() == [1, 2, 3, 4]
