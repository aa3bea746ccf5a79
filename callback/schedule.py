"""When a step is recorded."""

from __future__ import annotations

from dataclasses import dataclass

# The first steps decide whether a learning rate is too high, so they are looked at closely.
EARLY_STEPS = frozenset({1, 2, 4, 8, 16, 32})

_DEFAULT_INTERVAL = 50
_RECORDS_OF_A_RUN = 200


@dataclass(frozen=True, slots=True)
class Schedule:
    """Steps 1, 2, 4, 8, 16, 32, every multiple of an interval, and the last one where it is known.

    Attributes:
        every_n_steps: The interval, at least 1.
        total_steps: The number of the run's last step, or None.
    """

    every_n_steps: int
    total_steps: int | None = None

    def is_due(self, step: int, stretch: int = 1) -> bool:
        """Whether to record this step, counted from 1.

        Args:
            step: Its number.
            stretch: How many times longer than wanted the interval is to be.
        """
        return (
            step % (self.every_n_steps * stretch) == 0
            or step in EARLY_STEPS
            or step == self.total_steps
        )


def choose(every_n_steps: int | None, total_steps: int | None) -> Schedule:
    """Build a schedule from what the user said.

    Args:
        every_n_steps: The interval; None for about 200 records a run where ``total_steps`` is
            known, else for 50.
        total_steps: How many steps the run will have, or None.
    """
    if every_n_steps is None:
        every_n_steps = (
            _DEFAULT_INTERVAL if total_steps is None else max(1, total_steps // _RECORDS_OF_A_RUN)
        )
    return Schedule(every_n_steps, total_steps)
