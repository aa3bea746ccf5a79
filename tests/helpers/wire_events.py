"""Events written field by field, in any order: every valid event, whoever might write it."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence

import numpy as np
from tensorboard.compat.proto import summary_pb2

from tb_adam_plugin import schema

OURS = (
    "adam_debug/statistics/abc", "adam_debug/statistics/def", "adam_debug/hyperparameters/abc",
    "adam_debug/steps/ghi", "adam_debug/gradient_norms/jkl",
)  # fmt: skip
HISTOGRAMS = tuple(f"adam_debug/histograms/{id_}/{n}" for id_ in ("abc", "def") for n in range(3))
OTHERS = (
    "loss", "adam_debug/lr/0", "adam_debug/histograms/abc", "adam_debug/histograms/abc/x",
    "adam_debug", "adam_debug/", "adam_debug/statistics/", "adam_debugger/statistics/abc", "",
    "é/\U0001f600", "x" * 700,
)  # fmt: skip
_NUMBERS = (0, 1, 127, 128, 2**31, 2**53, 2**63 - 1, 2**63, 2**64 - 1)
_TIMES = (0.0, 1e9, float("nan"), float("inf"), -1.0)
_SHAPES = ((), (0,), (1,), (3,), (2, 3), (2, 0), (1, 1, 2, 1, 1, 3, 1, 1), (-1,), (6,), (7, 1))
_DTYPES = {1: "<f4", 2: "<f8", 4: "|u1", 9: "<i8"}  # by number in types.proto


def varint(source: random.Random, number: int, *, plain: bool = False) -> bytes:
    """A number; sometimes with more bytes than it needs."""
    number &= 2**64 - 1
    parts = []
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    # Protocol buffers accept no length of more than five bytes.
    while not plain and len(parts) < 5 and source.random() < 0.03:
        parts[-1] |= 0x80
        parts.append(0)
    return bytes(parts)


def number_field(source: random.Random, field: int, number: int) -> bytes:
    """A field with a number."""
    return varint(source, field << 3, plain=True) + varint(source, number)


def bytes_field(source: random.Random, field: int, data: bytes) -> bytes:
    """A field with bytes, or with a message."""
    return varint(source, field << 3 | 2, plain=True) + varint(source, len(data)) + data


def unknown_field(source: random.Random) -> bytes:
    """A field that none of the messages defines."""
    number = source.choice((99, 777, 2**20))
    kind = source.choice((0, 1, 2, 5))
    key = varint(source, number << 3 | kind, plain=True)
    if kind == 0:
        return key + varint(source, source.choice(_NUMBERS))
    if kind == 2:
        data = source.randbytes(source.choice((0, 1, 40)))
        return key + varint(source, len(data)) + data
    return key + source.randbytes(8 if kind == 1 else 4)


def shuffled(source: random.Random, fields: Sequence[bytes]) -> bytes:
    """A message of these fields; sometimes in another order, or with an unknown field."""
    parts = list(fields)
    if source.random() < 0.3:
        parts.insert(source.randrange(len(parts) + 1), unknown_field(source))
    if source.random() < 0.3:
        source.shuffle(parts)
    return b"".join(parts)


def tensor(source: random.Random) -> bytes:
    """A tensor of any kind, whose numbers may not match its shape."""
    dtype = source.choice((1, 1, 2, 4, 9, 0, 7, 14, 99))
    shape = source.choice(_SHAPES)
    count = int(abs(np.prod(shape))) + source.choice((0, 0, 0, 0, 1))
    dims = [
        bytes_field(source, 2, shuffled(source, [number_field(source, 1, size)] if size else []))
        for size in shape
    ]
    # Dimensions have an order.
    fields = [bytes_field(source, 2, b"".join(dims))] if source.random() < 0.9 else []
    if dtype:
        fields.append(number_field(source, 1, dtype))
    name = _DTYPES.get(dtype, "<f4")
    numbers = np.array([source.randrange(256) for _ in range(count)]).astype(name)
    listed = source.choice(("", "", "", "float", "double", "nothing"))
    if not count:
        pass  # an empty list is not written
    elif listed == "float":
        fields.append(bytes_field(source, 5, numbers.astype("<f4").tobytes()))
    elif listed == "double":
        fields.append(bytes_field(source, 6, numbers.astype("<f8").tobytes()))
    elif not listed:
        fields.append(bytes_field(source, 4, numbers.tobytes()))
    return shuffled(source, fields)


def metadata(source: random.Random, name: str, content: bytes) -> bytes:
    """The metadata of a tag."""
    fields = [bytes_field(source, 1, name.encode())] if name else []
    if content:
        fields.append(bytes_field(source, 2, content))
    parts = [bytes_field(source, 1, shuffled(source, fields))]
    if source.random() < 0.3:
        parts.append(bytes_field(source, 2, b"shown so"))
    return shuffled(source, parts)


def value(source: random.Random, tag: str) -> bytes:
    """A value with a tensor, and metadata before or after it, or none."""
    fields = [bytes_field(source, 1, tag.encode())]
    if source.random() < 0.7:
        content = source.choice((b"", b"short", b"a longer one, " * 5, b"another one, " * 30))
        name = source.choice((schema.PLUGIN_NAME,) * 4 + ("", "scalars"))
        fields.append(bytes_field(source, 9, metadata(source, name, content)))
    if source.random() < 0.95:
        fields.append(bytes_field(source, 8, tensor(source)))
    return shuffled(source, fields)


def other_value(source: random.Random) -> bytes:
    """A scalar, a picture, a histogram of TensorBoard's, or nothing."""
    kind = source.choice(("scalar", "picture", "histogram", "tensor", "nothing"))
    tag = source.choice(OTHERS)
    if kind == "tensor":
        return value(source, tag)
    fields = [bytes_field(source, 1, tag.encode())]
    if kind == "scalar":
        fields.append(b"\x15" + struct.pack("<f", source.random()))
    elif kind == "picture":
        picture = bytes_field(source, 4, source.randbytes(source.choice((10, 9000))))
        fields.append(bytes_field(source, 4, picture))
    elif kind == "histogram":
        fields.append(bytes_field(source, 5, b"\x09" + struct.pack("<d", 1.0)))
    return shuffled(source, fields)


def event(source: random.Random, *, histograms_last: bool) -> bytes:
    """An event.

    Args:
        source: The source of random numbers.
        histograms_last: Whether histograms, of one layout, come after all other tensors of ours.
    """
    ours = [value(source, tag) for tag in source.choices(OURS, k=source.choice((0, 1, 2, 4)))]
    if source.random() < 0.4:
        ours += [other_value(source) for _ in range(source.choice((1, 3)))]
    source.shuffle(ours)
    of_layout = [tag for tag in HISTOGRAMS if tag.split("/")[2] == "abc"]
    tags = of_layout if histograms_last else list(HISTOGRAMS)
    if source.random() < 0.5:
        blocks = [plain_block(source, tag) for tag in tags]
        if not histograms_last and source.random() < 0.5:
            source.shuffle(blocks)
            ours += blocks[: source.randrange(len(blocks) + 1)]
            source.shuffle(ours)
        else:
            ours += blocks
            if source.random() < 0.5:
                ours += [other_value(source) for _ in range(2)]
    summary = b"".join(bytes_field(source, 1, one) for one in ours)
    fields = [
        b"\x09" + struct.pack("<d", source.choice(_TIMES)),
        number_field(source, 2, source.choice((*range(10), *_NUMBERS))),
    ]
    if ours or source.random() < 0.5:
        fields.append(bytes_field(source, 5, summary))
    if source.random() < 0.1:
        fields.pop(source.randrange(2))
    return shuffled(source, fields)


def plain_block(source: random.Random, tag: str) -> bytes:
    """A histogram as our writer stores it: the tag first, then bytes, then its metadata."""
    data = source.randbytes(source.choice((1, 5, 130)))
    written = summary_pb2.Summary.Value(tag=tag)
    written.tensor.dtype = 4
    written.tensor.tensor_shape.dim.add(size=len(data))
    written.tensor.tensor_content = data
    written.metadata.plugin_data.plugin_name = schema.PLUGIN_NAME
    written.metadata.plugin_data.content = b"its layout"
    serialized: bytes = written.SerializeToString()
    return serialized


def head_event(source: random.Random, *, marked: bool) -> bytes:
    """The first event of a file, which may name the callback as its writer."""
    fields = [b"\x09" + struct.pack("<d", 1e9), bytes_field(source, 3, b"brain.Event:2")]
    if marked:
        fields.append(bytes_field(source, 10, bytes_field(source, 1, schema.WRITER.encode())))
    return b"".join(fields)
