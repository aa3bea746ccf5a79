"""Which adapter reads which optimizer class."""

from __future__ import annotations

import inspect

from torch import optim
from torch.optim import Optimizer

from .adadelta import AdadeltaState
from .adafactor import AdafactorState
from .adagrad import AdagradState
from .adam import AdamState
from .adamax import AdamaxState
from .asgd import ASGDState
from .base import OptimizerState
from .lbfgs import LBFGSState
from .measured_only import MeasuredOnly
from .muon import MuonState
from .nadam import NAdamState
from .radam import RAdamState
from .rmsprop import RMSpropState
from .rprop import RpropState
from .sgd import SGDState
from .sparse_adam import SparseAdamState
from .third_party import BY_NAME

# AdamW has its own entry because it is not a subclass of Adam in older versions of torch.
_OF_TORCH: dict[type[Optimizer], type[OptimizerState]] = {
    optim.Adadelta: AdadeltaState,
    optim.Adagrad: AdagradState,
    optim.Adam: AdamState,
    optim.Adamax: AdamaxState,
    optim.AdamW: AdamState,
    optim.ASGD: ASGDState,
    optim.LBFGS: LBFGSState,
    optim.NAdam: NAdamState,
    optim.RAdam: RAdamState,
    optim.RMSprop: RMSpropState,
    optim.Rprop: RpropState,
    optim.SGD: SGDState,
    optim.SparseAdam: SparseAdamState,
}
# Older versions of torch do not have them.
if hasattr(optim, "Adafactor"):
    _OF_TORCH[optim.Adafactor] = AdafactorState
if hasattr(optim, "Muon"):
    _OF_TORCH[optim.Muon] = MuonState


# Methods that take a step, or collect its inputs.
_OF_STEPS = ("step", "_init_group")


def adapter_for(optimizer: Optimizer) -> OptimizerState:
    """Return the adapter of the optimizer's class or of its nearest known base class."""
    for base in type(optimizer).__mro__:
        adapter = _OF_TORCH.get(base) or BY_NAME.get(f"{base.__module__}.{base.__qualname__}")
        if adapter is not None:
            state = adapter(optimizer)
            state.reads_as = base.__name__ if _steps_otherwise(optimizer, base) else ""
            return state
    return MeasuredOnly(optimizer)


def _steps_otherwise(optimizer: Optimizer, base: type) -> bool:
    """Whether an optimizer's own code may take different steps from its base class."""
    own = type(optimizer)
    if own is base:
        return False
    return "step" in vars(optimizer) or any(
        # torch wraps each class's step in hooks.
        inspect.unwrap(getattr(own, name, _nothing))
        is not inspect.unwrap(getattr(base, name, _nothing))
        for name in _OF_STEPS
    )


def _nothing() -> None:
    """Stands for a missing method."""
