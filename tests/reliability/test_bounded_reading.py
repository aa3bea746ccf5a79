"""Resources for reading files: memory, handles, time on a slow disk, and concurrent threads."""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damaged_runs import file_head
from event_files import (
    STEPS,
    event,
    make_layout,
    scalar_event,
    statistics_of,
    step_tensors,
    write_events,
    write_run,
)
from in_process import EXPERIMENT, PluginClient, files_of

from tb_adam_plugin import schema
from tb_adam_plugin.event_files.event_index import EventIndex
from tb_adam_plugin.event_files.run_files import RunFiles
from tb_adam_plugin.event_files.windowed_file import WindowedFile
from tb_adam_plugin.reading import file_source
from tb_adam_plugin.reading.store import Store
from tb_adam_plugin.tfrecord import checksum

LAYOUT = make_layout()
ALL_STATISTICS = tuple(s.name for s in schema.STATISTICS)

# Asks for all statistics, and says what they took beside what was there before, in MB.
_READER = """
import json, re, sys
from pathlib import Path
from in_process import EXPERIMENT, files_of
from tb_adam_plugin.reading.store import Store

def peak():
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) / 1024

store = Store(files_of(Path(sys.argv[1])))
before = peak()
(run,) = store.runs(EXPERIMENT).runs
listed = peak() - before
records = 0
for name in run.layout.statistics:
    records += store.statistic(EXPERIMENT, run.run, name).values.nbytes
for parameter in run.layout.parameters[:20]:
    store.parameter(EXPERIMENT, run.run, parameter.name)
store.steps(EXPERIMENT, run.run)
print(json.dumps([listed, peak() - before, records / 2**20]))
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="nothing tells the peak")
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    layout = make_layout(tuple(f"p{i}" for i in range(700)), statistics=ALL_STATISTICS)
    values = np.random.default_rng(0).lognormal(-7, 1, (700, len(ALL_STATISTICS))).astype("<f4")
    path = write_events(tmp_path / "adam_debug", [file_head(marked=True)])
    row = np.ones((1, len(STEPS.names)))
    with path.open("ab") as file:
        for step in range(1, 3001):
            row[0, 0] = step
            tensors = [schema.statistics_tensor(layout, values), schema.steps_tensor(STEPS, row)]
            file.write(event(step, tensors))
    assert path.stat().st_size > 180 << 20
    helpers = Path(__file__).parents[1] / "helpers"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(helpers), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", _READER, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    listed, everything, answers = json.loads(done.stdout)
    print(f"listed {listed:.0f} MB, everything {everything:.0f} MB, answers {answers:.0f} MB")
    assert answers > 180
    assert listed < 24
    assert everything < 190  # 128 MB of columns are kept


def opened_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no list of handles")
def test_no_handle_is_held_for_files_that_nobody_reads(tmp_path: Path) -> None:
    for number in range(40):
        write_run(tmp_path / f"run{number}" / "adam_debug", range(1, 6), histograms=True)
    before = opened_files()
    store = Store(files_of(tmp_path))
    for run in store.runs(EXPERIMENT).runs:
        store.statistic(EXPERIMENT, run.run, "update_rms")
        store.histograms(EXPERIMENT, run.run, "conv1.bias", ["exp_avg"], 10)
        store.steps(EXPERIMENT, run.run)
    assert opened_files() == before


def test_nothing_asks_for_positioned_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has no ``os.pread``."""
    for name in ("pread", "preadv"):
        monkeypatch.delattr(os, name, raising=False)
    write_run(tmp_path / "adam_debug", range(1, 6), histograms=True)
    client = PluginClient(tmp_path, files=True)
    assert client.packed("overview", run="adam_debug")[0]["total"]["steps"] == 5
    assert client.get("histograms", run="adam_debug", parameter="conv1.bias",
                      quantity="exp_avg").status_code == 200  # fmt: skip


@pytest.mark.parametrize("ours", [False, True])
def test_many_small_events_of_others_are_searched_quickly(tmp_path: Path, ours: bool) -> None:
    """A million take 0.1 s where nothing is ours, and 4 s of a processor where something is."""
    path = tmp_path / "events.out.tfevents.1"
    scalars = b"".join(scalar_event(t, {"loss": 1.0, "accuracy": 2.0}) for t in range(1000))
    path.write_bytes(scalars * 100 + (event(1, step_tensors(LAYOUT, 1)) if ours else b""))
    files = RunFiles(is_ours=False)
    start = time.process_time()
    files.update([str(path)], 1 << 40)
    assert len(files.series()) == 3 * ours
    assert time.process_time() - start < (5 if ours else 0.5)


def test_events_of_others_take_no_memory_however_they_are_called(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1"
    scalars = (scalar_event(t, {f"loss{t}": 1.0}) for t in range(20_000))
    path.write_bytes(b"".join(scalars) + event(1, step_tensors(LAYOUT, 1)))
    index = EventIndex(str(path))
    index.update()
    assert len(index) == 1
    assert len(index._shapes.shapes) == 1


def test_an_event_of_other_layouts_each_time(tmp_path: Path) -> None:
    layouts = [make_layout((f"p{i}",)) for i in range(1000)]
    events = (event(t, step_tensors(layout, t)) for t, layout in enumerate(layouts, 1))
    path = write_events(tmp_path, events)
    files = RunFiles(is_ours=True)
    start = time.process_time()
    files.update([str(path)], 0)
    assert len(files.series()) == 2001
    assert time.process_time() - start < 10


def test_histograms_before_other_tensors_take_one_pass(tmp_path: Path) -> None:
    """An event of 60 histograms, with a different size each time, and then statistics."""
    source = random.Random(0)
    tensors = step_tensors(LAYOUT, 1)
    path = tmp_path / "events.out.tfevents.1"
    with path.open("wb") as file:
        for step in range(1, 31):
            blocks = [
                schema.TaggedTensor(
                    f"adam_debug/histograms/{LAYOUT.content()[:3].hex()}/{i}",
                    np.frombuffer(source.randbytes(source.randrange(1, 400)), np.uint8),
                    LAYOUT.content(),
                )
                for i in range(60)
            ]
            file.write(event(step, [*blocks, *tensors]))
    index = EventIndex(str(path))
    start = time.process_time()
    index.update()
    assert time.process_time() - start < 2
    assert len(index) == 30
    assert len(index.tags) == 63


# --- a slow disk ---------------------------------------------------------------------------------


def slowed(method: Callable[..., Any], calls: list[int]) -> Callable[..., Any]:
    def read(*arguments: Any) -> Any:
        calls.append(1)
        time.sleep(0.002)
        return method(*arguments)

    return read


def test_a_slow_disk_makes_answers_slow_and_not_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = make_layout(tuple(f"p{i}" for i in range(100)), statistics=ALL_STATISTICS)
    write_run(tmp_path / "adam_debug", range(1, 201), layout)
    questions = ("overview?run=adam_debug", "steps?run=adam_debug", "findings?run=adam_debug")
    quick = PluginClient(tmp_path, files=True)
    expected = [quick.open(question).data for question in questions]
    calls: list[int] = []
    monkeypatch.setattr(WindowedFile, "read", slowed(WindowedFile.read, calls))
    monkeypatch.setattr(WindowedFile, "read_into", slowed(WindowedFile.read_into, calls))
    slow = PluginClient(tmp_path, files=True)
    start = time.perf_counter()
    found = slow.open(questions[0])
    first = time.perf_counter() - start
    print(f"first overview of 200 records: {first:.2f} s, {len(calls)} reads")
    assert found.data == expected[0]
    assert len(calls) < 80
    for question, data in zip(questions, expected, strict=True):
        assert slow.open(question).data == data


# --- threads and a writer ------------------------------------------------------------------------


def test_threads_that_ask_while_a_file_grows_see_a_beginning_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_source, "_REUSE", 0)
    steps = 60
    events = [event(t, step_tensors(LAYOUT, t, histograms=t % 7 == 0)) for t in range(1, steps + 1)]
    truth = np.stack([statistics_of(LAYOUT, t)[:, 1] for t in range(1, steps + 1)])
    path = write_events(tmp_path / "adam_debug", events[:2])
    store = Store(files_of(tmp_path))
    written = threading.Event()
    failures: list[str] = []
    longest: list[int] = []

    def ask(seed: int) -> None:
        source, seen = random.Random(seed), 0
        try:
            while not written.is_set() or seen < steps:
                store.runs(EXPERIMENT)
                if source.random() < 0.5:
                    found = store.statistic(EXPERIMENT, "adam_debug", "update_rms")
                    count = len(found.step)
                    np.testing.assert_array_equal(found.step, np.arange(1, count + 1))
                    np.testing.assert_array_equal(found.values, truth[:count])
                elif source.random() < 0.5:
                    one = store.parameter(EXPERIMENT, "adam_debug", "conv1.bias")
                    count = len(one.step)
                    row = one.values[one.names.index("update_rms")]
                    np.testing.assert_array_equal(row, truth[:count, 1])
                else:
                    rows = store.steps(EXPERIMENT, "adam_debug")
                    count = len(rows.step)
                    np.testing.assert_array_equal(rows.step, np.arange(1, count + 1))
                assert count >= seen
                seen = count
        except Exception as error:
            failures.append(f"{seed}: {error!r}")
        longest.append(seen)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    source = random.Random(9)
    with path.open("ab", buffering=0) as file:
        data = b"".join(events[2:])
        while data:
            size = source.randrange(1, 3000)
            file.write(data[:size])
            data = data[size:]
            time.sleep(0.001)
    written.set()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert longest == [steps] * 4


def test_a_claim_of_many_bytes_is_no_reason_to_read_them(tmp_path: Path) -> None:
    """Damaged lengths within an event, which nothing has checked when it is indexed."""
    whole = event(1, step_tensors(LAYOUT, 1))
    path = tmp_path / "events.out.tfevents.1"
    for seed in range(400):
        source = random.Random(seed)
        damaged = bytearray(whole)
        for _ in range(source.choice((1, 2, 6))):
            at = source.randrange(12, len(damaged) - 4)
            claim = source.choice((b"\xff" * 8 + b"\x7f", b"\xff\xff\xff\xff\x07", b"\x00"))
            damaged[at : at + len(claim)] = claim
        damaged = damaged[: len(whole) - 4] + whole[-4:]
        if damaged == whole:
            continue
        path.write_bytes(bytes(damaged) + whole)
        files = RunFiles(is_ours=True)
        files.update([str(path)], 0)
        assert files.errors == {}, seed
        steps = files.records(f"adam_debug/steps/{STEPS.id}")
        assert [step for one in steps for step in one.step.tolist()] == [1], seed


def test_an_event_of_zeros_is_over_at_once(tmp_path: Path) -> None:
    """A file with a hole, such as a full disk leaves: every two zeros would be a field."""
    claim = struct.pack("<Q", 1 << 30)
    path = tmp_path / "events.out.tfevents.1"
    whole = event(1, step_tensors(LAYOUT, 1))
    with path.open("wb") as file:
        file.write(whole + claim + checksum(claim))
        file.seek(1 << 30, os.SEEK_CUR)
        file.write(b"\0" * 4 + whole)
    start = time.process_time()
    index = EventIndex(str(path))
    index.update()
    assert len(index) == 2
    assert time.process_time() - start < 1
