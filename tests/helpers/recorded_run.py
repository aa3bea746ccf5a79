"""A callback's recording, read back from its event file by TensorBoard's own reader."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tb_adam_plugin import schema
from tb_adam_plugin.schema import Layout

Array = npt.NDArray[Any]


@dataclass
class RecordedRun:
    """One run folder.

    Attributes:
        layouts: By id, in the order of their first record.
        layout_at: Id of the layout of each recorded step.
        statistics: ``[parameters, statistics]`` by step.
        hyperparameters: By step, then by column: ``[groups]``.
        histograms: ``[parameters, quantities, BINS + len(SPECIAL)]`` by step.
        steps: Columns of the rows of every step, by step; missing ones are NaN.
        gradient_norms: Norms of each parameter's gradient around an event, by step and name.
        scalars: The ordinary scalars by tag, then by step.
    """

    layouts: dict[str, Layout] = field(default_factory=dict)
    layout_at: dict[int, str] = field(default_factory=dict)
    statistics: dict[int, Array] = field(default_factory=dict)
    hyperparameters: dict[int, dict[str, Array]] = field(default_factory=dict)
    histograms: dict[int, Array] = field(default_factory=dict)
    steps: dict[int, dict[str, float]] = field(default_factory=dict)
    gradient_norms: dict[int, dict[str, float]] = field(default_factory=dict)
    scalars: dict[str, dict[int, float]] = field(default_factory=dict)

    @property
    def layout(self) -> Layout:
        (layout,) = self.layouts.values()
        return layout

    def of(self, step: int, parameter: str) -> dict[str, float]:
        """A parameter's statistics at a step, by name."""
        layout = self.layouts[self.layout_at[step]]
        row = [p.name for p in layout.parameters].index(parameter)
        return dict(zip(layout.statistics, self.statistics[step][row].tolist(), strict=True))

    def histogram(self, step: int, parameter: str, quantity: str) -> Array:
        layout = self.layouts[self.layout_at[step]]
        row = [p.name for p in layout.parameters].index(parameter)
        column = [q.name for q in layout.quantities].index(quantity)
        counts: Array = self.histograms[step][row, column]
        return counts


def read_run(folder: Path, part: str = schema.RUN_FOLDER) -> RecordedRun:
    """Read the recording of a callback with ``log_dir=folder``."""
    events = EventAccumulator(str(folder / part), size_guidance={"tensors": 0, "scalars": 0})
    events.Reload()
    run = RecordedRun()
    blocks: dict[int, dict[int, bytes]] = {}
    for name in events.Tags()["tensors"]:
        tag = schema.parse_tag(name)
        if tag is None:
            metadata = events.summary_metadata[name].plugin_data.plugin_name
            assert metadata == "scalars", f"{name} belongs to {metadata}"
            run.scalars[name] = {e.step: _array(e).item() for e in events.Tensors(name)}
            continue
        content = events.summary_metadata[name].plugin_data.content
        for event in events.Tensors(name):
            array = _array(event)
            if tag.kind == "statistics":
                run.layouts[tag.id] = Layout.from_content(content)
                run.layout_at[event.step] = tag.id
                run.statistics[event.step] = array
            elif tag.kind == "hyperparameters":
                names = schema.Columns.from_content(content).names
                run.hyperparameters[event.step] = dict(zip(names, array.T, strict=True))
            elif tag.kind in ("steps", "gradient_norms"):
                names = schema.Columns.from_content(content).names
                rows = run.steps if tag.kind == "steps" else run.gradient_norms
                for row in array.tolist():
                    rows[int(row[0])] = dict(zip(names, row, strict=True))
            else:
                assert tag.row is not None
                blocks.setdefault(event.step, {})[tag.row] = array.tobytes()
    for step, of_step in blocks.items():
        layout = run.layouts[run.layout_at[step]]
        quantities = len(layout.quantities)
        decoded = []
        for row in range(len(layout.parameters)):
            index, place, parameters = layout.block_of(row)
            of_block = schema.decode_histograms(of_step[index], quantities, parameters)
            decoded.append(of_block[place * quantities : (place + 1) * quantities])
        run.histograms[step] = np.stack(decoded)
    return run


def _array(event: Any) -> Array:
    proto = event.tensor_proto
    dtype = {1: "<f4", 2: "<f8", 4: "u1"}[proto.dtype]
    shape = [dimension.size for dimension in proto.tensor_shape.dim]
    if proto.tensor_content:
        return np.frombuffer(proto.tensor_content, dtype).reshape(shape)
    return np.array(list(proto.float_val), dtype).reshape(shape)
