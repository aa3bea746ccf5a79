"""How all processes react to a failure in one of them, or to differences between them.

A failure has no effect where it happens: the step's message reports it, and all processes disable
the same part at the same step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .ranks import Ranks, ReducedMessage


class Failure(NamedTuple):
    """A failure in this process.

    Attributes:
        part: The part of the callback that failed.
        what: A sentence for the user, without the consequences.
        error: The exception.
        parameter: Name of the only parameter that the failure concerns, or "".
        is_out_of_memory: Whether to read less.
    """

    part: str
    what: str
    error: Exception
    parameter: str
    is_out_of_memory: bool


class Consequences(NamedTuple):
    """What all processes are to do after a step.

    Attributes:
        stops: Stop recording.
        reads_less: Read fewer elements.
        excluded: Indices of the parameters to exclude.
        without_records: Disable records.
        without_norms: Disable gradient norms.
        disagree: The processes are about to do different things; a reason for the previous two.
    """

    stops: bool
    reads_less: bool
    excluded: Sequence[int]
    without_records: bool
    without_norms: bool
    disagree: bool


class Agreement:
    """Collects this process's failures, and decides on those of all processes.

    Attributes:
        ranks: The processes.
        stops: Set it to tell the others that nothing more can be recorded.
    """

    def __init__(self, ranks: Ranks) -> None:
        """Start without failures."""
        self.ranks = ranks
        self.stops = False
        self._unsent: list[Failure] = []
        self._sent: list[Failure] = []
        self._are_checked = False
        self._last: int | None = None

    @property
    def is_ending(self) -> bool:
        """Whether recording is known to end soon."""
        return self._last is not None

    @property
    def is_over(self) -> bool:
        """Whether all processes know by now that recording has ended."""
        return self._last is not None and self.ranks.sent >= self._last

    def end_after(self, message: ReducedMessage) -> None:
        """End recording at the step by which the last process, too, has received a message."""
        if self._last is None:
            self._last = message.serial + self.ranks.delay

    def check_parameters(self, names: Sequence[str], count: int) -> None:
        """Compare the parameters of all processes, once; all of them must call this.

        Args:
            names: Names of the recorded parameters.
            count: Number of all parameters.

        Raises:
            ValueError: If they differ. It is raised in all processes.
        """
        if self._are_checked:
            return
        self._are_checked = True
        here = (list(names), count)
        if any(there != here for there in self.ranks.gather(here)):
            raise ValueError(
                "the ranks have different parameters: give the callback the same model and an "
                "optimizer of the same parameters on each"
            )

    def add(self, failure: Failure) -> None:
        """Keep a failure for the next message."""
        self._unsent.append(failure)

    def report(
        self, parts: Sequence[str], names: Sequence[str]
    ) -> tuple[dict[str, float], list[bool]]:
        """Return a message's failure report: numbers, and which parameters cannot be read.

        Args:
            parts: The parts called records and gradient norms; a failure of any other ends all
                recording.
            names: Names of the parameters.
        """
        records, norms = parts
        new, self._unsent = self._unsent, []
        self._sent += new
        excluded = {f.parameter for f in new if f.part == records} & set(names)
        numbers = {
            "out_of_memory": sum(f.part == records and f.is_out_of_memory for f in new),
            "records_failed": sum(
                f.part == records and not f.is_out_of_memory and f.parameter not in excluded
                for f in new
            ),
            "norms_failed": sum(f.part == norms for f in new),
            "stopped": self.stops or any(f.part not in parts for f in new),
        }
        return {k: float(v) for k, v in numbers.items()}, [name in excluded for name in names]

    def take(self, part: str) -> list[Failure]:
        """Return this process's reported failures of a part, and forget them."""
        of_part = [failure for failure in self._sent if failure.part == part]
        self._sent = [failure for failure in self._sent if failure.part != part]
        return of_part

    def consequences(self, message: ReducedMessage) -> Consequences:
        """Decide the consequences of a step, the same in each process."""
        total, size = message.total, self.ranks.size
        disagree = total["recording"] not in (0, size) or total["histograms"] not in (0, size)
        return Consequences(
            stops=total["stopped"] > 0,
            reads_less=total["out_of_memory"] > 0,
            excluded=np.flatnonzero(message.failed).tolist(),
            without_records=total["records_failed"] > 0 or disagree,
            without_norms=total["norms_failed"] > 0,
            disagree=disagree,
        )

    def have_measured(self, message: ReducedMessage) -> bool:
        """Whether all processes have measured a step, so its sums can follow."""
        total, size = message.total, self.ranks.size
        return (
            total["recording"] == total["measured"] == size
            and total["histograms"] in (0, size)
            and not total["stopped"]
        )
