"""Records of event files: framed and read compatibly with other tools."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from event_files import record
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New

from tb_adam_plugin.tfrecord import read_records, to_record

DATA = (b"", b"one", bytes(range(256)) * 300)
LONGEST = 2**31 - 1


def written(folder: Path, content: bytes) -> Path:
    path = folder / "file"
    path.write_bytes(content)
    return path


def read(path: Path, longest: int = LONGEST) -> list[bytes]:
    with path.open("rb") as file:
        return list(read_records(file, longest))


@pytest.mark.parametrize("data", DATA, ids=len)
def test_a_record_is_framed_as_the_format_says(data: bytes) -> None:
    assert to_record(data) == record(data)


def test_tensorboard_reads_the_records(tmp_path: Path) -> None:
    reader = PyRecordReader_New(str(written(tmp_path, b"".join(map(to_record, DATA)))))
    for data in DATA:
        reader.GetNext()
        assert reader.record() == data


def test_what_was_framed_is_read(tmp_path: Path) -> None:
    assert read(written(tmp_path, b"".join(map(record, DATA)))) == list(DATA)


def test_a_torn_end_is_left_out_wherever_it_is_torn(tmp_path: Path) -> None:
    whole, last = record(b"first"), record(b"second")
    for end in range(len(last)):
        assert read(written(tmp_path, whole + last[:end])) == [b"first"], end


def test_data_that_do_not_match_their_checksum_are_left_out_alone(tmp_path: Path) -> None:
    damaged = bytearray(record(b"second"))
    damaged[12] ^= 1
    content = record(b"first") + bytes(damaged) + record(b"third")
    assert read(written(tmp_path, content)) == [b"first", b"third"]


def test_reading_ends_at_a_length_that_does_not_match_its_checksum(tmp_path: Path) -> None:
    damaged = bytearray(record(b"second"))
    damaged[0] ^= 1
    content = record(b"first") + bytes(damaged) + record(b"third")
    assert read(written(tmp_path, content)) == [b"first"]


def test_nothing_is_allocated_for_a_length_that_is_only_claimed(tmp_path: Path) -> None:
    length = struct.pack("<Q", 2**63)
    checksum = to_record(length)[-4:]
    assert read(written(tmp_path, record(b"first") + length + checksum + bytes(100))) == [b"first"]


def test_records_that_are_too_long_are_passed_over(tmp_path: Path) -> None:
    path = written(tmp_path, record(b"first") + record(bytes(11)) + record(b"third"))
    assert read(path, longest=10) == [b"first", b"third"]
