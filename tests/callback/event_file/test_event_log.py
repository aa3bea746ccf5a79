"""The event file: its content, its ownership, and refused arguments."""

from __future__ import annotations

import os
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorboardX
from event_files import START, step_tensors
from event_log_steps import LAYOUT, STATISTICS, events_of, run_python, steps_in, write_steps
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto import summary_pb2
from torch.utils.tensorboard import SummaryWriter

from tb_adam_plugin import schema
from tb_adam_plugin.callback.write.event_log import EventLog


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
    with pytest.raises(ValueError, match="already closed"):
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
