"""Ordinary scalar series of event files, for use without a running TensorBoard."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath

from google.protobuf.message import DecodeError
from tensorboard.compat.proto import event_pb2

from tb_adam_plugin import schema
from tb_adam_plugin.event_files.log_roots import LogRoots
from tb_adam_plugin.event_files.run_files import FileSeries
from tb_adam_plugin.event_files.tensors import to_array
from tb_adam_plugin.reading.file_columns import FileDatum
from tb_adam_plugin.reading.record_source import Experiment
from tb_adam_plugin.reading.records import Series, decode_scalars
from tb_adam_plugin.reading.run import TimeSeries
from tb_adam_plugin.tfrecord import read_records

# Events that only hold scalars are smaller; events with images or histograms are skipped.
_LONGEST_EVENT = 1 << 20


class FileScalars:
    """The scalar series of some runs, read once."""

    def __init__(self, roots: LogRoots) -> None:
        """Create a reader; nothing is read yet."""
        self._roots = roots
        self._data: dict[str, dict[str, list[FileDatum]]] = {}

    def list_scalars(
        self, experiment: Experiment, runs: Sequence[str]
    ) -> Mapping[str, Mapping[str, TimeSeries]]:
        """Return the scalar series of some runs, by run and tag.

        Raises:
            OSError: If a file cannot be read.
        """
        files = self._roots.event_files()
        for run in runs:
            if run in files and run not in self._data:
                self._data[run] = _read(run, files[run])
        return {
            run: {tag: _listed(data) for tag, data in self._data[run].items()}
            for run in runs
            if self._data.get(run)
        }

    def scalars(self, experiment: Experiment, run: str, tag: str, listed: TimeSeries) -> Series:
        """Return a scalar series, float32 ``[1, points]``."""
        return decode_scalars(self._data[run][tag])


def _listed(data: Sequence[FileDatum]) -> FileSeries:
    return FileSeries(max(d.step for d in data), max(d.wall_time for d in data), b"", len(data))


def _read(run: str, paths: Sequence[str]) -> dict[str, list[FileDatum]]:
    found: dict[str, list[FileDatum]] = defaultdict(list)
    if schema.part_of(PurePath(run).name) is not None:
        return found  # no other writer uses this folder
    for path in paths:
        for event in _events(path):
            for value in event.summary.value:
                plugin = value.metadata.plugin_data.plugin_name
                if plugin not in ("", "scalars"):
                    continue
                if value.HasField("simple_value"):
                    number = value.simple_value
                else:
                    array = to_array(value.tensor)
                    if array is None or array.size != 1:
                        continue
                    number = float(array.reshape(-1)[0])
                found[value.tag].append(FileDatum.of_number(event.step, event.wall_time, number))
    return found


def _events(path: str) -> Iterator[event_pb2.Event]:
    with open(path, "rb") as file:
        for record in read_records(file, _LONGEST_EVENT):
            try:
                yield event_pb2.Event.FromString(record)
            except DecodeError:
                continue
