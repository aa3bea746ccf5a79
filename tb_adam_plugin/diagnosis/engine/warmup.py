"""Advised length of a warm-up."""

from __future__ import annotations

from .signals import Signals

# A warm-up takes 2/(1 - beta2) steps, or this share of the run.
WARMUP_SHARE = 0.1
LEAST_WARMUP = 5.0


def warmup_steps(signals: Signals) -> float:
    """Advised number of warm-up steps; NaN if unknown, or if there would be none."""
    beta2 = signals.hyperparameter_now("beta2")
    if not 0 < beta2 < 1:
        return float("nan")
    steps = min(2 / (1 - beta2), WARMUP_SHARE * signals.run.length)
    return steps if steps >= LEAST_WARMUP else float("nan")
