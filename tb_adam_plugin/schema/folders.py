"""Names of the folders that a run is written into."""

from __future__ import annotations

import re
from typing import NamedTuple

# A run folder of its own keeps our file apart from a SummaryWriter's: TensorBoard's Python loader
# follows only the newest of several growing files in one folder.
RUN_FOLDER = "adam_debug"
# Where a process of distributed training with parameters of its own writes its part of the run,
# followed by its rank; the one of rank 0 is in RUN_FOLDER.
PART_FOLDER = "adam_debug_rank"
# Where a second callback writes while another one has RUN_FOLDER: the number comes after it, as in
# adam_debug_2 and adam_debug_2_rank1. It is a run of its own.
_PART = re.compile(rf"{RUN_FOLDER}(?:_([2-9]|[1-9][0-9]+))?(?:_rank([0-9]+))?")


class FolderName(NamedTuple):
    """What the name of a folder of ours says.

    Attributes:
        number: Which of the callbacks that wrote into one run at the same time, from 1.
        rank: Of the process.
    """

    number: int
    rank: int


def part_of(folder: str) -> FolderName | None:
    """Read the name of a folder; None if it is not one of ours."""
    match = _PART.fullmatch(folder)
    return None if match is None else FolderName(int(match[1] or 1), int(match[2] or 0))


def numbered_folder(folder: str, number: int) -> str:
    """Return the name of the folder that takes the place of ``folder`` for a later callback."""
    return folder if number == 1 else f"{RUN_FOLDER}_{number}" + folder.removeprefix(RUN_FOLDER)


def batch_file(step: int) -> str:
    """Return where the batch of a step is saved, from the folder of the event file on."""
    return f"batches/step_{step}.pt"
