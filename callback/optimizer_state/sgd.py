"""torch.optim.SGD: plain, with momentum, with Nesterov momentum, with every flag."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tb_adam_plugin import schema

from .base import OptimizerState
from .coefficients import Coefficients, StepTable
from .group_settings import GroupSettings
from .parameter_state import ParameterState

_NAN = float("nan")


class SGDState(OptimizerState):
    """State of SGD, as torch/optim/sgd.py keeps it: a buffer with momentum, else nothing.

    Steps are not counted. A parameter's first step puts the whole gradient into the buffer,
    regardless of dampening; the coefficients are those of every later step.
    """

    meanings: Mapping[str, str] = {
        "exp_avg": "momentum_buffer: sum of gradients that decays by momentum"
    }
    lacks: tuple[schema.Need, ...] = ("exp_avg_sq", "step count")

    def lacks_in(self, group: GroupSettings) -> tuple[schema.Need, ...]:
        """Without momentum, no first moment."""
        return self.lacks if group["momentum"] != 0 else (*self.lacks, "exp_avg")

    def overwrites_gradient(self, group: GroupSettings) -> bool:
        """With ``foreach``, Nesterov momentum is added to the gradients themselves."""
        foreach = group.get("foreach")
        if foreach is None:  # torch's choice on a device
            foreach = any(parameter.is_cuda for parameter in group["params"])
        return bool(group["nesterov"] and foreach and not group.get("fused"))

    def state_of(self, parameter: Tensor, group: GroupSettings) -> ParameterState | None:
        """The parameter's state, or None if it uses momentum and has no buffer yet."""
        if group["momentum"] == 0:
            return ParameterState(step=_NAN)
        buffer = self.optimizer.state.get(parameter, {}).get("momentum_buffer")
        if buffer is None:
            return None
        if not buffer.is_sparse:
            return ParameterState(buffer, step=_NAN)
        # With sparse gradients the buffer is sparse, too.
        dtypes = {"exp_avg": str(buffer.dtype).removeprefix("torch.")}
        return ParameterState(buffer.to_dense, step=_NAN, dtypes=dtypes)

    def coefficients(self, table: StepTable) -> Coefficients:
        """Sutskever et al. 2013, with the learning rate outside of the buffer."""
        momentum = table.number("momentum")
        has_momentum, nesterov = momentum != 0, table.flag("nesterov")
        return Coefficients.of(
            table,
            gradient_sign=table.gradient_sign(),
            coupled_weight_decay=table.number("weight_decay"),
            exp_avg_decay=torch.where(has_momentum, momentum, _NAN),
            exp_avg_weight=torch.where(has_momentum, 1 - table.number("dampening"), _NAN),
            numerator_exp_avg=torch.where(nesterov, momentum, has_momentum.double()),
            numerator_gradient=(nesterov | ~has_momentum).double(),
            step_size=table.number("lr"),
        )
