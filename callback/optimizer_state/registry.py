"""Which adapter reads which class of optimizer."""

from __future__ import annotations

from torch.optim import Adam, AdamW, Optimizer

from .adam import AdamState
from .base import OptimizerState
from .measured_only import MeasuredOnly

# AdamW has its own entry because it is no subclass of Adam in older versions of torch.
_OF_TORCH: dict[type[Optimizer], type[OptimizerState]] = {Adam: AdamState, AdamW: AdamState}

# Of packages that are not imported here: by module and class, as the class says them.
_BY_NAME: dict[str, type[OptimizerState]] = {}


def adapter_for(optimizer: Optimizer) -> OptimizerState:
    """Return the adapter of the optimizer's class or of its nearest known base class."""
    for base in type(optimizer).__mro__:
        adapter = _OF_TORCH.get(base) or _BY_NAME.get(f"{base.__module__}.{base.__qualname__}")
        if adapter is not None:
            return adapter(optimizer)
    return MeasuredOnly(optimizer)
