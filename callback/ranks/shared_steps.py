"""What one process of several tells the others about a step, and what all of them make of it.

A failure is not acted upon where it happens: it is told with the step's exchange, and all processes
give up the same thing at the same step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .ranks import Ranks, Said


class Trouble(NamedTuple):
    """A failure in this process.

    Attributes:
        part: Of the callback, that failed.
        what: A sentence for the user, without what follows from it.
        error: What was raised.
        parameter: Name of the only parameter that it is about, or "".
        is_out_of_memory: Whether less is to be read.
    """

    part: str
    what: str
    error: Exception
    parameter: str
    is_out_of_memory: bool


class Consequences(NamedTuple):
    """What all processes are to do after a step.

    Attributes:
        stops: Nothing more is to be recorded.
        reads_less: Fewer elements are to be read.
        excluded: Indices of the parameters that are to be recorded no more.
        without_records: Records are to be left out.
        without_norms: Gradient norms are to be left out.
        disagree: The processes are not about to do the same; a reason for the former two.
    """

    stops: bool
    reads_less: bool
    excluded: Sequence[int]
    without_records: bool
    without_norms: bool
    disagree: bool


class SharedSteps:
    """Collects what is to be told, and draws the conclusions.

    Attributes:
        ranks: The processes.
        stops: Set it to tell the others that nothing can be recorded any more.
    """

    def __init__(self, ranks: Ranks) -> None:
        """Start without troubles."""
        self.ranks = ranks
        self.stops = False
        self._untold: list[Trouble] = []
        self._told: list[Trouble] = []
        self._are_checked = False
        self._last: int | None = None

    @property
    def is_ending(self) -> bool:
        """Whether it is known that recording ends soon."""
        return self._last is not None

    @property
    def is_over(self) -> bool:
        """Whether all processes know by now that recording has ended."""
        return self._last is not None and self.ranks.said >= self._last

    def end_after(self, said: Said) -> None:
        """End recording at the step by which even the last process has heard of this one."""
        if self._last is None:
            self._last = said.serial + self.ranks.delay

    def check_parameters(self, names: Sequence[str], count: int) -> None:
        """Compare the parameters of all processes, once; all of them must call this.

        Args:
            names: Of those that are recorded.
            count: Of all.

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

    def add(self, trouble: Trouble) -> None:
        """Keep a failure to be told."""
        self._untold.append(trouble)

    def tell(
        self, parts: Sequence[str], names: Sequence[str]
    ) -> tuple[dict[str, float], list[bool]]:
        """Return what is to be said of failures: numbers, and which parameters could not be read.

        Args:
            parts: Those that are called records and gradient norms; any other ends all recording.
            names: Of the parameters.
        """
        records, norms = parts
        told, self._untold = self._untold, []
        self._told += told
        excluded = {t.parameter for t in told if t.part == records} & set(names)
        numbers = {
            "out_of_memory": sum(t.part == records and t.is_out_of_memory for t in told),
            "records_failed": sum(
                t.part == records and not t.is_out_of_memory and t.parameter not in excluded
                for t in told
            ),
            "norms_failed": sum(t.part == norms for t in told),
            "stopped": self.stops or any(t.part not in parts for t in told),
        }
        return {k: float(v) for k, v in numbers.items()}, [name in excluded for name in names]

    def take(self, part: str) -> list[Trouble]:
        """Return the failures of a part in this process that were told, and forget them."""
        of_part = [trouble for trouble in self._told if trouble.part == part]
        self._told = [trouble for trouble in self._told if trouble.part != part]
        return of_part

    def consequences(self, said: Said) -> Consequences:
        """Draw the conclusions from a step, the same ones in each process."""
        total, size = said.total, self.ranks.size
        disagree = total["recording"] not in (0, size) or total["histograms"] not in (0, size)
        return Consequences(
            stops=total["stopped"] > 0,
            reads_less=total["out_of_memory"] > 0,
            excluded=np.flatnonzero(said.failed).tolist(),
            without_records=total["records_failed"] > 0 or disagree,
            without_norms=total["norms_failed"] > 0,
            disagree=disagree,
        )

    def have_measured(self, said: Said) -> bool:
        """Whether all processes have measured a step, so that its sums can follow."""
        total, size = said.total, self.ranks.size
        return (
            total["recording"] == total["measured"] == size
            and total["histograms"] in (0, size)
            and not total["stopped"]
        )
