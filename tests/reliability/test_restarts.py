"""Fifty restarts of one run, within a second or with the clock set back each time: one run.

What the last writer recorded of a step is what is shown, through both of TensorBoard's loaders and
without TensorBoard.
"""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from event_files import START, STEPS, make_layout, statistics_of, step_tensors
from in_process import EXPERIMENT, PluginClient, files_of, provider_of, unpack
from tensorboard_process import TensorBoard, running_tensorboard, wait_until

from tb_adam_plugin import schema
from tb_adam_plugin.callback.write import event_file
from tb_adam_plugin.callback.write.event_log import EventLog
from tb_adam_plugin.reading.store import Store

RESTARTS = 50
LENGTH, BACK = 10, 4  # each writes so many steps, and resumes so many before the last one
LAYOUT = make_layout()
LAST = (RESTARTS - 1) * (LENGTH - BACK) + LENGTH
CLOCKS = ("stopped", "set back", "running")


def seconds(clock: str, restart: int, step: int) -> float:
    """What the clock says; it is stopped, set back by an hour at each restart, or right."""
    if clock == "set back":
        return START + 3600 * (RESTARTS - restart) - step
    return START if clock == "stopped" else START + 60 * restart + step


def writer_of(step: int) -> int:
    """The last restart that has written a step."""
    return min(RESTARTS - 1, (step - 1) // (LENGTH - BACK))


def write_restarts(folder: Path, clock: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for restart in range(RESTARTS):
        now = seconds(clock, restart, 0)
        monkeypatch.setattr(event_file, "time", SimpleNamespace(time=lambda now=now: now))
        # Process ids sort as text, so a later one may come first.
        monkeypatch.setattr("os.getpid", lambda number=90 + restart: number)
        log = EventLog(folder)
        first = restart * (LENGTH - BACK) + 1
        for step in range(first, first + LENGTH):
            tensors = step_tensors(LAYOUT, step, seed=restart, loss=float(restart))
            log.write(step, seconds(clock, restart, step), tensors)
        log.close()
        monkeypatch.undo()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    written = tmp_path_factory.mktemp("restarts")
    with pytest.MonkeyPatch.context() as monkeypatch:
        for clock in CLOCKS:
            write_restarts(written / clock, clock, monkeypatch)
    return written


def check(statistic: Any, rows: Any, columns: Any) -> None:
    """Check the update RMS ``[parameters, steps]`` and the rows of all steps."""
    everything = range(1, LAST + 1)
    expected = np.array([statistics_of(LAYOUT, t, writer_of(t))[:, 1] for t in everything]).T
    np.testing.assert_array_equal(statistic, expected)
    columns = list(columns)
    np.testing.assert_array_equal(rows[columns.index("step")], everything)
    written_by = [writer_of(t) for t in everything]
    np.testing.assert_array_equal(rows[columns.index("loss")], written_by)


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("read", [files_of, provider_of])
def test_fifty_restarts_are_one_run(folder: Path, clock: str, read: Any) -> None:
    names = sorted(path.name for path in (folder / clock / schema.RUN_FOLDER).iterdir())
    assert len(names) == RESTARTS
    store = Store(read(folder / clock))
    (run,) = store.runs(EXPERIMENT).runs
    statistic = store.statistic(EXPERIMENT, run.run, "update_rms")
    assert statistic.step.tolist() == list(range(1, LAST + 1))
    rows = store.steps(EXPERIMENT, run.run)
    check(statistic.values.T, rows.values, rows.names)


@pytest.mark.parametrize("loader", ["true", "false"])
def test_fifty_restarts_are_one_run_in_a_real_tensorboard(folder: Path, loader: str) -> None:
    def loaded(tensorboard: TensorBoard, clock: str) -> tuple[Any, Any] | None:
        run = quote(f"{clock}/{schema.RUN_FOLDER}")
        answer = tensorboard.ask(f"overview?run={run}&statistic=update_rms&columns=4096")
        if answer.status != 200:
            return None
        _, overview = unpack(answer.body)
        if overview["last_step"][-1:].tolist() != [LAST]:
            return None
        header, rows = unpack(tensorboard.ask(f"steps?run={run}").body)
        if rows["values"][header["columns"].index("loss")][-1] != RESTARTS - 1:
            return None
        return overview["values"], (rows["values"], header["columns"])

    with running_tensorboard(folder, f"--load_fast={loader}") as tensorboard:
        for clock in CLOCKS:
            values, rows = wait_until(partial(loaded, tensorboard, clock), f"run {clock}")
            check(values, *rows)


def test_the_axes_of_a_run_whose_clock_was_set_back_can_be_asked_for(folder: Path) -> None:
    run = f"set back/{schema.RUN_FOLDER}"
    client = PluginClient(folder, files=True)
    for axis in ("step", "relative", "wall"):
        for against in (run, f"running/{schema.RUN_FOLDER}"):
            header, arrays = client.packed(
                "overview", run=run, statistic="update_rms", against=against, axis=axis
            )
            assert header["total"]["steps"] == LAST
            assert arrays["values"].shape == (len(LAYOUT.parameters), LAST)


def test_two_restarts_at_once_write_two_files(tmp_path: Path) -> None:
    logs: list[EventLog] = []
    threads = [threading.Thread(target=lambda: logs.append(EventLog(tmp_path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (
        len({log.location for log in logs}) == len(list((tmp_path / "adam_debug").iterdir())) == 8
    )
    for log in logs:
        log.close()


def test_steps_without_a_record_before_a_restart(tmp_path: Path) -> None:
    """Ten rows an event: the restart resumes in the middle of one."""
    rows = np.zeros((10, len(STEPS.names)))
    for restart, first in enumerate((1, 6)):
        log = EventLog(tmp_path)
        for start in (first, first + 10):
            steps = np.arange(start, start + 10)
            rows[:, 0], rows[:, -1] = steps, restart
            last = int(steps[-1])
            tensors = step_tensors(LAYOUT, last, seed=restart)[:2]
            log.write(last, START + last, [*tensors, schema.steps_tensor(STEPS, rows)])
        log.close()
    for read in (files_of, provider_of):
        store = Store(read(tmp_path))
        found = store.steps(EXPERIMENT, schema.RUN_FOLDER)
        assert found.step.tolist() == list(range(1, 26))
        losses = found.values[found.names.index("loss")]
        assert losses.tolist() == [0.0] * 5 + [1.0] * 20
