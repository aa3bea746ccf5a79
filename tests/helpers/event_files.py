"""Event files written by hand, record by record, without any code of the training side.

This tests the reading side against the format itself, and with data that the callback would never
write.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

import google_crc32c
import numpy as np
import numpy.typing as npt
from tensorboard.compat.proto import event_pb2, summary_pb2, types_pb2

from tb_adam_plugin import schema
from tb_adam_plugin.schema import Columns, Group, Layout, Parameter, TaggedTensor

START = 1_700_000_000.0  # wall time of step 0
STEPS = Columns((*schema.STEP_COLUMNS, "loss"))
MOMENTS = ("exp_avg", "exp_avg_sq")
STATISTICS = ("update_to_weight_ratio", "update_rms", "nonfinite_count")

_DTYPES = {
    "float32": types_pb2.DT_FLOAT,
    "float64": types_pb2.DT_DOUBLE,
    "uint8": types_pb2.DT_UINT8,
}


def make_layout(
    names: Sequence[str] = ("conv1.weight", "conv1.bias"),
    *,
    optimizers: Sequence[str] = ("AdamW",),
    statistics: Sequence[str] = STATISTICS,
    quantities: Sequence[schema.Quantity] = schema.QUANTITIES[:2],
    elements: int = 8,
) -> Layout:
    """A layout whose parameters, of ``elements`` elements each, are all in the first group."""
    return Layout(
        tuple(Parameter(name, (elements,), "float32", elements, 0) for name in names),
        tuple(
            Group(optimizer, {"amsgrad": False}, storage=dict.fromkeys(MOMENTS, "float32"))
            for optimizer in optimizers
        ),
        tuple(statistics),
        tuple(quantities),
    )


def statistics_of(layout: Layout, step: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Synthetic statistics of a step, float32 ``[parameters, statistics]``."""
    shape = (len(layout.parameters), len(layout.statistics))
    return np.random.default_rng([seed, step]).lognormal(-7, 1, shape).astype(np.float32)


def counts_of(layout: Layout, step: int) -> schema.Counts:
    """Histograms of synthetic values, ``[parameters, quantities, BINS + len(SPECIAL)]``."""
    random = np.random.default_rng([1, step])
    return np.array(
        [
            [schema.count_values(random.normal(0, 1e-3, p.elements), q) for q in layout.quantities]
            for p in layout.parameters
        ]
    )


def step_tensors(
    layout: Layout, step: int, *, seed: int = 0, histograms: bool = False, loss: float = 1.0
) -> list[TaggedTensor]:
    """Everything that is logged at one step, with ``lr = step``."""
    hyperparameters = np.tile([step, 0.9, 0.999, 1e-8, 0.01], (len(layout.groups), 1))
    row = [step, START + step, 1.0, 1e-3, 0.5, 0.0, 0.0, 1.0, loss]
    tensors = [
        schema.statistics_tensor(layout, statistics_of(layout, step, seed)),
        schema.hyperparameters_tensor(layout, hyperparameters),
        schema.steps_tensor(STEPS, np.array([row])),
    ]
    return tensors + (schema.histogram_tensors(layout, counts_of(layout, step)) * histograms)


def event(step: int, tensors: Iterable[TaggedTensor], wall_time: float | None = None) -> bytes:
    """One event of our tensors as a record of an event file."""
    written = event_pb2.Event(step=step, wall_time=START + step if wall_time is None else wall_time)
    for tagged in tensors:
        value = written.summary.value.add(tag=tagged.tag)
        value.metadata.plugin_data.plugin_name = schema.PLUGIN_NAME
        value.metadata.plugin_data.content = tagged.content
        value.metadata.data_class = summary_pb2.DATA_CLASS_TENSOR
        value.tensor.dtype = _DTYPES[tagged.tensor.dtype.name]
        value.tensor.tensor_content = tagged.tensor.tobytes()
        for size in tagged.tensor.shape:
            value.tensor.tensor_shape.dim.add(size=size)
    return record(written.SerializeToString())


def scalar_event(step: int, values: dict[str, float]) -> bytes:
    """One event of ordinary scalars, as a SummaryWriter writes them."""
    written = event_pb2.Event(step=step, wall_time=START + step)
    for tag, value in values.items():
        written.summary.value.add(tag=tag, simple_value=value)
    return record(written.SerializeToString())


def record(data: bytes) -> bytes:
    """Frame one record: length, its checksum, data, their checksum."""
    length = struct.pack("<Q", len(data))
    return length + _checksum(length) + data + _checksum(data)


def write_events(folder: Path, events: Iterable[bytes], name: str = "1") -> Path:
    """Write an event file into a run folder; with the same name, append to it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"events.out.tfevents.{name}.host"
    head = event_pb2.Event(wall_time=START, file_version="brain.Event:2").SerializeToString()
    with path.open("ab") as file:
        if file.tell() == 0:
            file.write(record(head))
        for one in events:
            file.write(one)
    return path


def write_run(
    folder: Path, steps: Iterable[int], layout: Layout | None = None, *, histograms: bool = False
) -> Layout:
    """Write a run that logs the given steps, and return its layout."""
    layout = layout or make_layout()
    write_events(folder, (event(t, step_tensors(layout, t, histograms=histograms)) for t in steps))
    return layout


def _checksum(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
