"""Damaged files of the callback: no exception, no wrong number, and a message."""

from __future__ import annotations

import json
import random
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from damage import damage_bytes, damaged_run, good_events, limits
from damaged_runs import file_head
from event_files import event, make_layout, statistics_of, step_tensors, write_events
from in_process import EXPERIMENT, PluginClient, files_of, read_folder

from tb_adam_plugin.reading.store import Store

LAYOUT = make_layout()
STEPS = 12
EVENTS = [event(t, step_tensors(LAYOUT, t, histograms=t % 3 == 0)) for t in range(1, STEPS + 1)]
TRUTH = np.stack([statistics_of(LAYOUT, t) for t in range(1, STEPS + 1)])
FILES, RUNS = 400, 300
NAME = "events.out.tfevents.1.host"
ALLOWED = (200, 404, 503)


def routes(run: str) -> list[str]:
    name = quote(run)
    return [
        f"overview?run={name}&columns=5", f"steps?run={name}", f"hyperparameters?run={name}",
        f"gradient_norms?run={name}", f"series?run={name}&parameter=conv1.bias",
        f"histograms?run={name}&parameter=conv1.bias&quantity=exp_avg", f"findings?run={name}",
    ]  # fmt: skip


@pytest.mark.parametrize("marked", [True, False])
def test_what_damage_leaves_is_as_it_was_written(tmp_path: Path, marked: bool) -> None:
    """Bytes changed after they were written: checksums tell, whatever the bytes say."""
    whole = b"".join(EVENTS)
    shown = left_out = 0
    with limits() as begin:
        for seed in range(FILES):
            begin()
            source = random.Random(seed)
            folder = tmp_path / str(seed)
            folder.mkdir()
            path = folder / NAME
            path.write_bytes(file_head(marked=marked) + damage_bytes(source, whole))
            store = Store(files_of(folder))
            for run in store.runs(EXPERIMENT).runs:
                for name in run.layout.statistics:
                    found = store.statistic(EXPERIMENT, run.run, name)
                    rows = found.step.astype(int) - 1
                    column = LAYOUT.statistics.index(name)
                    np.testing.assert_array_equal(found.values, TRUTH[rows, :, column])
                bias = store.parameter(EXPERIMENT, run.run, "conv1.bias")
                np.testing.assert_array_equal(bias.values.T, TRUTH[bias.step.astype(int) - 1, 1])
                every = store.steps(EXPERIMENT, run.run)
                rates = every.values[every.names.index("lr")] if "lr" in every.names else []
                assert all(rate == 1e-3 for rate in rates)
                store.histograms(EXPERIMENT, run.run, "conv1.bias", ["exp_avg"], 100)
                (after,) = store.runs(EXPERIMENT).runs
                shown += len(rows)
                left_out += any("left out" in message.text for message in after.messages)
    assert 0.3 * FILES * STEPS < shown < FILES * STEPS
    assert left_out > FILES / 10


def test_no_damaged_run_of_the_callback_makes_a_route_fail(tmp_path: Path) -> None:
    """What events say is damaged, and the checksums are right: where histograms come last, too."""
    events = good_events()
    nothing = read_folder(tmp_path / "nothing")  # an event that is none ends TensorBoard's loader
    shown = 0
    with limits() as begin:
        for seed in range(RUNS):
            begin()
            source = random.Random(7000 + seed)
            folder = tmp_path / str(seed)
            path = write_events(folder / "run" / "adam_debug", [])
            path.write_bytes(file_head(marked=True) + b"".join(damaged_run(source, events)))
            client = PluginClient(folder, nothing, files=True)
            for _ in range(2):
                summary = client.get("summary")
                assert summary.status_code == 200, (seed, summary.text)
            for run in json.loads(summary.data)["runs"]:
                shown += 1
                for route in routes(run["run"]):
                    answer = client.open(route)
                    assert answer.status_code in ALLOWED, (seed, route, answer.text)
                    assert answer.data
    assert shown > RUNS / 2
