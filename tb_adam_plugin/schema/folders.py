"""Names of the folders that a run is written to."""

from __future__ import annotations

import re
from typing import NamedTuple

# A separate folder keeps our file apart from a SummaryWriter's: if several files grow in one
# folder, TensorBoard's Python loader follows only the newest.
RUN_FOLDER = "adam_debug"
# Folder of a distributed process that has its own parameters, for its part of the run, followed by
# its rank; rank 0 uses RUN_FOLDER.
PART_FOLDER = "adam_debug_rank"
# Folder of a second callback while another one uses RUN_FOLDER: the number comes after it, as in
# adam_debug_2 and adam_debug_2_rank1. It is a separate run.
_PART = re.compile(rf"{RUN_FOLDER}(?:_([2-9]|[1-9][0-9]+))?(?:_rank([0-9]+))?")


class FolderName(NamedTuple):
    """The parts of one of our folder names.

    Attributes:
        number: Index of the callback among those that wrote into one run at the same time, from 1.
        rank: Rank of the process.
    """

    number: int
    rank: int


def part_of(folder: str) -> FolderName | None:
    """Parse the name of a folder; None if it is not one of ours."""
    match = _PART.fullmatch(folder)
    return None if match is None else FolderName(int(match[1] or 1), int(match[2] or 0))


def numbered_folder(folder: str, number: int) -> str:
    """Return the name that replaces ``folder`` for a later callback."""
    return folder if number == 1 else f"{RUN_FOLDER}_{number}" + folder.removeprefix(RUN_FOLDER)


def batch_file(step: int) -> str:
    """Return the path of a step's saved batch, relative to the folder of the event file."""
    return f"batches/step_{step}.pt"
