"""How long a warm-up is to be."""

from __future__ import annotations

from .signals import Signals

# A warm-up takes 2/(1 - beta2) steps, or so large a share of the run.
WARMUP_SHARE = 0.1
LEAST_WARMUP = 5.0


def warmup_steps(signals: Signals) -> float:
    """How many steps a warm-up would have; NaN where that is not known, or would be none."""
    beta2 = signals.hyperparameter_now("beta2")
    if not 0 < beta2 < 1:
        return float("nan")
    steps = min(2 / (1 - beta2), WARMUP_SHARE * signals.run.length)
    return steps if steps >= LEAST_WARMUP else float("nan")
