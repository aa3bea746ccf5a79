"""Converts tensors of events to arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError
from tensorboard.compat.proto import tensor_pb2

from tb_adam_plugin.event_files.wire import TensorPlace

_DTYPES = {1: "<f4", 2: "<f8", 4: "|u1", 9: "<i8", 22: "<u4"}  # by number in types.proto


def to_array(message: tensor_pb2.TensorProto) -> npt.NDArray[Any] | None:
    """Return the numbers of a tensor; None if their type or their count is wrong."""
    dtype = _DTYPES.get(message.dtype)
    if dtype is None:
        return None
    shape = [dimension.size for dimension in message.tensor_shape.dim]
    if message.tensor_content:
        return _shaped(message.tensor_content, dtype, shape)
    listed = message.float_val or message.double_val or message.int64_val
    try:
        with np.errstate(over="ignore"):
            array: npt.NDArray[Any] = np.array(list(listed), dtype).reshape(shape)
    except (ValueError, OverflowError):  # wrong count, or out of range for the type
        return None
    return array


def from_file(data: npt.NDArray[np.uint8], kind: TensorPlace) -> npt.NDArray[Any] | None:
    """Return a tensor as a new array; None in the same cases as :func:`to_array`.

    Args:
        data: Its numbers, or the message that lists them.
        kind: Its type and shape; ``at`` is 0 if the numbers are listed.
    """
    if kind.at:
        dtype = _DTYPES.get(kind.dtype)
        return None if dtype is None else _shaped(data.tobytes(), dtype, kind.shape)
    try:
        return to_array(tensor_pb2.TensorProto.FromString(data.tobytes()))
    except DecodeError:
        return None


def is_float32(kind: TensorPlace, shape: tuple[int, ...]) -> bool:
    """Return whether a tensor has type float32 and the given shape."""
    return _DTYPES.get(kind.dtype) == "<f4" and kind.shape == shape


def in_words(kind: TensorPlace) -> str:
    """Return a tensor's type and shape for a message."""
    dtype = _DTYPES.get(kind.dtype)
    name = f"type {kind.dtype}" if dtype is None else str(np.dtype(dtype))
    return f"{name} {'×'.join(map(str, kind.shape))}"


def _shaped(data: bytes, dtype: str, shape: Any) -> npt.NDArray[Any] | None:
    try:
        array: npt.NDArray[Any] = np.frombuffer(data, dtype).reshape(shape)
    except ValueError:
        return None
    return array
