"""The content of one event: the tensors of a step with their tags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tb_adam_plugin.schema.blocks import SparseHistograms, encode_histograms
from tb_adam_plugin.schema.columns import HYPERPARAMETERS, Columns
from tb_adam_plugin.schema.layout import Layout
from tb_adam_plugin.schema.quantities import BINS, SPECIAL
from tb_adam_plugin.schema.tags import Tag


@dataclass(frozen=True, slots=True)
class TaggedTensor:
    """One summary, as written by :mod:`tb_adam_plugin.callback.write.event_log`.

    Attributes:
        tag: Its tag.
        tensor: float32, float64 or uint8, with the shape listed in :mod:`tb_adam_plugin.schema`.
        content: Written with the first summary of the tag in a file.
    """

    tag: str
    tensor: npt.NDArray[Any]
    content: bytes


def statistics_tensor(layout: Layout, values: npt.NDArray[np.float32]) -> TaggedTensor:
    """Wrap the statistics of one step, float32 ``[parameters, statistics]``."""
    expected = (len(layout.parameters), len(layout.statistics))
    tag = str(Tag("statistics", layout.id))
    return TaggedTensor(tag, _checked(values, "<f4", expected), layout.content())


def hyperparameters_tensor(
    layout: Layout, values: npt.NDArray[np.float64], columns: Columns = HYPERPARAMETERS
) -> TaggedTensor:
    """Wrap the hyperparameters of one step, float64 ``[groups, columns]``."""
    expected = (len(layout.groups), len(columns.names))
    tag = str(Tag("hyperparameters", layout.id))
    return TaggedTensor(tag, _checked(values, "<f8", expected), columns.content())


def steps_tensor(columns: Columns, rows: npt.NDArray[np.float64]) -> TaggedTensor:
    """Wrap the rows of the steps since the last record, float64 ``[steps, columns]``."""
    tag = str(Tag("steps", columns.id))
    return TaggedTensor(
        tag, _checked(rows, "<f8", (len(rows), len(columns.names))), columns.content()
    )


def gradient_norms_tensor(
    names: Sequence[str], steps: npt.NDArray[np.int64], norms: npt.NDArray[np.float64]
) -> TaggedTensor:
    """Wrap the gradient norms of the steps around an event, one row per step.

    Args:
        names: Names of the parameters.
        steps: Step numbers, int64 ``[steps]``.
        norms: L2 norm of each parameter's gradient, float64 ``[steps, parameters]``.
    """
    columns = Columns(("step", *names))
    table = np.concatenate([steps[:, None].astype(np.float64), norms], axis=1)
    tag = str(Tag("gradient_norms", columns.id))
    return TaggedTensor(
        tag, _checked(table, "<f8", (len(steps), 1 + len(names))), columns.content()
    )


def histogram_tensors(
    layout: Layout, counts: npt.NDArray[np.integer[Any]] | SparseHistograms
) -> list[TaggedTensor]:
    """Wrap one step's histograms.

    Args:
        layout: Layout of the parameters.
        counts: Integer ``[parameters, quantities, BINS + len(SPECIAL)]``, non-negative; or the same
            without empty bins.
    """
    expected = (len(layout.parameters), len(layout.quantities), BINS + len(SPECIAL))
    if counts.shape != expected:
        raise ValueError(f"expected an array of shape {expected}, got {counts.shape}")
    blocks = encode_histograms(counts, layout.parameters_per_block)
    return [
        TaggedTensor(tag, np.frombuffer(block, np.uint8), content)
        for (tag, content), block in zip(layout.histogram_tags, blocks, strict=True)
    ]


def _checked(array: npt.NDArray[Any], dtype: str, shape: Sequence[int]) -> npt.NDArray[Any]:
    if array.shape != tuple(shape):
        raise ValueError(f"expected an array of shape {tuple(shape)}, got {array.shape}")
    return np.ascontiguousarray(array, dtype=dtype)
