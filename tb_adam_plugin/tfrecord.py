"""Records of an event file, in TFRecord framing, for writers and readers.

A record is its length as uint64, the length's checksum, the data and their checksum, all
little-endian. A checksum is a CRC-32C, rotated and shifted by a constant, as uint32. TensorBoard
computes it in a Python loop (5 MB/s, holding the GIL); here it is C.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

import google_crc32c

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")
# Number of bytes before the data of a record, and after them.
HEAD = _LENGTH.size + _CHECKSUM.size
TAIL = _CHECKSUM.size


def to_record(data: bytes) -> bytes:
    """Frame one record."""
    length = _LENGTH.pack(len(data))
    return b"".join([length, checksum(length), data, checksum(data)])


def length_of(head: bytes) -> int | None:
    """Return the length of a record's data, or None if no record starts here.

    Args:
        head: The first :data:`HEAD` bytes of the record, or as many as there are.
    """
    if len(head) < HEAD or head[_LENGTH.size :] != checksum(head[: _LENGTH.size]):
        return None
    length: int = _LENGTH.unpack_from(head)[0]
    return length


def read_records(file: BinaryIO, longest: int) -> Iterator[bytes]:
    """Read the data of a file's records, from its current position.

    Stops where the file ends, or where a record is torn or incomplete. A record whose data do not
    match their checksum is left out, and nothing is allocated based on an unverified length.

    Args:
        file: A regular file. It is read, not mapped into memory: a writer that meets a full disk
            truncates its file.
        longest: Longer records, in bytes, are skipped without reading.
    """
    size = os.fstat(file.fileno()).st_size
    while (length := length_of(file.read(HEAD))) is not None:
        claimed = length + TAIL
        if claimed > size - file.tell():
            return
        if length > longest:
            file.seek(claimed, os.SEEK_CUR)
            continue
        data, end = file.read(length), file.read(TAIL)
        if len(end) < TAIL:
            return
        if end == checksum(data):
            yield data


def checksum(data: bytes | npt.NDArray[np.uint8]) -> bytes:
    """Return the checksum of some bytes, as stored in a record."""
    crc = google_crc32c.value(data)
    return _CHECKSUM.pack(((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
