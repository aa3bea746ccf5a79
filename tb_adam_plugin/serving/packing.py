"""Encodes answers as packed binary data or JSON. ``http_api.md`` describes the format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

_MAGIC = b"ADBG"
_ALIGNMENT = 8
_DTYPES = ("float32", "float64", "uint32", "uint8")


def pack(header: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Pack arrays behind a JSON header, as ``http_api.md`` describes.

    Args:
        header: Fields in JSON's types, other than ``arrays``.
        arrays: float32, float64, uint32 or uint8.

    Returns:
        The answer; the browser can make views of the arrays in place.

    Raises:
        ValueError: If an array has another dtype.
    """
    parts: list[tuple[str, npt.NDArray[Any]]] = []
    for name, array in arrays.items():
        if array.dtype.name not in _DTYPES:
            raise ValueError(f"array {name} is {array.dtype}, expected one of {_DTYPES}")
        parts.append((name, np.asarray(array, array.dtype.newbyteorder("<"), order="C")))
    start, text = _header(header, parts)
    answer = bytearray(_MAGIC + (start - 8).to_bytes(4, "little") + text.ljust(start - 8))
    for _, array in parts:
        answer += array.tobytes()
        answer += bytes(-len(answer) % _ALIGNMENT)
    return bytes(answer)


def json_text(content: Mapping[str, Any]) -> str:
    """Return compact JSON, which cannot contain NaN and infinity."""
    return json.dumps(content, separators=(",", ":"), allow_nan=False)


def _header(
    fields: Mapping[str, Any], parts: list[tuple[str, npt.NDArray[Any]]]
) -> tuple[int, bytes]:
    # The offsets are part of the header and depend on its length: start small and let it grow.
    start = _ALIGNMENT
    while True:
        listed, offset = [], start
        for name, array in parts:
            listed.append(
                {
                    "name": name,
                    "dtype": array.dtype.name,
                    "shape": array.shape,
                    "offset": offset,
                }
            )
            offset += array.nbytes + -array.nbytes % _ALIGNMENT
        text = json_text({**fields, "arrays": listed}).encode()
        needed = 8 + len(text) + -len(text) % _ALIGNMENT
        if needed <= start:
            return start, text
        start = needed
