"""Describes what was not recorded to save time."""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.arrays import Float64s
from tb_adam_plugin.languages.sentences import joined, say

from .recorded_run import RecordedRun
from .wording import number, one_digit, step

_MORE = 5.0
# Only report a substantial loss: a tenth of all records, or half of those of a part of the run.
_NEARLY_ALL = 0.9
_A_PART, _HALF = 0.1, 0.5


def thinned_records(run: RecordedRun) -> str:
    """Return how much less frequent records were than requested, and what changes that; or ""."""
    steps = run.every_step.get("step", np.empty(0))
    unknown = np.full(steps.shape, np.nan)
    lacking = [
        said for said in (_records(run, steps, unknown), _norms(run, steps, unknown)) if said
    ]
    if not lacking:
        return ""
    limit = run.every_step.get("max_overhead", unknown)
    limit = limit[np.isfinite(limit)]
    return _why(joined(lacking, "; "), float(limit[-1]) if limit.size else float("nan"))


def _why(seen: str, limit: float) -> str:
    """Return why records are missing, and what changes that.

    Args:
        seen: What is missing.
        limit: The ``max_overhead`` that was given; NaN if unknown.
    """
    if np.isnan(limit):
        return say(
            "{seen}: more would have exceeded max_overhead and the 10 seconds allowed before it "
            "applies, part of which is reserved for later steps. To get more, give "
            "AdamDebugCallback a larger max_overhead, or 1 for no limit.",
            seen=seen,
        )
    larger = one_digit(_MORE * limit)
    if larger >= 1:
        return say(
            "{seen}: more would have exceeded {limit} % of the training time and the 10 seconds "
            "allowed before that applies, part of which is reserved for later steps. To get "
            "more, give AdamDebugCallback max_overhead=1, which means no limit.",
            seen=seen,
            limit=number(100 * limit),
        )
    return say(
        "{seen}: more would have exceeded {limit} % of the training time and the 10 seconds "
        "allowed before that applies, part of which is reserved for later steps. To get more, "
        "give AdamDebugCallback max_overhead={larger}, or 1 for no limit.",
        seen=seen,
        limit=number(100 * limit),
        larger=number(larger),
    )


def _records(run: RecordedRun, steps: Float64s, unknown: Float64s) -> str:
    made = run.every_step.get("every_n_steps", unknown)
    wanted = run.every_step.get("wanted_every_n_steps", unknown)
    is_wanted = wanted > 0
    thinner = np.flatnonzero((made > wanted) & is_wanted)
    if not thinner.size:
        return ""
    # Closer looks at jumps are extra, and do not cover the steps between.
    due = is_wanted & (np.mod(steps, np.where(is_wanted, wanted, 1)) == 0)
    is_made = due & np.isin(steps, run.step)
    first, last = int(thinner[0]), int(thinner[-1])
    to_the_end = last == steps.size - 1
    said = {"first": step(steps[first]), "last": step(steps[last])}
    if is_made.sum() <= _NEARLY_ALL * due.sum():
        said |= {"made": str(is_made.sum()), "due": step(due.sum())}
        if to_the_end:
            return say("{made} records instead of about {due}, fewer from step {first} on", **said)
        return say(
            "{made} records instead of about {due}, fewer from step {first} to {last}", **said
        )
    there = slice(first, last + 1)
    if last - first > _A_PART * steps.size and is_made[there].sum() < _HALF * due[there].sum():
        # In total there are enough, because the first steps have many, but none of what followed.
        said |= {"made": str(is_made[there].sum()), "due": step(due[there].sum())}
        if to_the_end:
            return say("{made} records instead of about {due} from step {first} on", **said)
        return say("{made} records instead of about {due} from step {first} to {last}", **said)
    return ""


def _norms(run: RecordedRun, steps: Float64s, unknown: Float64s) -> str:
    interval = run.every_step.get("gradient_norm_every_n_steps", unknown)
    rarer = np.flatnonzero(interval > 1)
    if rarer.size <= _A_PART * steps.size:
        return ""
    usual = int(np.median(interval[rarer]))
    return say(
        "one gradient norm about every {count} steps from step {first} on",
        count=usual,
        first=step(steps[rarer[0]]),
    )
