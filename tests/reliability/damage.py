"""Damage by broken disks, killed writers and other programs, drawn from a seed."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np
from event_files import event, make_layout, record, step_tensors
from tensorboard.compat.proto import event_pb2

from tb_adam_plugin import schema

# A run that changes its layout on the way; the first event of each carries its content.
LAYOUTS = (
    make_layout(optimizers=("AdamW", "SGD")),
    make_layout(("conv1.weight", "conv1.bias", "head.weight"), statistics=("update_rms",)),
)
FIRST_EVENTS = (0, 6)

# What a number, a name or a list in the JSON of a layout becomes.
_EXTREMES: tuple[Any, ...] = (
    0, -1, 1, 2**31, 2**53 + 1, 2**63, 10**12, 10**300, 10**4000, -(10**4000), 0.5, 1e308,
    float("nan"), float("inf"), float("-inf"), True, None, "", "1", "é\0\x1b[31m", "\ud800",
    "__proto__", "x" * 5000, [], {}, [[]], [0] * 300, {"a": {"b": float("nan")}}, [None],
    [10**4000, 10**4000], [0, 10**12],
)  # fmt: skip
_SIZES = (0, 1, -1, 2, 3, 8, 2**31, 2**40, 2**62, 2**63 - 1, -(2**63))
_STEPS = (0, -1, -(2**63), 2**31, 2**53 + 1, 2**63 - 1, 5)
_NUMBERS = (0.0, -1.0, float("nan"), float("inf"), float("-inf"), 1e300, -1e300, 5e-324)


class TooSlowError(Exception):
    """An input took more processor time than it may."""


@contextmanager
def limits(seconds: float = 5.0, megabytes: int = 256) -> Iterator[Callable[[], None]]:
    """Bound the memory that is taken from here on, and what each input may take of the processor.

    At the end it says how long the slowest input took.

    Yields:
        To be called before each input: starts its time anew.
    """
    slowest, started = 0.0, time.process_time()

    def begin() -> None:
        nonlocal slowest, started
        now = time.process_time()
        slowest, started = max(slowest, now - started), now
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds)

    def expire(_: int, __: FrameType | None) -> None:
        raise TooSlowError(f"more than {seconds} s of processor time")

    with open("/proc/self/statm", encoding="ascii") as file:
        in_use = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    memory = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGVTALRM, expire)
    # Address space, not what is resident: zeros that nobody touches count as well.
    resource.setrlimit(resource.RLIMIT_AS, (in_use + (megabytes << 20), memory[1]))
    try:
        yield begin
        begin()
        print(f"slowest input: {slowest * 1e3:.0f} ms of processor time")
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, memory)


def damage_bytes(source: random.Random, data: bytes) -> bytes:
    """Truncate, flip, overwrite, insert, remove, repeat or swap bytes, up to three times."""
    damaged = bytearray(data)
    for _ in range(source.choice((1, 1, 1, 2, 3))):
        at = source.randrange(len(damaged) + 1)
        end = min(len(damaged), at + source.choice((1, 1, 2, 4, 8, 64, 500)))
        kind = source.randrange(8)
        if kind == 0:
            del damaged[at:]
        elif kind == 1 and damaged:
            damaged[at % len(damaged)] ^= 1 << source.randrange(8)
        elif kind == 2:
            damaged[at:end] = source.randbytes(end - at)
        elif kind == 3:
            damaged[at:at] = source.randbytes(source.choice((1, 3, 8, 100)))
        elif kind == 4:
            del damaged[at:end]
        elif kind == 5:
            damaged[at:at] = damaged[at:end]
        elif kind == 6:
            damaged[at:end] = bytes(end - at)
        else:
            damaged[at:end] = b"\xff" * (end - at)
    return bytes(damaged)


def damage_json(source: random.Random, content: bytes) -> bytes:
    """Replace, remove or repeat something anywhere in a JSON text."""
    try:
        fields = json.loads(content)
    except ValueError:  # damaged before
        return damage_bytes(source, content)
    for _ in range(source.choice((1, 1, 2))):
        node: Any = fields
        while True:
            keys: Sequence[Any] = list(node) if isinstance(node, dict) else range(len(node))
            if not keys:
                break
            key = source.choice(keys)
            inner = node[key]
            if isinstance(inner, (list, dict)) and inner and source.random() < 0.8:
                node = inner
                continue
            kind = source.randrange(5)
            if kind == 0:
                del node[key]
            elif kind == 1 and isinstance(node, list):
                node.insert(source.randrange(len(node) + 1), inner)
            elif kind == 2:
                node[key] = node[source.choice(keys)]
            else:
                node[key] = source.choice(_EXTREMES)
            break
    text = json.dumps(fields)
    return text.encode("utf-8", "surrogatepass")


def good_events() -> list[bytes]:
    """The serialized events of a run that has everything there is."""
    events = []
    for t in range(1, 13):
        layout = LAYOUTS[t > FIRST_EVENTS[1]]  # step 7 is the seventh event, at place 6
        tensors = step_tensors(layout, t, histograms=t % 3 == 1)
        if t % 5 == 0:
            names = [p.name for p in layout.parameters]
            around = np.array([t - 1, t])
            norms = np.geomspace(1.0, 40.0, 2 * len(names)).reshape(2, -1)
            tensors.append(schema.gradient_norms_tensor(names, around, norms))
        events.append(event(t, tensors)[12:-4])
    return events


def damage_event(source: random.Random, data: bytes, *, readable: bool = False) -> bytes:
    """Damage the content of an event, keeping its record complete and its checksum right.

    Args:
        source: The source of random numbers.
        data: The serialized event.
        readable: Whether it has to remain an event, whatever its content.
    """
    if not readable and source.random() < 0.2:
        return damage_bytes(source, data)
    written = event_pb2.Event.FromString(data)
    for _ in range(source.choice((1, 1, 2, 3))):
        if not written.summary.value:
            break
        value = source.choice(written.summary.value)
        kind = source.randrange(15)
        if kind == 0:
            written.step = source.choice(_STEPS)
        elif kind == 1:
            written.wall_time = source.choice(_NUMBERS)
        elif kind == 2:
            value.tensor.dtype = source.choice((0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 14, 19, 22, 23, 99))
        elif kind == 3 and value.tensor.tensor_shape.dim:
            source.choice(value.tensor.tensor_shape.dim).size = source.choice(_SIZES)
        elif kind == 4:
            for size in source.choices(_SIZES, k=source.choice((1, 2, 40))):
                value.tensor.tensor_shape.dim.add(size=size)
        elif kind == 5:
            value.tensor.tensor_content = damage_bytes(source, value.tensor.tensor_content)
        elif kind == 6:
            value.tensor.tensor_content = _numbers(source, value.tensor)
        elif kind == 7:
            value.tensor.ClearField("tensor_content")
            value.tensor.float_val.extend(source.choices(_NUMBERS, k=source.choice((0, 1, 3, 8))))
        elif kind >= 11:
            content = value.metadata.plugin_data.content
            damaged = damage_bytes if source.random() < 0.2 else damage_json
            value.metadata.plugin_data.content = damaged(source, content)
        elif kind == 9:
            value.tag = source.choice(written.summary.value).tag
        elif kind == 10:
            value.simple_value = source.choice(_NUMBERS)
        else:  # 8
            value.metadata.plugin_data.plugin_name = source.choice(("", "scalars", "adam_debug"))
    serialized: bytes = written.SerializeToString()
    return serialized


def damaged_run(
    source: random.Random, events: Sequence[bytes], *, readable: bool = False
) -> list[bytes]:
    """The records of a run with what its events say damaged, the first events most of all.

    The first event of a file carries the contents of its tags.
    """
    layouts = source.choice((1, 2))
    written = list(events[: FIRST_EVENTS[1] * layouts])
    at_random = source.choices(range(len(written)), k=source.choice((0, 1, 3)))
    for at in {source.choice(FIRST_EVENTS[:layouts]), *at_random}:
        written[at] = damage_event(source, written[at], readable=readable)
    if source.random() < 0.2:
        source.shuffle(written)
    if source.random() < 0.1:
        written.insert(source.randrange(len(written)), source.choice(written))
    return [record(one) for one in written]


def _numbers(source: random.Random, tensor: Any) -> bytes:
    """Extreme numbers in place of those of a tensor, as many as there are."""
    dtype = {1: "<f4", 2: "<f8"}.get(tensor.dtype, "|u1")
    count = len(tensor.tensor_content) // np.dtype(dtype).itemsize
    if dtype == "|u1":
        return source.randbytes(count)
    with np.errstate(over="ignore"):
        return np.array(source.choices(_NUMBERS, k=count)).astype(dtype).tobytes()
