"""For any events, the index agrees with a reader that parses all of them, after every piece."""

from __future__ import annotations

import random
import struct
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wire_events
from event_files import record
from tensorboard.compat.proto import event_pb2

from tb_adam_plugin import schema
from tb_adam_plugin.event_files import tensors
from tb_adam_plugin.event_files.event_index import EventIndex
from tb_adam_plugin.event_files.run_files import RunFiles
from tb_adam_plugin.tfrecord import read_records

SEEDS = 200

# Of a tag: step, bits of the wall time, and the tensor as type, shape and bytes.
Found = dict[str, list[tuple[int, bytes, Any]]]


def as_key(array: Any) -> Any:
    return None if array is None else (array.dtype.str, array.shape, array.tobytes())


def unpacked(path: Path) -> tuple[Found, dict[str, bytes]]:
    """What protocol buffers find in the whole file: tensors, and the first metadata of each tag."""
    found: Found = defaultdict(list)
    first: dict[str, bytes] = {}
    with path.open("rb") as file:
        for data in read_records(file, 1 << 30):
            event = event_pb2.Event.FromString(data)
            for value in event.summary.value:
                if schema.parse_tag(value.tag) is None or not value.tensor.ByteSize():
                    continue
                array = as_key(tensors.to_array(value.tensor))
                found[value.tag].append((event.step, struct.pack("<d", event.wall_time), array))
                metadata = value.metadata.SerializeToString(deterministic=True)
                first[value.tag] = first.get(value.tag) or metadata
    return found, first


def indexed(index: EventIndex) -> Found:
    """What the index finds."""
    found: dict[str, list[tuple[int, int, Any]]] = defaultdict(list)

    def add(tag: str, event: int, at: int, size: int, kind: Any) -> None:
        data = next(index.read(np.array([at]), np.array([size]))) if size else np.empty(0, "u1")
        array = as_key(tensors.from_file(data, kind))
        at_step = int(index.step[event]), struct.pack("<d", index.wall_time[event])
        found[tag].append((event, at, (*at_step, array)))

    for tag in index.tags:
        places = index.places(tag)
        for event, at, size, kind in zip(
            places.event.tolist(), places.at.tolist(), places.size.tolist(), places.kind.tolist(),
            strict=True,
        ):  # fmt: skip
            add(tag, event, at, size, places.kinds[kind])
    for layout in index.histogram_layouts:
        for event in index.histogram_events(layout).tolist():
            for place in index.histograms(event):
                if schema.parse_tag(place.tag) is not None:
                    add(place.tag, event, place.at, place.size, place.kind)
    return {tag: [one for *_, one in sorted(places)] for tag, places in found.items()}


def metadata_of(index: EventIndex) -> dict[str, bytes]:
    parsed, stored = {}, index.metadata()
    for tag in index.tags:
        message = event_pb2.Event().summary.value.add().metadata
        message.ParseFromString(stored.get(tag, b""))
        parsed[tag] = message.SerializeToString(deterministic=True)
    return parsed


def write_pieces(source: random.Random, path: Path, data: bytes) -> Any:
    """Write a file in pieces of random length, and stop after each."""
    done = 0
    with path.open("wb", buffering=0) as file:
        while done < len(data):
            piece = data[done : done + source.choice((1, 7, 100, 5000, 50000))]
            file.write(piece)
            done += len(piece)
            yield


@pytest.mark.parametrize("seed", range(SEEDS))
def test_any_events_in_any_pieces(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "events.out.tfevents.1"
    source = random.Random(seed)
    marked = seed % 2 == 0
    written = [wire_events.head_event(source, marked=marked)]
    for _ in range(source.choice((1, 3, 10, 25))):
        if len(written) > 1 and source.random() < 0.3:
            written.append(source.choice(written[1:]))
        else:
            written.append(wire_events.event(source, histograms_last=marked))
    index = EventIndex(str(path))
    for _ in write_pieces(source, path, b"".join(map(record, written))):
        index.update()
        if source.random() < 0.2:
            assert indexed(index) == unpacked(path)[0]
    found, first = unpacked(path)
    assert indexed(index) == found
    assert metadata_of(index) == {tag: first[tag] for tag in index.tags}
    for tag in index.tags:
        places = index.places(tag)
        assert index.intact(places.event).all()
        assert (np.diff(places.at) > 0).all()
        assert (np.diff(places.event) >= 0).all()
    for layout in index.histogram_layouts:
        ending = index.histogram_events(layout)
        for tag in wire_events.HISTOGRAMS:
            taken = list(index.read_histograms(ending.tolist(), tag))
            for event, one in zip(ending.tolist(), taken, strict=True):
                first_place = next((p for p in index.histograms(event) if p.tag == tag), None)
                assert (one is None) == (first_place is None)


@pytest.mark.parametrize("seed", range(SEEDS // 5))
def test_an_index_that_grew_is_that_of_the_whole_file(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "events.out.tfevents.1"
    source = random.Random(seed)
    marked = seed % 2 == 0
    events = [wire_events.event(source, histograms_last=marked) for _ in range(20)]
    events.insert(0, wire_events.head_event(source, marked=marked))
    grown = RunFiles(is_ours=source.random() < 0.5)
    for _ in write_pieces(source, path, b"".join(map(record, events))):
        grown.update([str(path)], 1 << 30)
        grown.series()
    whole = RunFiles(is_ours=True)
    whole.update([str(path)], 0)
    listed = [
        {tag: series._replace(files=()) for tag, series in files.series().items()}
        for files in (grown, whole)
    ]
    # A listing may hold times that are not known, which no comparison finds equal.
    assert str(listed[0]) == str(listed[1])


def test_events_that_differ_in_scalars_alone_have_one_shape(tmp_path: Path) -> None:
    """The learning rate beside our tensors differs at every step."""
    source = random.Random(0)
    path = tmp_path / "events.out.tfevents.1"
    fixed = wire_events.value(random.Random(1), "adam_debug/statistics/abc")
    with path.open("wb") as file:
        for step in range(300):
            rate = wire_events.bytes_field(source, 5, struct.pack("<f", step))
            scalar = wire_events.bytes_field(source, 1, b"adam_debug/lr/0")
            scalar += wire_events.bytes_field(source, 8, b"\x08\x01" + rate)
            summary = b"".join(
                b"\x0a" + wire_events.varint(source, len(one), plain=True) + one
                for one in (fixed, scalar)
            )
            file.write(record(b"\x10\x05\x2a" + wire_events.varint(source, len(summary)) + summary))
    index = EventIndex(str(path))
    index.update()
    assert len(index) == 300
    assert index.nbytes < 300 * 100 + 20_000
    assert index.tags == ("adam_debug/statistics/abc",)
