"""What was not recorded to save time, in a sentence."""

from __future__ import annotations

import numpy as np

from .recorded_run import RecordedRun
from .wording import number, one_digit, step

_MORE = 5.0
_NEARLY_ALL = 0.9


def thinned_records(run: RecordedRun) -> str:
    """Say how much less often than asked for records were made, and what changes that; or ""."""
    steps = run.every_step.get("step", np.empty(0))
    unknown = np.full(steps.shape, np.nan)
    made = run.every_step.get("every_n_steps", unknown)
    wanted = run.every_step.get("wanted_every_n_steps", unknown)
    thinner = np.flatnonzero((made > wanted) & (wanted > 0))
    if not thinner.size:
        return ""
    asked_for = np.sum(1 / wanted[wanted > 0])
    if run.step.size > _NEARLY_ALL * asked_for:
        return ""
    first, last = int(thinner[0]), int(thinner[-1])
    until = "on" if last == steps.size - 1 else f"to {step(steps[last])}"
    limit = float(run.every_step.get("max_overhead", unknown)[last])
    share, more = "what max_overhead allows", "a larger max_overhead"
    if np.isfinite(limit):
        share = f"{number(100 * limit)} % of the training time"
        more = f"max_overhead={number(one_digit(min(1.0, _MORE * limit)))}"
    return (
        f"{run.step.size} records where about {step(asked_for)} were asked for, fewer from step "
        f"{step(steps[first])} {until}: more would have taken over {share} after the first 10 "
        f"seconds. For more of them give AdamDebugCallback {more}, or 1 for no limit."
    )
