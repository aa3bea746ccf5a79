"""Finds fields of protocol buffer messages without parsing their content.

A field is a key, which contains its number and wire type, and a value: a varint, four or eight
bytes, or a length and that many bytes. Reading past the end of the buffer raises
:class:`IndexError` or :class:`struct.error`; invalid fields raise :class:`MalformedError`.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

_FLOAT64 = struct.Struct("<d")
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5
_FIRST_KEY = 8  # fields are numbered from 1
_LONGEST_VARINT = 70  # bits
_MOST_DIMENSIONS = 8


class MalformedError(ValueError):
    """The bytes are not the expected message."""


class TensorPlace(NamedTuple):
    """Where the numbers of a tensor are.

    Attributes:
        dtype: Its number in types.proto.
        shape: Sizes.
        at: Index of the first byte of its numbers; 0 if they are listed one by one.
        size: Their size in bytes.
    """

    dtype: int
    shape: tuple[int, ...]
    at: int
    size: int


def varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a varint and the position after it."""
    byte = data[at]
    at += 1
    if byte < 0x80:
        return byte, at
    value, shift = byte & 0x7F, 7
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift >= _LONGEST_VARINT:
            raise MalformedError("a number has no end")


def to_varint(number: int) -> bytes:
    """Return a non-negative number as a varint."""
    parts = bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def signed(value: int) -> int:
    """Return an int64 that was stored as unsigned."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >= 1 << 63 else value


def float64(data: bytes, at: int) -> float:
    """Return eight bytes as a float."""
    number: float = _FLOAT64.unpack_from(data, at)[0]
    return number


def after(data: bytes, at: int, key: int) -> int:
    """Return where the field with ``key`` ends, whose value starts at ``at``."""
    kind = key & 7
    if key < _FIRST_KEY:
        raise MalformedError("a field has no number")
    if kind == _LENGTH:
        size, at = varint(data, at)
        return at + size
    if kind == _VARINT:
        return varint(data, at)[1]
    if kind == _EIGHT_BYTES:
        return at + 8
    if kind == _FOUR_BYTES:
        return at + 4
    raise MalformedError(f"a field is stored in way {kind}")


def find_tensor(data: bytes, at: int, end: int) -> TensorPlace:
    """Parse the head of a ``TensorProto``.

    Args:
        data: The message, or its beginning up to its numbers.
        at: Start of the message.
        end: End of the message, possibly past the end of ``data``.
    """
    dtype = 0
    shape: tuple[int, ...] = ()
    place, size = 0, 0
    while at < end:
        key, at = varint(data, at)
        if key == 0x08:
            dtype, at = varint(data, at)
        elif key == 0x12:
            length, at = varint(data, at)
            shape = _shape(data, at, at + length)
            at += length
        elif key == 0x22:
            size, place = varint(data, at)
            at = place + size
        elif at >= len(data):
            raise IndexError
        else:
            at = after(data, at, key)
    if at != end:
        raise MalformedError("a tensor does not end where it should")
    return TensorPlace(dtype, shape, place, size)


def _shape(data: bytes, at: int, end: int) -> tuple[int, ...]:
    sizes: list[int] = []
    while at < end:
        key, at = varint(data, at)
        if key != 0x12:
            at = after(data, at, key)
            continue
        length, at = varint(data, at)
        if len(sizes) <= _MOST_DIMENSIONS:  # our tensors have fewer
            sizes.append(_size(data, at, at + length))
        at += length
    return tuple(sizes)


def _size(data: bytes, at: int, end: int) -> int:
    size = 0
    while at < end:
        key, at = varint(data, at)
        if key == 0x08:
            size, at = varint(data, at)
            size = signed(size)
        else:
            at = after(data, at, key)
    return size
