"""The event files of a folder as a data provider, for reading without TensorBoard running.

It answers the four questions that :mod:`.event_data` asks. Damaged ends of files, and records that
are no events, are left out.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError
from tensorboard.compat.proto import event_pb2, summary_pb2

from tb_adam_plugin import schema
from tb_adam_plugin.tfrecord import read_records

_FILE_MARK = "tfevents"
_LONGEST_MESSAGE = 2**31 - 1  # that protocol buffers can hold
_DTYPES = {1: "<f4", 2: "<f8", 4: "|u1", 9: "<i8", 22: "<u4"}


class FileDatum(NamedTuple):
    """A record of one of our series, or of an ordinary scalar series.

    Attributes:
        step: Of the event.
        wall_time: Seconds since the epoch.
        numpy: The tensor.
    """

    step: int
    wall_time: float
    numpy: npt.NDArray[Any]

    @property
    def value(self) -> float:
        """The scalar, of a scalar series."""
        return float(self.numpy.reshape(-1)[0])


class FileSeries(NamedTuple):
    """What there is of one tag."""

    max_step: int
    max_wall_time: float
    plugin_content: bytes


class LogFolder:
    """What the event files below a folder hold, read once."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Read every event file.

        Raises:
            OSError: If the folder, or a file in it, cannot be read.
        """
        self._data: dict[str, dict[str, list[FileDatum]]] = defaultdict(lambda: defaultdict(list))
        self._contents: dict[tuple[str, str], bytes] = {}
        self._is_ours: dict[tuple[str, str], bool] = {}
        root = Path(folder)
        if not root.is_dir():
            raise NotADirectoryError(f"{folder} is no folder")
        for path in sorted(p for p in root.rglob("*") if _FILE_MARK in p.name and p.is_file()):
            run = path.parent.relative_to(root).as_posix()
            for event in _events(path):
                self._add(run, event)

    def list_tensors(self, *_: Any, **__: Any) -> Mapping[str, Mapping[str, FileSeries]]:
        """Our series by run and tag."""
        return self._list(ours=True)

    def list_scalars(self, *_: Any, **__: Any) -> Mapping[str, Mapping[str, FileSeries]]:
        """Ordinary scalar series by run and tag."""
        return self._list(ours=False)

    def read_tensors(self, *_: Any, run_tag_filter: Any, **__: Any) -> Any:
        """All records of some series of ours by run and tag."""
        return self._read(run_tag_filter)

    def read_scalars(self, *_: Any, run_tag_filter: Any, **__: Any) -> Any:
        """All records of some scalar series by run and tag."""
        return self._read(run_tag_filter)

    def _list(self, *, ours: bool) -> Mapping[str, Mapping[str, FileSeries]]:
        found: dict[str, dict[str, FileSeries]] = defaultdict(dict)
        for (run, tag), is_ours in self._is_ours.items():
            data = self._data[run][tag]
            if is_ours == ours and data:
                found[run][tag] = FileSeries(
                    max(d.step for d in data),
                    max(d.wall_time for d in data),
                    self._contents[run, tag],
                )
        return found

    def _read(self, run_tag_filter: Any) -> Mapping[str, Mapping[str, list[FileDatum]]]:
        return {
            run: {tag: self._data[run][tag] for tag in run_tag_filter.tags}
            for run in run_tag_filter.runs
        }

    def _add(self, run: str, event: event_pb2.Event) -> None:
        for value in event.summary.value:
            key = (run, value.tag)
            plugin = value.metadata.plugin_data
            if key not in self._is_ours and plugin.plugin_name == schema.PLUGIN_NAME:
                self._is_ours[key] = True
                self._contents[key] = plugin.content
            array = _array(value)
            if array is None:
                continue
            is_scalar = array.size == 1 and plugin.plugin_name in ("", "scalars")
            if key not in self._is_ours and is_scalar:
                self._is_ours[key] = False
                self._contents[key] = b""
            if self._is_ours.get(key, False) or is_scalar:
                self._data[run][value.tag].append(FileDatum(event.step, event.wall_time, array))


def _array(value: summary_pb2.Summary.Value) -> npt.NDArray[Any] | None:
    if value.HasField("simple_value"):
        return np.array(value.simple_value)
    dtype = _DTYPES.get(value.tensor.dtype)
    if dtype is None:
        return None
    shape = [dimension.size for dimension in value.tensor.tensor_shape.dim]
    data: Any = value.tensor.tensor_content
    try:
        if data:
            return np.frombuffer(data, dtype).reshape(shape)
        listed = value.tensor.float_val or value.tensor.double_val or value.tensor.int64_val
        with np.errstate(over="ignore"):
            return np.array(list(listed), dtype).reshape(shape)
    except (ValueError, OverflowError):  # another number of bytes, or numbers beyond the type
        return None


def _events(path: Path) -> Iterator[event_pb2.Event]:
    with path.open("rb") as file:
        for record in read_records(file, _LONGEST_MESSAGE):
            try:
                yield event_pb2.Event.FromString(record)
            except DecodeError:
                continue
