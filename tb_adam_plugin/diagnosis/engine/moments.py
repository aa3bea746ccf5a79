"""Which moments an optimizer keeps, and for how long."""

from __future__ import annotations

from .signals import Signals

# The optimizers' names for the decay of their first and of their second moment.
_FIRST = ("beta1", "momentum")
_SECOND = ("beta2", "alpha", "rho")


def has_moment(signals: Signals, name: str) -> bool:
    """Whether the main group's optimizer keeps exp_avg, or exp_avg_sq, as far as known."""
    run = signals.run
    return bool(run.groups) and name not in run.groups[run.main_group].undefined


def memory_of_first(signals: Signals) -> float:
    """Number of steps for which exp_avg carries a gradient on; NaN if unknown."""
    return _memory(signals, _FIRST)


def memory_of_second(signals: Signals) -> float:
    """Number of steps for which exp_avg_sq remembers a gradient; NaN if unknown."""
    return _memory(signals, _SECOND)


def _memory(signals: Signals, names: tuple[str, ...]) -> float:
    decays = (signals.hyperparameter_now(name) for name in names)
    return next((1 / (1 - decay) for decay in decays if 0 <= decay < 1), float("nan"))
