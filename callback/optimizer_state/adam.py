"""torch.optim.Adam and AdamW, with every flag."""

from __future__ import annotations

from torch import Tensor
from torch.optim import AdamW

from tb_adam_plugin import schema

from .base import Formula, GroupSettings, Moments, OptimizerState, as_number


class AdamState(OptimizerState):
    """State of Adam and AdamW, as torch/optim/adam.py keeps it.

    Under ``amsgrad`` exp_avg_sq means ``max_exp_avg_sq``, which the denominator is made of.
    """

    def options(self, group: GroupSettings) -> dict[str, schema.Option]:
        """Settings of a group, with ``decoupled_weight_decay`` for every version of torch."""
        return {**super().options(group), "decoupled_weight_decay": self._is_decoupled(group)}

    def formula(self, group: GroupSettings) -> Formula:
        """Kingma & Ba 2015, algorithm 1; weight decay as in Loshchilov & Hutter 2019."""
        beta1, beta2 = group["betas"]
        weight_decay = as_number(group["weight_decay"])
        decoupled = self._is_decoupled(group)
        return Formula(
            beta1=as_number(beta1),
            beta2=as_number(beta2),
            eps=as_number(group["eps"]),
            gradient_sign=-1.0 if group.get("maximize") else 1.0,
            coupled_weight_decay=0.0 if decoupled else weight_decay,
            decoupled_weight_decay=weight_decay if decoupled else 0.0,
            keeps_maximum=bool(group.get("amsgrad")),
        )

    def moments(self, parameter: Tensor, group: GroupSettings) -> Moments | None:
        """The parameter's state, or None if no step has given it one yet."""
        state = self.optimizer.state.get(parameter)
        if not state:
            return None
        second = "max_exp_avg_sq" if group.get("amsgrad") else "exp_avg_sq"
        return Moments(state["exp_avg"], state[second], state["step"])

    def _is_decoupled(self, group: GroupSettings) -> bool:
        # Older versions of torch say it by the class alone.
        return bool(group.get("decoupled_weight_decay", isinstance(self.optimizer, AdamW)))
