"""Training that is killed a hundred times and resumed each time is one run, with nothing torn."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from in_process import EXPERIMENT, files_of, provider_of
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto import event_pb2
from training_to_kill import STEPS

from tb_adam_plugin import schema
from tb_adam_plugin.reading.record_source import RecordSource
from tb_adam_plugin.reading.store import Store
from tb_adam_plugin.run_data import load_runs

KILLS = 100
SEED = 0


class Trained(NamedTuple):
    """What is left of the trainings.

    Attributes:
        whole: Log folder of the training that was never killed.
        killed: Log folder of those that were, and of the one that ended.
        told: For each of these but the last the step it resumed from and the last step that it has
            said is recorded; None of one that was killed before its first step.
    """

    whole: Path
    killed: Path
    told: list[tuple[int, int] | None]

    @property
    def files(self) -> list[Path]:
        """The event files of the killed trainings, by name."""
        return sorted((self.killed / schema.RUN_FOLDER).iterdir())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("trained")
    script = Path(__file__).with_name("training_to_kill.py")
    done = subprocess.run(
        [sys.executable, str(script), str(folder), str(KILLS), str(SEED)],
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr
    told = [said and tuple(said) for said in json.loads(done.stdout)]
    return Trained(folder / "whole" / "logs", folder / "killed" / "logs", told)


def statistics_in(path: Path) -> dict[int, npt.NDArray[np.float32]]:
    """Statistics by step in one event file, each record checked by TensorBoard's own reader."""
    found = {}
    for data in RawEventFileLoader(str(path)).Load():
        event = event_pb2.Event.FromString(data)
        for value in event.summary.value:
            if "/statistics/" in value.tag:
                assert event.step not in found, (path, event.step)
                found[event.step] = np.frombuffer(value.tensor.tensor_content, np.float32)
    return found


def test_what_was_said_to_be_recorded_is_in_the_file(trained: Trained) -> None:
    """At most the one record that was being written is lost, and the rows since the last one."""
    written = iter(trained.files)
    surplus = 0
    for said in trained.told:
        if said is None:  # killed before its first step, or while it was recorded
            continue
        start, last = said
        found = next(s for path in written if (s := sorted(statistics_in(path))) and s[-1] >= last)
        assert found == list(range(start + 1, found[-1] + 1))
        # The step after the last one that was told of may have been recorded, or not.
        assert found[-1] in (last, last + 1)
        surplus += found[-1] - last
    assert len(trained.told) == KILLS
    assert surplus < KILLS


def test_every_record_is_what_a_training_that_was_never_killed_records(trained: Trained) -> None:
    (path,) = (trained.whole / schema.RUN_FOLDER).iterdir()
    expected = statistics_in(path)
    (run,) = load_runs(trained.whole)
    # That of the last 64 steps, which a restart does not know.
    of_a_window = np.array([name == "idle_row_fraction" for name in run.statistics])
    assert sorted(expected) == list(range(1, STEPS + 1))
    recorded_twice = 0
    seen: set[int] = set()
    for one in trained.files:
        for step, values in statistics_in(one).items():
            begins_anew = np.isnan(values) & np.tile(of_a_window, len(run.parameters))
            whole = np.where(begins_anew, values, expected[step])
            np.testing.assert_array_equal(values, whole, f"{one.name}, step {step}")
            recorded_twice += step in seen
            seen.add(step)
    assert seen == set(expected)
    assert recorded_twice > KILLS / 4


def test_all_of_it_is_one_run_in_which_each_step_is_there_once(trained: Trained) -> None:
    (run,) = load_runs(trained.killed)
    (whole,) = load_runs(trained.whole)
    everything = list(range(1, STEPS + 1))
    assert run.steps.tolist() == everything
    assert run.statistics == whole.statistics
    for name in run.statistics:
        found, expected = run.statistic(name), whole.statistic(name)
        if name == "idle_row_fraction":  # of the last 64 steps, of which a restart knows nothing
            expected = np.where(np.isnan(found), found, expected)
        np.testing.assert_array_equal(found, expected, name)
    rows = run.every_step()
    assert rows.step.tolist() == everything
    for column in ("loss", "gradient_norm", "lr"):
        row = rows.names.index(column)
        np.testing.assert_array_equal(rows.values[row], whole.every_step().values[row], column)


def test_both_ways_of_reading_agree(trained: Trained) -> None:
    def read(source: RecordSource) -> list[Any]:
        store = Store(source)
        (run,) = store.runs(EXPERIMENT).runs
        assert run.messages == ()
        return [
            store.statistic(EXPERIMENT, run.run, "update_rms").values,
            store.steps(EXPERIMENT, run.run).values,
            store.histograms(EXPERIMENT, run.run, "0.weight", ["update"], STEPS).counts,
        ]

    for ours, theirs in zip(
        read(files_of(trained.killed)), read(provider_of(trained.killed)), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
