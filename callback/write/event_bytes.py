"""Serializes one step's event.

For an event of many small tensors, building message objects takes several times longer than writing
their few fields directly. Protocol buffers (event.proto, summary.proto, tensor.proto and
tensor_shape.proto of TensorBoard) are sequences of fields in ascending order, each a key and a
value.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from tensorboard.compat.proto import (
    event_pb2,
    summary_pb2,
    tensor_pb2,
    tensor_shape_pb2,
    types_pb2,
)

from ... import schema

# Readers support these element types; bfloat16, for example, makes TensorBoard fail.
ELEMENT_TYPES = ("float32", "float64", "uint8")
_TENSOR_TYPES = {
    "f4": types_pb2.DT_FLOAT,
    "f8": types_pb2.DT_DOUBLE,
    "u1": types_pb2.DT_UINT8,
}


def is_element_type(dtype: np.dtype[Any]) -> bool:
    """Whether a type is one of :data:`ELEMENT_TYPES`, in any byte order."""
    return dtype.str[1:] in _TENSOR_TYPES


def serialize(
    step: int,
    wall_time: float,
    tensors: Sequence[schema.TaggedTensor],
    scalars: Mapping[str, float],
    described: Container[str],
) -> bytes:
    """Return a serialized event.

    Args:
        step: Optimizer step.
        wall_time: Seconds since the epoch.
        tensors: Tensors of :data:`ELEMENT_TYPES`.
        scalars: Scalars by tag.
        described: Tags whose content has already been described.
    """
    summary: list[_Piece] = []
    for tagged in tensors:
        # Metadata on every value: if it is missing on the first value that a reader sees,
        # TensorBoard ignores the tag.
        metadata = _PLAIN if tagged.tag in described else _metadata_with(tagged.content)
        tensor = _enclosed(_TENSOR, _tensor(tagged.tensor))
        summary += _enclosed(_VALUE, [*_enclosed(_TAG, [tagged.tag.encode()]), *tensor, metadata])
    summary += _scalars(scalars)
    event: bytes = event_pb2.Event(step=step, wall_time=wall_time).SerializeToString()
    return b"".join([event, *(_enclosed(_SUMMARY, summary) if summary else ())])


# An array's data is copied once, when the pieces are joined.
_Piece = bytes | memoryview


def _tensor(array: npt.NDArray[Any]) -> list[_Piece]:
    numbers = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    data = numbers.reshape(-1).view(np.uint8).data
    sizes = [_enclosed(_DIM, [_SIZE + _varint(size)] if size else []) for size in array.shape]
    return [
        _TYPES[array.dtype.str[1:]],
        *(_enclosed(_SHAPE, list(itertools.chain(*sizes))) if sizes else ()),
        *(_enclosed(_CONTENT, [data]) if data else ()),
    ]


def _scalars(scalars: Mapping[str, float]) -> list[_Piece]:
    with np.errstate(over="ignore"):
        numbers = np.array(list(scalars.values()), "<f4").tobytes()
    pieces: list[_Piece] = []
    for i, tag in enumerate(scalars):
        # Rank 0 and float32: the fast data server accepts no other scalars.
        tensor = [_TYPES["f4"], *_enclosed(_FLOATS, [numbers[4 * i : 4 * i + 4]])]
        named = _enclosed(_TAG, [tag.encode()])
        pieces += _enclosed(_VALUE, [*named, *_enclosed(_TENSOR, tensor), _SCALAR])
    return pieces


def _metadata(plugin_name: str, data_class: int, content: bytes = b"") -> bytes:
    value = summary_pb2.Summary.Value()
    value.metadata.data_class = data_class
    value.metadata.plugin_data.plugin_name = plugin_name
    value.metadata.plugin_data.content = content
    data: bytes = value.SerializeToString()
    return data


def _metadata_with(content: bytes) -> bytes:
    return _metadata(schema.PLUGIN_NAME, summary_pb2.DATA_CLASS_TENSOR, content)


def _enclosed(key: bytes, pieces: Sequence[_Piece]) -> list[_Piece]:
    """A field that contains other pieces of the message; they are joined once, at the end."""
    return [key, _varint(sum(map(len, pieces))), *pieces]


def _varint(number: int) -> bytes:
    """A varint: seven bits per byte, the low ones first."""
    if number < 0x80:
        return bytes((number,))
    parts = []
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*parts, number))


def _key(message: Any, field: str) -> bytes:
    """The key of a field: its number, and whether a number or a length follows."""
    descriptor = message.DESCRIPTOR.fields_by_name[field]
    is_number = descriptor.cpp_type in (descriptor.CPPTYPE_ENUM, descriptor.CPPTYPE_INT64)
    return _varint(descriptor.number << 3 | (0 if is_number else 2))


_SUMMARY = _key(event_pb2.Event, "summary")
_VALUE = _key(summary_pb2.Summary, "value")
_TAG = _key(summary_pb2.Summary.Value, "tag")
_TENSOR = _key(summary_pb2.Summary.Value, "tensor")
_SHAPE = _key(tensor_pb2.TensorProto, "tensor_shape")
_CONTENT = _key(tensor_pb2.TensorProto, "tensor_content")
_FLOATS = _key(tensor_pb2.TensorProto, "float_val")
_DIM = _key(tensor_shape_pb2.TensorShapeProto, "dim")
_SIZE = _key(tensor_shape_pb2.TensorShapeProto.Dim, "size")
_TYPES = {
    kind: _key(tensor_pb2.TensorProto, "dtype") + _varint(number)
    for kind, number in _TENSOR_TYPES.items()
}
_PLAIN = _metadata_with(b"")
_SCALAR = _metadata("scalars", summary_pb2.DATA_CLASS_SCALAR)
