"""What was not recorded to save time, in a sentence."""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.arrays import Float64s

from .recorded_run import RecordedRun
from .wording import number, one_digit, step

_MORE = 5.0
# Sentences are for what is missed: of all records a tenth, or half of those of a part of the run.
_NEARLY_ALL = 0.9
_A_PART, _HALF = 0.1, 0.5


def thinned_records(run: RecordedRun) -> str:
    """Say how much less often than asked for records were made, and what changes that; or ""."""
    steps = run.every_step.get("step", np.empty(0))
    unknown = np.full(steps.shape, np.nan)
    limit = run.every_step.get("max_overhead", unknown)
    limit = limit[np.isfinite(limit)]
    share, more = "max_overhead allows", "a larger max_overhead, or 1 for no limit"
    if limit.size:
        share = f"{number(100 * limit[-1])} % of the training time"
        larger = one_digit(_MORE * float(limit[-1]))
        more = f"max_overhead={number(larger)}, or 1 for no limit"
        if larger >= 1:
            more = "max_overhead=1, which is no limit"
    lacking = [
        said for said in (_records(run, steps, unknown), _norms(run, steps, unknown)) if said
    ]
    if not lacking:
        return ""
    return (
        f"{'; '.join(lacking)}: more would have cost over {share} and the 10 seconds that come "
        f"before it, of which a part is kept for later steps. For more of them give "
        f"AdamDebugCallback {more}."
    )


def _records(run: RecordedRun, steps: Float64s, unknown: Float64s) -> str:
    made = run.every_step.get("every_n_steps", unknown)
    wanted = run.every_step.get("wanted_every_n_steps", unknown)
    is_wanted = wanted > 0
    thinner = np.flatnonzero((made > wanted) & is_wanted)
    if not thinner.size:
        return ""
    # Closer looks at jumps come besides, and tell nothing of the steps between.
    due = is_wanted & (np.mod(steps, np.where(is_wanted, wanted, 1)) == 0)
    is_made = due & np.isin(steps, run.step)
    first, last = int(thinner[0]), int(thinner[-1])
    since = f"from step {step(steps[first])} "
    since += "on" if last == steps.size - 1 else f"to {step(steps[last])}"
    if is_made.sum() <= _NEARLY_ALL * due.sum():
        return (
            f"{is_made.sum()} records where about {step(due.sum())} were asked for, fewer {since}"
        )
    there = slice(first, last + 1)
    if last - first > _A_PART * steps.size and is_made[there].sum() < _HALF * due[there].sum():
        # All in all there are enough, because the first steps have many: but none of what followed.
        return (
            f"{is_made[there].sum()} records where about {step(due[there].sum())} were asked for "
            f"{since}"
        )
    return ""


def _norms(run: RecordedRun, steps: Float64s, unknown: Float64s) -> str:
    interval = run.every_step.get("gradient_norm_every_n_steps", unknown)
    rarer = np.flatnonzero(interval > 1)
    if rarer.size <= _A_PART * steps.size:
        return ""
    usual = int(np.median(interval[rarer]))
    return f"the gradient norm of about every {usual}th step from step {step(steps[rarer[0]])} on"
