"""The event file: what is in it, and what becomes of it when something goes wrong."""

from __future__ import annotations

import gc
import itertools
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import tensorboardX
from event_files import START, make_layout, step_tensors
from fsspec.implementations.memory import MemoryFileSystem
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.compat.tensorflow_stub.io import gfile
from torch.utils.tensorboard import SummaryWriter

from tb_adam_plugin import schema
from tb_adam_plugin.callback.write import run_folder_writer
from tb_adam_plugin.callback.write.event_log import EventLog

LAYOUT = make_layout()
STATISTICS = f"adam_debug/statistics/{LAYOUT.id}"


def write_steps(log: EventLog, steps: Iterable[int]) -> None:
    for t in steps:
        log.write(t, START + t, step_tensors(LAYOUT, t, histograms=True), {"adam_debug/lr": t})


def events_of(path: Path) -> list[Any]:
    """All events, each checked against its CRC by TensorBoard's own reader."""
    return [event_pb2.Event.FromString(data) for data in RawEventFileLoader(str(path)).Load()]


def steps_in(folder: Path) -> list[int]:
    """The steps of our statistics in the event files of a folder, in order of the files' names."""
    return [
        event.step
        for path in sorted(folder.glob("events.out.tfevents.*"))
        for event in events_of(path)
        if any(value.tag == STATISTICS for value in event.summary.value)
    ]


def run_python(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script that has EventLog, LAYOUT, step_tensors, write_steps and ``folder``."""
    return subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(script), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


PRELUDE = """
import os, sys
from pathlib import Path
from test_event_log import *
folder = Path(sys.argv[1])
"""


# --- what is in the file ------------------------------------------------------------------------


def test_tensors_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    write_steps(log, range(1, 6))
    log.close()
    accumulator = EventAccumulator(str(tmp_path / "adam_debug"), {"tensors": 0}).Reload()
    for tagged in step_tensors(LAYOUT, 3, histograms=True):
        read = accumulator.Tensors(tagged.tag)
        assert [one.step for one in read] == [1, 2, 3, 4, 5]
        assert read[2].wall_time == START + 3
        array = np.frombuffer(read[2].tensor_proto.tensor_content, tagged.tensor.dtype)
        shape = [dim.size for dim in read[2].tensor_proto.tensor_shape.dim]
        np.testing.assert_array_equal(array.reshape(shape), tagged.tensor)
        content = accumulator.SummaryMetadata(tagged.tag).plugin_data.content
        assert content == tagged.content


def test_every_value_says_whose_it_is_and_the_first_of_a_tag_what_it_means(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    write_steps(log, range(1, 4))
    log.close()
    head, first, *later = events_of(Path(log.location))
    assert head.file_version == "brain.Event:2"
    tensors = {t.tag: t.content for t in step_tensors(LAYOUT, 1, histograms=True)}
    for event in (first, *later):
        assert {v.tag for v in event.summary.value} == {*tensors, "adam_debug/lr"}
        for value in event.summary.value:
            ours = value.tag in tensors
            plugin = value.metadata.plugin_data
            assert plugin.plugin_name == ("adam_debug" if ours else "scalars")
            assert value.metadata.data_class == (
                summary_pb2.DATA_CLASS_TENSOR if ours else summary_pb2.DATA_CLASS_SCALAR
            )
            described = tensors.get(value.tag, b"") if event is first else b""
            assert plugin.content == described


def test_scalars_are_ordinary_scalars_nan_and_overflow_included(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.write(1, START, [], {"lr": 0.1, "nan": float("nan"), "huge": 1e300})
    log.close()
    values = {v.tag: v.tensor for v in events_of(Path(log.location))[1].summary.value}
    assert {tag: len(tensor.tensor_shape.dim) for tag, tensor in values.items()} == {
        "lr": 0,
        "nan": 0,
        "huge": 0,
    }
    assert values["lr"].float_val == [np.float32(0.1)]
    assert np.isnan(values["nan"].float_val[0])
    assert values["huge"].float_val == [np.inf]


def test_big_endian_and_strided_arrays_are_written_little_endian(tmp_path: Path) -> None:
    array = np.arange(12, dtype=">f8").reshape(3, 4)[:, ::2]
    log = EventLog(tmp_path)
    log.write(1, START, [schema.TaggedTensor("adam_debug/x", array, b"")])
    log.close()
    (value,) = events_of(Path(log.location))[1].summary.value
    np.testing.assert_array_equal(np.frombuffer(value.tensor.tensor_content, "<f8"), array.ravel())


def test_every_restart_begins_another_file_in_the_same_folder(tmp_path: Path) -> None:
    logs = [EventLog(tmp_path) for _ in range(3)]
    for i, log in enumerate(logs):
        write_steps(log, range(10 * i, 10 * i + 2))
    result = run_python("log = EventLog(folder); write_steps(log, range(90, 92))", tmp_path)
    assert result.returncode == 0, result.stderr
    for log in logs:
        log.close()
    assert len({log.location for log in logs}) == 3
    assert sorted(steps_in(tmp_path / "adam_debug")) == [0, 1, 10, 11, 20, 21, 90, 91]


# --- when the process ends ----------------------------------------------------------------------


def test_what_was_written_can_be_read_at_once(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    write_steps(log, range(1, 4))
    log.flush()
    assert steps_in(tmp_path / "adam_debug") == [1, 2, 3]
    log.close()


def test_a_killed_process_leaves_all_that_was_flushed(tmp_path: Path) -> None:
    script = """
    log = EventLog(folder)
    for t in range(1, 10**6):
        write_steps(log, range(t, t + 1))
        log.flush()
        print(t, flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(script), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout as output:
        while int(output.readline()) < 20:
            pass
        process.send_signal(signal.SIGKILL)
        said = [line for line in output if line.endswith("\n")]
    process.wait()
    flushed = int(said[-1]) if said else 20
    steps = steps_in(tmp_path / "adam_debug")
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) >= flushed


@pytest.mark.parametrize("on_a_thread", [False, True])
@pytest.mark.parametrize("end", ["pass", "raise SystemExit(0)", "1 / 0"])
def test_leaving_without_close_loses_nothing(tmp_path: Path, end: str, on_a_thread: bool) -> None:
    script = f"""
    if {on_a_thread}:
        run_folder_writer._SLOW_SECONDS = -1.0
    log = EventLog(folder)
    write_steps(log, range(1, 51))
    {end}
    """
    result = run_python(script, tmp_path)
    assert ("ZeroDivisionError" in result.stderr) == (end == "1 / 0"), result.stderr
    assert steps_in(tmp_path / "adam_debug") == list(range(1, 51))


@pytest.mark.parametrize("package", ["torch.utils.tensorboard", "tensorboardX"])
def test_leaving_without_close_loses_nothing_of_a_shared_writer(
    tmp_path: Path, package: str
) -> None:
    script = f"""
    from {package} import SummaryWriter
    writer = SummaryWriter(str(folder), max_queue=1000)
    log = EventLog(writer=writer)
    write_steps(log, range(1, 51))
    """
    result = run_python(script, tmp_path)
    assert result.returncode == 0, result.stderr
    assert steps_in(tmp_path) == list(range(1, 51))


def test_a_forgotten_log_is_closed_when_it_is_collected(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    write_steps(log, range(1, 3))
    del log
    gc.collect()
    assert steps_in(tmp_path / "adam_debug") == [1, 2]


def test_closing_twice_is_fine_and_writing_afterwards_is_not(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.close()
    log.close()
    log.flush()
    with pytest.raises(ValueError, match="event log is closed"):
        write_steps(log, range(1, 2))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("on_a_thread", [False, True])
def test_a_forked_child_leaves_the_file_to_its_parent(tmp_path: Path, on_a_thread: bool) -> None:
    script = f"""
    if {on_a_thread}:
        run_folder_writer._SLOW_SECONDS = -1.0
    log = EventLog(folder)
    write_steps(log, range(1, 11))
    child = os.fork()
    if child == 0:
        try:
            write_steps(log, range(100, 101))
        except RuntimeError as error:
            assert str(os.getppid()) in str(error) and str(os.getpid()) in str(error), error
        else:
            sys.exit("the child wrote")
        log.flush()
        log.close()
        del log
        sys.exit(7)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
    write_steps(log, range(11, 21))
    log.close()
    """
    result = run_python(script, tmp_path)
    assert result.returncode == 0, result.stderr
    assert steps_in(tmp_path / "adam_debug") == list(range(1, 21))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_does_not_wait_for_its_parents_writer(tmp_path: Path) -> None:
    script = """
    import signal
    fsspec.register_implementation("gated", GatedFileSystem)
    GatedFileSystem.gate.set()
    log = EventLog(writer=SummaryWriter("gated://bucket/exp1"))
    GatedFileSystem.gate.clear()
    write_steps(log, range(1, 3))
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # the writer's thread is not here: flushing would never end
        sys.exit(7)
    _, status = os.waitpid(child, 0)
    GatedFileSystem.gate.set()
    assert os.waitstatus_to_exitcode(status) == 7
    log.close()
    assert remote_steps(folder) == [1, 2]
    """
    result = run_python(script, tmp_path)
    assert result.returncode == 0, result.stderr


# --- when the disk does not do its part ---------------------------------------------------------


def test_a_truncated_file_keeps_its_whole_records_and_a_restart_goes_on(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    write_steps(log, range(1, 6))
    log.close()
    os.truncate(log.location, os.path.getsize(log.location) - 7)
    assert steps_in(tmp_path / "adam_debug") == [1, 2, 3, 4]
    again = EventLog(tmp_path)
    write_steps(again, range(5, 8))
    again.close()
    assert sorted(steps_in(tmp_path / "adam_debug")) == [1, 2, 3, 4, 5, 6, 7]


def test_a_full_disk_is_an_error_that_names_the_file_and_tears_no_record(tmp_path: Path) -> None:
    script = """
    import resource
    log = EventLog(folder)
    write_steps(log, range(1, 4))
    size = os.path.getsize(log.location)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, hard))
    for t in (4, 5):
        try:
            write_steps(log, range(t, t + 1))
        except OSError as error:
            assert log.location in str(error) and "cannot write" in str(error), error
        else:
            sys.exit("wrote more than the limit")
        assert os.path.getsize(log.location) == size
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    write_steps(log, range(6, 8))
    log.close()
    """
    result = run_python(script, tmp_path)
    assert result.returncode == 0, result.stderr
    assert steps_in(tmp_path / "adam_debug") == [1, 2, 3, 6, 7]


def test_a_deleted_folder_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "run")
    write_steps(log, range(1, 3))
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(FileNotFoundError, match="deleted") as failure:
        write_steps(log, range(3, 4))
    assert log.location in str(failure.value)
    with pytest.raises(FileNotFoundError, match="deleted"):
        log.flush()
    log.close()


def test_a_local_disk_that_is_slow_again_and_again_is_written_on_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_folder_writer, "_SLOW_SECONDS", -1.0)
    log = EventLog(tmp_path)
    write_steps(log, range(1, 3))
    assert not writer_threads()
    write_steps(log, range(3, 20))
    assert len(writer_threads()) == 1
    log.flush()
    assert steps_in(tmp_path / "adam_debug") == list(range(1, 20))
    write_steps(log, range(20, 30))
    log.close()
    assert not writer_threads()
    assert steps_in(tmp_path / "adam_debug") == list(range(1, 30))


def test_several_threads_may_write(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    threads = [
        threading.Thread(target=write_steps, args=(log, range(100 * i, 100 * i + 20)))
        for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    expected = [100 * i + k for i in range(4) for k in range(20)]
    assert sorted(steps_in(tmp_path / "adam_debug")) == expected


# --- remote folders -----------------------------------------------------------------------------


class GatedFileSystem(MemoryFileSystem):  # type: ignore[misc]
    """Files in memory, behind a gate that the test opens and closes, and that may be broken."""

    protocol = "gated"
    store: dict[str, Any] = {}  # noqa: RUF012  as the class it extends
    pseudo_dirs = [""]  # noqa: RUF012
    gate = threading.Event()
    waiting = threading.Event()
    broken = False

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if "r" not in mode:
            self.waiting.set()
            assert self.gate.wait(60)
        file = super()._open(path, mode, **options)
        if self.broken and "r" not in mode:
            file.write(b"torn")
            raise ConnectionError("the bucket is out of reach")
        return file


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


def writer_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "adam-debug-writer"]


def remote_steps(tmp_path: Path) -> list[int]:
    """The steps in the remote files."""
    for path, file in GatedFileSystem.store.items():
        (tmp_path / Path(path).name).write_bytes(file.getvalue())
    return steps_in(tmp_path)


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
    log = EventLog("gated://bucket/exp1")
    remote.gate.clear()
    write_steps(log, range(1, 2))
    remote.broken = True
    remote.gate.set()
    with pytest.raises(OSError, match=r"\d+ bytes are lost: .*out of reach"):
        log.close()
    log.close()
    assert not writer_threads()


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
    """A storage that cannot append, as TensorBoard's own for S3."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def exists(self, path: str) -> bool:
        return path in self.files

    def makedirs(self, path: str) -> None:
        """Folders need no making."""

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


# --- somebody else's file -----------------------------------------------------------------------


@pytest.mark.parametrize("writer_class", [SummaryWriter, tensorboardX.SummaryWriter])
def test_the_file_of_a_summary_writer_is_shared(tmp_path: Path, writer_class: Any) -> None:
    writer = writer_class(str(tmp_path))
    log = EventLog(writer=writer)
    assert log.location == str(tmp_path)
    for t in range(1, 4):
        writer.add_scalar("loss", 1 / t, t)
        write_steps(log, range(t, t + 1))
    log.flush()
    log.close()
    writer.add_scalar("loss", 0.25, 4)  # it is still the user's
    writer.close()
    (path,) = tmp_path.glob("events.*")
    accumulator = EventAccumulator(str(path), {"tensors": 0, "scalars": 0}).Reload()
    assert [s.step for s in accumulator.Scalars("loss")] == [1, 2, 3, 4]
    read = accumulator.Tensors(STATISTICS)
    assert [(one.step, one.wall_time) for one in read] == [(t, START + t) for t in (1, 2, 3)]
    assert accumulator.SummaryMetadata(STATISTICS).plugin_data.content == LAYOUT.content()
    data_classes = {
        value.metadata.data_class
        for event in events_of(path)
        for value in event.summary.value
        if value.tag == STATISTICS
    }
    assert data_classes == {summary_pb2.DATA_CLASS_TENSOR}


def test_a_summary_writer_that_goes_on_in_another_file_has_its_tags_described_again(
    tmp_path: Path,
) -> None:
    writer = SummaryWriter(str(tmp_path))
    log = EventLog(writer=writer)
    write_steps(log, range(1, 3))
    writer.close()
    with pytest.raises(OSError, match="is closed") as failure:
        write_steps(log, range(3, 4))
    assert str(tmp_path) in str(failure.value)
    log.flush()
    writer.add_scalar("loss", 1.0, 4)  # opens another file
    write_steps(log, range(4, 6))
    log.close()
    writer.close()
    assert sorted(steps_in(tmp_path)) == [1, 2, 4, 5]
    for path in tmp_path.glob("events.*"):
        accumulator = EventAccumulator(str(path)).Reload()
        assert accumulator.SummaryMetadata(STATISTICS).plugin_data.content == LAYOUT.content()


def test_a_shared_writer_that_was_closed_first_does_not_spoil_close(tmp_path: Path) -> None:
    writer = SummaryWriter(str(tmp_path))
    log = EventLog(writer=writer)
    write_steps(log, range(1, 3))
    writer.close()
    log.close()
    assert steps_in(tmp_path) == [1, 2]


# --- wrong arguments ----------------------------------------------------------------------------


def test_exactly_one_of_log_dir_and_writer_is_needed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="exactly one of log_dir and writer"):
        EventLog()
    with pytest.raises(ValueError, match="exactly one of log_dir and writer"):
        EventLog(tmp_path, writer=object())


@pytest.mark.parametrize(
    ("log_dir", "error", "message"),
    [
        (7, TypeError, "log_dir must be a str or a path, got int"),
        (b"runs", TypeError, "log_dir must be a str or a path, got bytes"),
        ("", ValueError, "log_dir is empty"),
        (Path("gs://bucket/run"), ValueError, "a URL must be a str"),
        ("nosuch://bucket/run", ValueError, "nosuch://bucket/run.*no file system"),
    ],
)
def test_a_wrong_log_dir_is_named(log_dir: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        EventLog(log_dir)


@pytest.mark.parametrize("where", ["", "adam_debug"])
def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path, where: str) -> None:
    path = tmp_path / "run" / where
    path.parent.mkdir(exist_ok=True)
    path.write_text("a file")
    with pytest.raises(NotADirectoryError, match="found a file") as failure:
        EventLog(tmp_path / "run")
    assert str(path) in str(failure.value)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc takes no folders, from root either")
def test_a_folder_that_cannot_be_written_is_named() -> None:
    with pytest.raises(OSError, match="/proc/runs"):
        EventLog("/proc/runs")


@pytest.mark.parametrize("writer", [object(), 3, "runs", BytesIO()])
def test_something_else_than_a_summary_writer_is_refused(writer: object) -> None:
    with pytest.raises(TypeError, match=f"writer must be .* got {type(writer).__name__}"):
        EventLog(writer=writer)


def test_a_closed_summary_writer_is_refused(tmp_path: Path) -> None:
    writer = SummaryWriter(str(tmp_path))
    writer.close()
    with pytest.raises(ValueError, match="closed already"):
        EventLog(writer=writer)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("1", 0.0, []), TypeError, "step must be an int, got str"),
        ((True, 0.0, []), TypeError, "step must be an int, got bool"),
        ((1.5, 0.0, []), TypeError, "step must be an int, got float"),
        ((-1, 0.0, []), ValueError, "step must be at least 0"),
        ((2**63, 0.0, []), ValueError, r"below 2\^63"),
        ((1, "now", []), TypeError, "wall_time must be a number, got str"),
        ((1, float("nan"), []), ValueError, "wall_time must be finite"),
        ((1, 0.0, None), TypeError, "tensors must be a sequence"),
        ((1, 0.0, ["x"]), TypeError, "tensors must hold TaggedTensor, found str"),
        (
            (1, 0.0, [schema.TaggedTensor("t", np.zeros(1, complex), b"")]),
            TypeError,
            "'t' must be one of float32, float64, uint8, got complex128",
        ),
        (
            (1, 0.0, [schema.TaggedTensor("t", [1.0], b"")]),  # type: ignore[arg-type]
            TypeError,
            "'t' must hold a NumPy array, found list",
        ),
        ((1, 0.0, [], [1]), TypeError, "scalars must map tags to numbers"),
        ((1, 0.0, [], {1: 1.0}), TypeError, "scalars must have str tags, found 1"),
        ((1, 0.0, [], {"a": "b"}), TypeError, r"scalars\['a'\] must be a number, got str"),
    ],
)
def test_a_wrong_argument_of_write_is_named_and_writes_nothing(
    tmp_path: Path, arguments: Any, error: type[Exception], message: str
) -> None:
    log = EventLog(tmp_path)
    size = os.path.getsize(log.location)
    with pytest.raises(error, match=message):
        log.write(*arguments)
    assert os.path.getsize(log.location) == size
    log.close()


def test_numpy_numbers_are_numbers(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.write(np.int64(3), np.float64(START), [], {"lr": np.float32(0.5)})
    log.close()
    assert events_of(Path(log.location))[1].step == 3
