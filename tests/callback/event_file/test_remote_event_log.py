"""Event files in remote folders, which may be slow or fail."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from event_log_steps import events_of, steps_in, write_steps, writer_threads
from gated_storage import GatedFileSystem, remote_steps
from tensorboard.compat.tensorflow_stub.io import gfile

from tb_adam_plugin.callback.write import run_folder_writer
from tb_adam_plugin.callback.write.event_log import EventLog


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[GatedFileSystem]]:
    """An open remote file system, written to without pauses."""
    fsspec.register_implementation("gated", GatedFileSystem, clobber=True)
    monkeypatch.setattr(run_folder_writer, "_SECONDS_BETWEEN_REMOTE_WRITES", 0.0)
    GatedFileSystem.store.clear()
    GatedFileSystem.broken = False
    GatedFileSystem.gate.set()
    GatedFileSystem.waiting.clear()
    yield GatedFileSystem
    GatedFileSystem.gate.set()


@pytest.mark.usefixtures("remote")
def test_a_remote_folder_is_written_through_tensorboards_file_layer(tmp_path: Path) -> None:
    log = EventLog("gated://bucket/exp1/")
    assert log.location.startswith("gated://bucket/exp1/adam_debug/events.out.tfevents.")
    write_steps(log, range(1, 6))
    log.flush()
    assert remote_steps(tmp_path) == [1, 2, 3, 4, 5]
    write_steps(log, range(6, 9))
    log.close()
    assert remote_steps(tmp_path) == list(range(1, 9))
    assert gfile.exists(log.location)


def test_a_slow_remote_folder_does_not_hold_up_training(
    remote: type[GatedFileSystem], tmp_path: Path
) -> None:
    log = EventLog("gated://bucket/exp1")
    remote.gate.clear()
    write_steps(log, range(1, 51))  # returns although nothing can be written
    assert remote_steps(tmp_path) == []
    assert log.dropped_records == 0
    remote.gate.set()
    log.close()
    assert remote_steps(tmp_path) == list(range(1, 51))


def test_a_full_queue_gives_up_histograms_first_and_counts_what_is_lost(
    remote: type[GatedFileSystem], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_folder_writer, "_QUEUE_BYTES", 40_000)
    log = EventLog("gated://bucket/exp1")
    remote.gate.clear()
    remote.waiting.clear()
    write_steps(log, range(1, 2))
    assert remote.waiting.wait(60)
    t = 2
    while log.dropped_records < 100:
        write_steps(log, range(t, t + 1))
        t += 1
    remote.gate.set()
    log.close()
    steps = remote_steps(tmp_path)
    with_histograms = t - 1 - log.dropped_records
    (path,) = tmp_path.glob("events.*")
    histograms = {
        event.step
        for event in events_of(path)
        for value in event.summary.value
        if value.tag.startswith("adam_debug/histograms/")
    }
    assert histograms == set(range(1, with_histograms + 1))
    assert steps == list(range(1, len(steps) + 1))
    assert with_histograms < len(steps) < t - 1  # statistics went on, until there was no room


def test_a_remote_folder_that_fails_is_reported_and_tried_again(
    remote: type[GatedFileSystem], tmp_path: Path
) -> None:
    log = EventLog("gated://bucket/exp1")
    write_steps(log, range(1, 3))
    log.flush()
    remote.broken = True
    remote.waiting.clear()
    write_steps(log, range(3, 4))
    assert remote.waiting.wait(60)
    with pytest.raises(OSError, match="out of reach") as failure:
        write_steps(log, itertools.repeat(3))  # until the thread has met the error
    assert "gated://bucket/exp1/adam_debug/events.out" in str(failure.value)
    with pytest.raises(OSError, match="out of reach"):
        log.flush()
    remote.broken = False
    write_steps(log, range(4, 6))
    log.flush()
    log.close()
    assert sorted(set(remote_steps(tmp_path))) == [1, 2, 3, 4, 5]


def test_closing_says_what_a_failing_remote_folder_lost(remote: type[GatedFileSystem]) -> None:
    others = writer_threads()
    log = EventLog("gated://bucket/exp1")
    remote.gate.clear()
    write_steps(log, range(1, 2))
    remote.broken = True
    remote.gate.set()
    with pytest.raises(OSError, match=r"\d+ bytes are lost: .*out of reach"):
        log.close()
    log.close()
    assert not writer_threads(others)


def test_a_destructor_logs_what_it_cannot_raise(
    remote: type[GatedFileSystem], caplog: pytest.LogCaptureFixture
) -> None:
    log = EventLog("gated://bucket/exp1")
    remote.gate.clear()
    write_steps(log, range(1, 2))
    remote.broken = True
    remote.gate.set()
    del log
    gc.collect()
    assert "bytes are lost" in caplog.text
    assert "gated://bucket/exp1" in caplog.text


class WholeFiles:
    """A storage that cannot append, like TensorBoard's own for S3."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def exists(self, path: str) -> bool:
        return path in self.files

    def makedirs(self, path: str) -> None:
        """Do nothing: folders need not be created."""

    def write(self, path: bytes, data: bytes, binary_mode: bool) -> None:
        assert binary_mode
        self.files[path.decode()] = data


def test_a_storage_that_cannot_append_gets_the_whole_file(tmp_path: Path) -> None:
    storage = WholeFiles()
    gfile.register_filesystem("whole", storage)
    log = EventLog("whole://bucket/exp1")
    write_steps(log, range(1, 4))
    log.flush()
    write_steps(log, range(4, 6))
    log.close()
    ((name, data),) = storage.files.items()
    assert name == log.location
    (tmp_path / "events.out.tfevents.1").write_bytes(data)
    assert steps_in(tmp_path) == [1, 2, 3, 4, 5]
