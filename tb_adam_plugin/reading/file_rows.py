"""Statistics of some records of event files, read when they are taken and not kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tb_adam_plugin.arrays import Flags, Float32s, Indices
from tb_adam_plugin.event_files.run_files import FileRecords, RunFiles
from tb_adam_plugin.reading.file_blocks import reading
from tb_adam_plugin.reading.file_columns import matrices
from tb_adam_plugin.schema import Layout


@dataclass(frozen=True, slots=True)
class FileRows:
    """Some of the records of a layout.

    Attributes:
        files: Where they are.
        parts: All of them, of one file after the other.
        layout: Of all of them.
        kept: Indices of these; None for all.
    """

    files: RunFiles
    parts: tuple[FileRecords, ...]
    layout: Layout
    kept: Indices | None = None

    def only(self, kept: Flags) -> FileRows:
        """Return some of them, bool ``[records]``."""
        chosen = np.flatnonzero(kept)
        return replace(self, kept=chosen if self.kept is None else self.kept[chosen])

    def take(self, names: Sequence[str], rows: Indices) -> Float32s:
        """Read some statistics of some records, float32 ``[names, rows, parameters]``.

        Raises:
            UnreadableError: If a file cannot be read, or is another one by now.
        """
        columns = np.array([self.layout.statistics.index(name) for name in names], np.intp)
        chosen = rows if self.kept is None else self.kept[rows]
        ends = np.cumsum([0, *(len(part.step) for part in self.parts)])
        values = np.empty((len(names), len(rows), len(self.layout.parameters)), "<f4")
        with reading(self.files):
            done = 0
            for part, first, last in zip(self.parts, ends, ends[1:], strict=False):
                here = chosen[(chosen >= first) & (chosen < last)] - first
                for matrix in matrices(part.only(here)):
                    values[:, done] = matrix[:, columns].T
                    done += 1
        return values
