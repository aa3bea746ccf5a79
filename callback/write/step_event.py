"""What one step writes, on its way: its arrays, and the bytes that they become.

What is handed from the thread that trains to the one that packs owns its arrays: nothing of them is
memory that the next step is measured in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ... import schema
from .event_bytes import serialize

# Of a tensor or a scalar, beside its numbers: its tag and what plugin it is for.
_BESIDE_NUMBERS = 100
_HISTOGRAMS = f"{schema.PLUGIN_NAME}/histograms/"


class Histograms(NamedTuple):
    """The histograms of a step before they are packed, which is most of the work of writing.

    Attributes:
        layout: Whose.
        counts: Of all its parameters and quantities.
    """

    layout: schema.Layout
    counts: schema.SparseHistograms

    @staticmethod
    def checked(layout: schema.Layout, counts: schema.SparseHistograms) -> Histograms:
        """Return them.

        Raises:
            ValueError: If they are not of the layout's parameters and quantities.
        """
        expected = len(layout.parameters), len(layout.quantities)
        if counts.shape[:2] != expected:
            raise ValueError(f"expected histograms of {expected}, got {counts.shape[:2]}")
        return Histograms(layout, counts)


@dataclass(frozen=True, slots=True)
class StepEvent:
    """What one step writes.

    Attributes:
        step: Its number.
        wall_time: Seconds since the epoch.
        tensors: What the plugin reads, without ``histograms``.
        scalars: By tag.
        histograms: Those that are still to be packed; None without any.
    """

    step: int
    wall_time: float
    tensors: Sequence[schema.TaggedTensor]
    scalars: Mapping[str, float]
    histograms: Histograms | None = None

    def owned(self) -> StepEvent:
        """Return it with arrays that nobody else writes to, for another thread."""
        own = [
            replace(one, tensor=one.tensor.copy()) if one.tensor.flags.writeable else one
            for one in self.tensors
        ]
        histograms = self.histograms
        if histograms is not None:
            counts = histograms.counts
            parts = map(_owned, (counts.bitmaps, counts.values, counts.lengths))
            histograms = Histograms(histograms.layout, schema.SparseHistograms(*parts))
        return replace(self, tensors=own, histograms=histograms)

    @property
    def nbytes(self) -> int:
        """How much memory it takes."""
        size = self.unpacked_bytes + sum([one.tensor.nbytes for one in self.tensors])
        return size + _BESIDE_NUMBERS * (len(self.tensors) + len(self.scalars))

    @property
    def unpacked_bytes(self) -> int:
        """How much of it the histograms take that are to be packed."""
        if self.histograms is None:
            return 0
        counts = self.histograms.counts
        return counts.bitmaps.nbytes + counts.values.nbytes + counts.lengths.nbytes

    def packed(self) -> StepEvent:
        """Return it with its histograms packed, among the tensors."""
        if self.histograms is None:
            return self
        packed = schema.histogram_tensors(*self.histograms)
        return replace(self, tensors=[*self.tensors, *packed], histograms=None)

    def without_histograms(self) -> StepEvent:
        """Return it without those, packed or not."""
        light = [one for one in self.tensors if not one.tag.startswith(_HISTOGRAMS)]
        return replace(self, tensors=light, histograms=None)


class Packer:
    """Makes bytes of events. They have to come in the order in which they are written.

    The first event with a tag says what the tag's tensors are.
    """

    def __init__(self) -> None:
        """Begin a file."""
        self._described: set[str] = set()

    def pack(self, event: StepEvent) -> bytes:
        """Return a serialized event."""
        event = event.packed()
        data = serialize(event.step, event.wall_time, event.tensors, event.scalars, self._described)
        self._described.update([one.tag for one in event.tensors])
        return data

    def describe_again(self) -> None:
        """Say what the tags are once more: another file has begun, or an event was lost."""
        self._described.clear()


def _owned(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return an array that is no view of memory which is used again, of an array or a tensor."""
    return array if isinstance(array.base, bytes | bytearray | None) else np.array(array)
