"""Which adapter reads which class of optimizer."""

from __future__ import annotations

from torch.optim import Adam, AdamW, Optimizer

from .adam import AdamState
from .base import OptimizerState
from .measured_only import MeasuredOnly

# AdamW has its own entry because it is no subclass of Adam in older versions of torch.
_ADAPTERS: dict[type[Optimizer], type[OptimizerState]] = {Adam: AdamState, AdamW: AdamState}


def adapter_for(optimizer: Optimizer) -> OptimizerState:
    """Return the adapter of the optimizer's class or of its nearest known base class."""
    for base in type(optimizer).__mro__:
        if base in _ADAPTERS:
            return _ADAPTERS[base](optimizer)
    return MeasuredOnly(optimizer)
