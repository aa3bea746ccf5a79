"""Findings of runs that grow, whatever they have been through: only what is new is read."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damaged_runs import write_odd_run
from event_files import START, event, make_layout, step_tensors, write_events
from generated_logs import write_run
from generated_runs import Run
from in_process import EXPERIMENT, files_of, provider_of
from stored_by_record import check_same

from tb_adam_plugin.diagnosis.diagnose import Diagnosis, diagnose
from tb_adam_plugin.diagnosis.rules.registry import STATISTICS_NEEDED
from tb_adam_plugin.event_files.windowed_file import WindowedFile
from tb_adam_plugin.reading import run_for_rules
from tb_adam_plugin.reading.provider_source import ProviderSource
from tb_adam_plugin.reading.record_source import RecordSource
from tb_adam_plugin.reading.run_for_rules import recorded_run
from tb_adam_plugin.reading.store import Store
from tb_adam_plugin.serving.findings_cache import FindingsCache

SEEDS = 40
PIECES = 4
WIDE = make_layout([f"layers.{i}.weight" for i in range(64)], statistics=STATISTICS_NEEDED)


@pytest.fixture(params=[files_of, provider_of])
def source_of(request: pytest.FixtureRequest) -> Callable[[Path], RecordSource]:
    """What reads the files: our own reader, or TensorBoard's Python loader."""
    found: Callable[[Path], RecordSource] = request.param
    return found


@pytest.fixture
def in_small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read a few records at a time, as those of a large run."""
    monkeypatch.setattr(run_for_rules, "_BLOCK_BYTES", 300)
    monkeypatch.setattr(run_for_rules, "_WHOLE_BYTES", 1000)


def of_whole_arrays(store: Store, run: str) -> Diagnosis:
    """The diagnosis of a run whose statistics are read as a whole."""
    recorded = recorded_run(store, EXPERIMENT, run)
    values = {n: store.statistic(EXPERIMENT, run, n).values for n in recorded.statistics}
    return diagnose(replace(recorded, statistics=values))


def pieces_of(folder: Path, source: random.Random) -> list[tuple[Path, int]]:
    """How a run came to be, in some pieces: which file had how many bytes by then."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sizes = [path.stat().st_size for path in files]
    whole = sum(sizes)
    ends = sorted(source.randrange(whole) for _ in range(PIECES - 1))
    pieces = []
    for end in [*ends, whole]:
        left = end
        for path, size in zip(files, sizes, strict=True):
            pieces.append((path.relative_to(folder), min(left, size)))
            left -= min(left, size)
    return pieces


def write_pieces(written: Path, folder: Path, source: random.Random) -> Iterator[None]:
    pieces = pieces_of(written, source)
    files = len(pieces) // PIECES
    for i in range(0, len(pieces), files):
        for path, size in pieces[i : i + files]:
            if size:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes((written / path).read_bytes()[:size])
        yield


def look_again(source: Any) -> None:
    """A listing is good for a moment."""
    if isinstance(source, ProviderSource):
        source._provider.reload()
        source._listings.clear()
    else:
        source._good_until = 0.0


@pytest.mark.usefixtures("in_small_blocks")
@pytest.mark.parametrize("seed", range(SEEDS))
def test_an_odd_run_that_grows_is_diagnosed_as_if_it_had_been_so_long(
    tmp_path: Path, seed: int, source_of: Callable[[Path], RecordSource]
) -> None:
    """With restarts, layouts that change, parts of several processes, damage and torn ends."""
    source = random.Random(seed)
    write_odd_run(source, tmp_path / "written")
    folder = tmp_path / "log"
    folder.mkdir()
    reader = source_of(folder)
    store = Store(reader)
    earlier: dict[str, Diagnosis] = {}
    for _ in write_pieces(tmp_path / "written", folder, source):
        look_again(reader)
        for run in store.runs(EXPERIMENT).runs:
            expected = of_whole_arrays(store, run.run)
            recorded = recorded_run(store, EXPERIMENT, run.run)
            found = diagnose(recorded, earlier.get(run.run))
            check_same(found, expected)
            check_same(diagnose(recorded_run(store, EXPERIMENT, run.run)), expected)
            earlier[run.run] = found
    assert earlier


@pytest.mark.usefixtures("in_small_blocks")
@pytest.mark.parametrize("seed", range(SEEDS))
def test_some_records_are_those_of_the_whole_statistic(
    tmp_path: Path, seed: int, source_of: Callable[[Path], RecordSource]
) -> None:
    source = random.Random(seed)
    write_odd_run(source, tmp_path)
    store = Store(source_of(tmp_path))
    for run in store.runs(EXPERIMENT).runs:
        records = store.records(EXPERIMENT, run.run)
        names = run.layout.statistics
        whole = [store.statistic(EXPERIMENT, run.run, name) for name in names]
        count = records.step.size
        np.testing.assert_array_equal(whole[0].step, records.step)
        np.testing.assert_array_equal(whole[0].wall_time, records.wall_time)
        for _ in range(20):
            start, stop = sorted(source.randrange(count + 1) for _ in range(2))
            asked = source.sample(range(len(names)), source.randrange(1, len(names) + 1))
            found = records.read([names[i] for i in asked], start, stop)
            expected = np.array([whole[i].values[start:stop] for i in asked])
            np.testing.assert_array_equal(found, expected.reshape(found.shape))


@pytest.mark.usefixtures("in_small_blocks")
def test_a_training_with_faults_gives_the_same_findings(
    tmp_path: Path, source_of: Callable[[Path], RecordSource]
) -> None:
    write_run(tmp_path / "gpt", Run(steps=150, parameters=14, lr=3e-2, spike_at=90))
    write_run(tmp_path / "cnn", Run(architecture="cnn", steps=120, lr=1e-2, nan_at=100))
    write_run(tmp_path / "restarted", Run(steps=150, parameters=14, nan_at=120))
    write_run(tmp_path / "restarted", Run(steps=80, parameters=14, seed=1))
    store = Store(source_of(tmp_path))
    findings = 0
    for run in store.runs(EXPERIMENT).runs:
        found = diagnose(recorded_run(store, EXPERIMENT, run.run))
        check_same(found, of_whole_arrays(store, run.run))
        findings += len(found.findings)
    assert findings > 5


# --- how much is read ---------------------------------------------------------------------------


def records_of(steps: Sequence[int]) -> list[bytes]:
    return [event(t, step_tensors(WIDE, t), START + t) for t in steps]


@pytest.fixture
def bytes_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes of event files each read was of."""
    sizes: list[int] = []
    read, read_into = WindowedFile.read, WindowedFile.read_into

    def counted(file: WindowedFile, position: int, count: int) -> bytes:
        found = read(file, position, count)
        sizes.append(len(found))
        return found

    def counted_into(file: WindowedFile, position: int, buffer: memoryview) -> None:
        sizes.append(len(buffer))
        read_into(file, position, buffer)

    monkeypatch.setattr(WindowedFile, "read", counted)
    monkeypatch.setattr(WindowedFile, "read_into", counted_into)
    return sizes


@pytest.mark.parametrize("block", [1 << 17, 1 << 25])
def test_of_a_run_that_grew_by_a_record_a_few_records_are_read(
    tmp_path: Path, bytes_read: list[int], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether all of the run fits into memory at once or not, and nothing of it is kept."""
    monkeypatch.setattr(run_for_rules, "_BLOCK_BYTES", block)
    events = records_of(range(1, 603))
    folder = tmp_path / "run" / "adam_debug"
    path = write_events(folder, events[:600])
    reader = files_of(tmp_path)
    store = Store(reader)
    cache = FindingsCache(store)
    cache.get(EXPERIMENT, "run/adam_debug")
    at_first = sum(bytes_read)
    assert at_first >= path.stat().st_size
    for new in events[600:]:
        bytes_read.clear()
        with path.open("ab") as file:
            file.write(new)
        look_again(reader)
        found = cache.get(EXPERIMENT, "run/adam_debug")
        assert sum(bytes_read) < 16 * len(new) + (1 << 14)
        assert sum(bytes_read) < at_first / 40
        check_same(found, of_whole_arrays(store, "run/adam_debug"))


def test_a_first_diagnosis_of_a_large_run_reads_its_statistics_a_few_times(
    tmp_path: Path, bytes_read: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not once for each of two dozen statistics."""
    monkeypatch.setattr(run_for_rules, "_BLOCK_BYTES", 1 << 17)
    path = write_events(tmp_path / "run" / "adam_debug", records_of(range(1, 601)))
    store = Store(files_of(tmp_path))
    statistics = recorded_run(store, EXPERIMENT, "run/adam_debug").statistics
    assert 10 * statistics.at_once < 600  # type: ignore[attr-defined]
    FindingsCache(store).get(EXPERIMENT, "run/adam_debug")
    assert sum(bytes_read) < 10 * path.stat().st_size


def test_a_run_that_is_replaced_is_read_anew(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "adam_debug"
    write_events(folder, records_of(range(1, 60)))
    reader = files_of(tmp_path)
    cache = FindingsCache(Store(reader))
    before = cache.get(EXPERIMENT, "run/adam_debug")
    shutil.rmtree(folder)
    later = START + 86_400
    write_events(folder, [event(t, step_tensors(WIDE, t, seed=1), later + t) for t in range(1, 60)])
    look_again(reader)
    found = cache.get(EXPERIMENT, "run/adam_debug")
    check_same(found, of_whole_arrays(Store(files_of(tmp_path)), "run/adam_debug"))
    assert found.findings != before.findings
