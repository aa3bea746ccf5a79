"""Records of an event file, framed as TFRecord files are, for those who write and those who read.

A record is its length as uint64, the length's checksum, the data and their checksum, all
little-endian. A checksum is a CRC-32C, rotated and shifted by a constant, as uint32. TensorBoard
computes it in a Python loop (5 MB/s, holding the GIL); here it is C.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

import google_crc32c

_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")
_HEAD = _LENGTH.size + _CHECKSUM.size


def to_record(data: bytes) -> bytes:
    """Frame one record."""
    length = _LENGTH.pack(len(data))
    return b"".join([length, _checksum(length), data, _checksum(data)])


def read_records(file: BinaryIO, longest: int) -> Iterator[bytes]:
    """Read the data of the records of a file, from where it stands.

    Stops where the file ends, or a record is torn or not written to its end yet. A record whose
    data do not match their checksum is left out, and nothing is allocated for what is only claimed.

    Args:
        file: A regular file. It is read, not mapped into memory: a writer that meets a full disk
            truncates its file.
        longest: Records of more bytes are left out, unread.
    """
    size = os.fstat(file.fileno()).st_size
    while len(head := file.read(_HEAD)) == _HEAD:
        (length,) = _LENGTH.unpack_from(head)
        claimed = length + _CHECKSUM.size
        if head[_LENGTH.size :] != _checksum(head[: _LENGTH.size]) or claimed > size - file.tell():
            return
        if length > longest:
            file.seek(claimed, os.SEEK_CUR)
            continue
        data, end = file.read(length), file.read(_CHECKSUM.size)
        if len(end) < _CHECKSUM.size:
            return
        if end == _checksum(data):
            yield data


def _checksum(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return _CHECKSUM.pack(((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
