"""What one step writes: its arrays, and their serialized form.

Events handed from the training thread to the packing thread own their arrays: none of them is
memory that the next step's measurement reuses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ... import schema
from .event_bytes import serialize

# Size of a tensor or scalar besides its numbers: its tag and the plugin's name.
_BESIDE_NUMBERS = 100
_HISTOGRAMS = f"{schema.PLUGIN_NAME}/histograms/"


class Histograms(NamedTuple):
    """A step's histograms before packing, which is most of the work of writing.

    Attributes:
        layout: Layout of the parameters.
        counts: Counts for all its parameters and quantities.
    """

    layout: schema.Layout
    counts: schema.SparseHistograms

    @staticmethod
    def checked(layout: schema.Layout, counts: schema.SparseHistograms) -> Histograms:
        """Return the histograms.

        Raises:
            ValueError: If they do not match the layout's parameters and quantities.
        """
        expected = len(layout.parameters), len(layout.quantities)
        if counts.shape[:2] != expected:
            raise ValueError(f"expected histograms of {expected}, got {counts.shape[:2]}")
        return Histograms(layout, counts)


@dataclass(frozen=True, slots=True)
class StepEvent:
    """What one step writes.

    Attributes:
        step: The step number.
        wall_time: Seconds since the epoch.
        tensors: Tensors for the plugin, without ``histograms``.
        scalars: Scalars by tag.
        histograms: Histograms that are still to be packed; None if there are none.
    """

    step: int
    wall_time: float
    tensors: Sequence[schema.TaggedTensor]
    scalars: Mapping[str, float]
    histograms: Histograms | None = None

    def owned(self) -> StepEvent:
        """Return it with arrays that nothing else writes to, for another thread."""
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
        """Its memory size."""
        size = self.unpacked_bytes + sum([one.tensor.nbytes for one in self.tensors])
        return size + _BESIDE_NUMBERS * (len(self.tensors) + len(self.scalars))

    @property
    def unpacked_bytes(self) -> int:
        """Memory size of the histograms that are still to be packed."""
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
        """Return it without histograms, packed or not."""
        light = [one for one in self.tensors if not one.tag.startswith(_HISTOGRAMS)]
        return replace(self, tensors=light, histograms=None)


class Packer:
    """Serializes events, in the order in which they are written.

    The first event with a tag describes the tag's tensors.
    """

    def __init__(self) -> None:
        """Start a file."""
        self._described: set[str] = set()

    def pack(self, event: StepEvent) -> bytes:
        """Return a serialized event."""
        event = event.packed()
        data = serialize(event.step, event.wall_time, event.tensors, event.scalars, self._described)
        self._described.update([one.tag for one in event.tensors])
        return data

    def describe_again(self) -> None:
        """Describe the tags again: another file was started, or an event was lost."""
        self._described.clear()


def _owned(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return an array that is not a view of memory that will be reused."""
    return array if isinstance(array.base, bytes | bytearray | None) else np.array(array)
