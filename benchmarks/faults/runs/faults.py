"""Faults to plant: common mistakes, in otherwise healthy runs."""

from __future__ import annotations

from faults.runs.fault import Fault
from faults.runs.learning_rate_faults import in_new_ways, mild, too_high, too_low
from faults.runs.mistakes import mistakes
from faults.runs.setting_faults import hyperparameters

# New faults are added at the end, to keep the seeds of the existing ones.
FAULTS: tuple[Fault, ...] = (
    *too_high(), *too_low(), *hyperparameters(), *mistakes(), *in_new_ways(), *mild(),
)  # fmt: skip
