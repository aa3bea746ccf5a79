"""Records of an event file, framed as TFRecord files are, for those who write and those who read.

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
# Bytes before the data of a record, and after them.
HEAD = _LENGTH.size + _CHECKSUM.size
TAIL = _CHECKSUM.size


def to_record(data: bytes) -> bytes:
    """Frame one record."""
    length = _LENGTH.pack(len(data))
    return b"".join([length, checksum(length), data, checksum(data)])


def length_of(head: bytes) -> int | None:
    """Return how long a record's data are, or None where no record starts.

    Args:
        head: The first :data:`HEAD` bytes of the record, or as many as there are.
    """
    if len(head) < HEAD or head[_LENGTH.size :] != checksum(head[: _LENGTH.size]):
        return None
    length: int = _LENGTH.unpack_from(head)[0]
    return length


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
    """Return what a record says of some bytes."""
    crc = google_crc32c.value(data)
    return _CHECKSUM.pack(((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
