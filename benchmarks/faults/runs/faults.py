"""Faults to plant: what people do wrong, in a run that would otherwise be well."""

from __future__ import annotations

from faults.runs.fault import Fault
from faults.runs.learning_rate_faults import in_new_ways, mild, too_high, too_low
from faults.runs.mistakes import mistakes
from faults.runs.setting_faults import hyperparameters

# What is added later comes last: the seeds of what was there before stay what they are.
FAULTS: tuple[Fault, ...] = (
    *too_high(), *too_low(), *hyperparameters(), *mistakes(), *in_new_ways(), *mild(),
)  # fmt: skip
