"""Which adapter reads which class of optimizer."""

from __future__ import annotations

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

# AdamW has its own entry because it is no subclass of Adam in older versions of torch.
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


def adapter_for(optimizer: Optimizer) -> OptimizerState:
    """Return the adapter of the optimizer's class or of its nearest known base class."""
    for base in type(optimizer).__mro__:
        adapter = _OF_TORCH.get(base) or BY_NAME.get(f"{base.__module__}.{base.__qualname__}")
        if adapter is not None:
            state = adapter(optimizer)
            state.reads_as = "" if base is type(optimizer) else base.__name__
            return state
    return MeasuredOnly(optimizer)
