"""What a restart leaves of the records before it, with the same model or a different one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from event_files import (
    START,
    counts_of,
    event,
    make_layout,
    statistics_of,
    step_tensors,
    write_events,
)
from hypothesis import given
from hypothesis import strategies as st
from in_process import EXPERIMENT, files_of, provider_of, unpack
from tensorboard_process import TensorBoard, running_tensorboard, wait_until

from tb_adam_plugin import schema
from tb_adam_plugin.reading.records import standing
from tb_adam_plugin.reading.run import StoredRun
from tb_adam_plugin.reading.store import Store
from tb_adam_plugin.run_data import load_runs
from tb_adam_plugin.schema import Columns, Layout

Provider = Callable[[Path], Any]

RESNET = make_layout(["conv1.weight", "bn.weight", "fc.weight"], elements=32)
MLP = make_layout(["0.weight", "2.weight"])
DAY = 86_400.0
PLAIN = Columns((*schema.STEP_COLUMNS, "loss"))
MORE = Columns((*schema.STEP_COLUMNS, "accuracy", "loss"))


@pytest.fixture(params=[files_of, provider_of])
def provider(request: pytest.FixtureRequest) -> Provider:
    """What reads the files: our own reader, or TensorBoard's Python loader."""
    found: Provider = request.param
    return found


def write_training(
    folder: Path,
    layout: Layout,
    steps: Iterable[int],
    *,
    day: float,
    columns: Columns = PLAIN,
    histograms: Iterable[int] = (),
    norms: Iterable[int] = (),
    name: str = "",
    part: str = "adam_debug",
) -> None:
    """Write one training into a file: a record per step, with ``loss = day``.

    Args:
        folder: Folder of the run.
        layout: Layout of the model.
        steps: The steps.
        day: The date, and the seed of the values.
        columns: Columns of the steps.
        histograms: Steps with histograms, too.
        norms: Steps with gradient norms, written with the last step.
        name: Name of the file; by default from the day.
        part: Name of our folder.
    """
    steps = list(steps)
    events = []
    for t in steps:
        now = START + DAY * day + t
        tensors = step_tensors(layout, t, seed=int(day), histograms=t in set(histograms))
        row = [t, now, 1.0, 1e-3, 0.5, 0.0, 0.0, 1.0, *[0.5] * (columns == MORE), day]
        tensors[2] = schema.steps_tensor(columns, np.array([row]))
        if t == steps[-1] and list(norms):
            table = np.array([[n, *[day] * len(layout.parameters)] for n in norms], np.float64)
            names = Columns(("step", *(p.name for p in layout.parameters)))
            tensors.append(
                schema.TaggedTensor(f"adam_debug/gradient_norms/{names.id}", table, names.content())
            )
        events.append(event(t, tensors, now))
    write_events(folder / part, events, name or f"{int(day)}")


def read(folder: Path, provider: Provider) -> tuple[Store, StoredRun]:
    store = Store(provider(folder))
    (run,) = store.runs(EXPERIMENT).runs
    assert store.run(EXPERIMENT, run.run) == run
    return store, run


def losses(store: Store, run: StoredRun) -> dict[float, float]:
    found = store.steps(EXPERIMENT, run.run)
    values = found.values[found.names.index("loss")]
    return dict(zip(found.step.tolist(), values.tolist(), strict=True))


@pytest.mark.parametrize("columns", [PLAIN, MORE])
@pytest.mark.parametrize("length", [5, 20, 30])
def test_nothing_is_left_of_another_model(
    tmp_path: Path, provider: Provider, columns: Columns, length: int
) -> None:
    every = range(1, 21)
    write_training(
        tmp_path, RESNET, every, day=0, columns=columns, histograms=every, norms=range(5, 21)
    )
    steps = list(range(1, length + 1))
    write_training(tmp_path, MLP, steps, day=1, histograms=[1, 4])
    store, run = read(tmp_path, provider)
    assert run.layout.layouts == {MLP.id: MLP}
    assert [p.name for p in run.layout.parameters] == ["0.weight", "2.weight"]
    found = store.statistic(EXPERIMENT, run.run, "update_rms")
    assert (found.step.tolist(), found.logged) == (steps, None)
    np.testing.assert_array_equal(found.values, [statistics_of(MLP, t, 1)[:, 1] for t in steps])
    assert losses(store, run) == dict.fromkeys(steps, 1.0)
    assert run.step_columns == PLAIN.names
    assert run.last == (length, START + DAY + length)
    assert store.hyperparameters(EXPERIMENT, run.run).step.tolist() == steps
    histograms = store.histograms(EXPERIMENT, run.run, "2.weight", ["exp_avg"], 100)
    assert histograms.step.tolist() == [1, 4]
    assert store.gradient_norms(EXPERIMENT, run.run).step.size == 0
    assert [layout for _, layout in store.layouts(EXPERIMENT, run.run)] == [MLP]


def test_nothing_is_left_of_another_model_where_steps_are_counted_on(
    tmp_path: Path, provider: Provider
) -> None:
    write_training(tmp_path, RESNET, range(1, 21), day=0, norms=range(5, 9))
    write_training(tmp_path, MLP, range(11, 16), day=1)  # initial_step=10
    store, run = read(tmp_path, provider)
    assert [p.name for p in run.layout.parameters] == ["0.weight", "2.weight"]
    steps = list(range(11, 16))
    assert store.statistic(EXPERIMENT, run.run, "update_rms").step.tolist() == steps
    assert store.gradient_norms(EXPERIMENT, run.run).step.size == 0
    assert losses(store, run) == dict.fromkeys(steps, 1.0)


def test_a_model_that_goes_on_after_another_one_is_one_run(
    tmp_path: Path, provider: Provider
) -> None:
    """As where a first optimizer has trained the head, and a second one the rest."""
    write_training(tmp_path, RESNET, range(1, 11), day=0)
    write_training(tmp_path, MLP, range(11, 16), day=1)
    store, run = read(tmp_path, provider)
    assert [p.name for p in run.layout.parameters] == [
        "0.weight", "2.weight", "conv1.weight", "bn.weight", "fc.weight",
    ]  # fmt: skip
    assert store.statistic(EXPERIMENT, run.run, "update_rms").step.tolist() == [*range(1, 16)]


@pytest.mark.parametrize("columns", [PLAIN, MORE])
def test_a_restart_ends_what_lies_behind_it(
    tmp_path: Path, provider: Provider, columns: Columns
) -> None:
    """The same model with more parameters trained, from a checkpoint of step 10."""
    more = make_layout(["stem.weight", *(p.name for p in RESNET.parameters)], elements=32)
    every = range(1, 31)
    write_training(tmp_path, RESNET, every, day=0, histograms=every, norms=range(5, 26))
    write_training(tmp_path, more, range(11, 16), day=1, columns=columns, histograms=[13])
    store, run = read(tmp_path, provider)
    assert [p.name for p in run.layout.parameters] == [p.name for p in more.parameters]
    steps = list(range(1, 16))
    assert losses(store, run) == {t: float(t > 10) for t in steps}
    found = store.statistic(EXPERIMENT, run.run, "update_rms")
    assert found.step.tolist() == steps
    assert found.logged is not None
    assert found.logged[:, 0].tolist() == [t > 10 for t in steps]
    rows = [statistics_of(RESNET, t)[0, 1] for t in range(1, 11)]
    rows += [statistics_of(more, t, 1)[1, 1] for t in range(11, 16)]
    assert found.values[:, 1].tolist() == rows
    weight = store.parameter(EXPERIMENT, run.run, "conv1.weight")
    assert weight.step.tolist() == steps
    histograms = store.histograms(EXPERIMENT, run.run, "conv1.weight", ["exp_avg"], 100)
    assert histograms.step.tolist() == [*range(1, 11), 13]
    np.testing.assert_array_equal(histograms.counts[-1, 0], counts_of(more, 13)[1, 0])
    assert store.gradient_norms(EXPERIMENT, run.run).step.tolist() == list(range(5, 11))
    assert store.hyperparameters(EXPERIMENT, run.run).step.tolist() == steps


def test_a_restart_on_another_schedule(tmp_path: Path, provider: Provider) -> None:
    """Histograms and norms of the given-up training lie at other steps than those of its heir."""
    write_training(
        tmp_path, RESNET, range(1, 31), day=0, histograms=range(1, 31, 3), norms=range(20, 30)
    )
    write_training(tmp_path, RESNET, range(16, 41), day=1, histograms=[16, 40])
    store, run = read(tmp_path, provider)
    histograms = store.histograms(EXPERIMENT, run.run, "fc.weight", ["exp_avg"], 100)
    assert histograms.step.tolist() == [1, 4, 7, 10, 13, 16, 40]
    assert store.gradient_norms(EXPERIMENT, run.run).step.size == 0
    assert losses(store, run) == {t: float(t > 15) for t in range(1, 41)}


def test_parts_of_processes_that_are_no_more_are_left_out(
    tmp_path: Path, provider: Provider
) -> None:
    """A pipeline of two stages, then another model in one process."""
    stage = make_layout(["stage1.weight"], elements=16)
    write_training(tmp_path, RESNET, range(1, 21), day=0)
    write_training(tmp_path, stage, range(1, 21), day=0, part="adam_debug_rank1", norms=range(5, 9))
    assert len(read(tmp_path, provider)[1].layout.parameters) == 4
    write_training(tmp_path, MLP, range(1, 6), day=1)
    store, run = read(tmp_path, provider)
    assert [p.name for p in run.layout.parameters] == ["0.weight", "2.weight"]
    assert run.parts == ("adam_debug",)
    assert losses(store, run) == dict.fromkeys(range(1, 6), 1.0)
    assert store.gradient_norms(EXPERIMENT, run.run).step.size == 0
    write_training(tmp_path, stage, range(1, 4), day=1, part="adam_debug_rank1")
    store, run = read(tmp_path, provider)
    assert [p.name for p in run.layout.parameters] == ["0.weight", "2.weight", "stage1.weight"]
    assert store.parameter(EXPERIMENT, run.run, "stage1.weight").step.tolist() == [1, 2, 3]


def test_a_clock_that_is_set_back_in_training_ends_nothing(
    tmp_path: Path, provider: Provider
) -> None:
    every = range(1, 11)
    write_training(tmp_path, RESNET, every, day=1, histograms=every, name="1")
    later = range(11, 21)
    write_training(tmp_path, RESNET, later, day=0, histograms=later, norms=range(11, 21), name="1")
    store, run = read(tmp_path, provider)
    steps = list(range(1, 21))
    assert store.statistic(EXPERIMENT, run.run, "update_rms").step.tolist() == steps
    histograms = store.histograms(EXPERIMENT, run.run, "fc.weight", ["exp_avg"], 100)
    assert histograms.step.tolist() == steps
    assert store.gradient_norms(EXPERIMENT, run.run).step.tolist() == list(later)
    assert losses(store, run) == {t: float(t < 11) for t in steps}


def test_findings_are_of_the_last_model_alone(tmp_path: Path) -> None:
    write_training(tmp_path, RESNET, range(1, 21), day=0)
    write_training(tmp_path, MLP, range(1, 6), day=1)
    (run,) = load_runs(tmp_path)
    assert [p.name for p in run.parameters] == ["0.weight", "2.weight"]
    assert run.steps.tolist() == [1, 2, 3, 4, 5]
    of = {name for finding in run.findings() for name in finding.parameters}
    assert of <= {"0.weight", "2.weight"}


@given(st.lists(st.integers(0, 9), max_size=12))
def test_what_stands_is_what_no_later_record_has_ended(steps: list[int]) -> None:
    expected = [i for i, step in enumerate(steps) if all(step < later for later in steps[i + 1 :])]
    assert standing(np.array(steps, np.float64)).tolist() == expected


@pytest.mark.parametrize("loader", ["true", "false"])
def test_a_real_tensorboard_shows_the_last_model_alone(tmp_path: Path, loader: str) -> None:
    every = range(1, 21)
    folder = tmp_path / "exp"
    write_training(folder, RESNET, every, day=0, histograms=every, norms=range(5, 21))
    write_training(folder, MLP, range(1, 6), day=1, histograms=[1, 4])
    run = quote("exp/adam_debug")

    def shown(tensorboard: TensorBoard) -> Any:
        (listed,) = json.loads(tensorboard.ask("summary").text)["runs"] or [None]
        if listed is None:
            return None
        answer = tensorboard.ask(f"overview?run={run}&statistic=update_rms&columns=4096")
        _, arrays = unpack(answer.body)
        names = [p["name"] for p in listed["parameters"]]
        return (names, arrays) if names == ["0.weight", "2.weight"] else None

    with running_tensorboard(tmp_path, f"--load_fast={loader}") as tensorboard:
        _, arrays = wait_until(lambda: shown(tensorboard), "the last model")
        assert arrays["last_step"].tolist() == [1, 2, 3, 4, 5]
        expected = np.array([statistics_of(MLP, t, 1)[:, 1] for t in range(1, 6)]).T
        np.testing.assert_array_equal(arrays["values"], expected)
        header, rows = unpack(tensorboard.ask(f"steps?run={run}").body)
        assert rows["values"][header["columns"].index("loss")].tolist() == [1.0] * 5
