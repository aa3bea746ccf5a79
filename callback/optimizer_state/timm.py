"""The optimizers of timm whose state is that of a known family."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from tb_adam_plugin import schema

from .adam import AdamState
from .base import OptimizerState
from .coefficients import Coefficients, StepTable
from .group_settings import GroupSettings


class TimmState(OptimizerState):
    """Common base of the adapters for timm.

    Attributes:
        whole_tensor_flags: Settings with which the update of an element depends on the whole
            tensor. The step size is then NaN.
    """

    whole_tensor_flags: tuple[str, ...] = ()

    def lacks_in(self, group: GroupSettings) -> tuple[schema.Need, ...]:
        """No requested update if it depends on the whole tensor."""
        return (*self.lacks, "update") if self._depends_on_whole_tensor(group) else self.lacks

    def step_size(self, table: StepTable) -> Tensor:
        """The learning rate; NaN if the update of an element is unknown."""
        whole = [self._depends_on_whole_tensor(group) for group in table.groups]
        unknown = table.column(torch.tensor(whole, device="cpu").double()) > 0
        return torch.where(unknown, float("nan"), table.number("lr"))

    def _depends_on_whole_tensor(self, group: GroupSettings) -> bool:
        return any(group.get(flag) not in (None, False) for flag in self.whole_tensor_flags)


class AdamWLegacyState(TimmState, AdamState):
    """AdamWLegacy: AdamW, always decoupled.

    Unknown element by element with ``caution`` or ``clipping_threshold``.
    """

    whole_tensor_flags = ("caution", "clipping_threshold")

    def coefficients(self, table: StepTable) -> Coefficients:
        """AdamW's coefficients, with timm's weight decay."""
        step_size, weight_decay = table.of_parameters(
            [self.step_size(table), timm_weight_decay(table)]
        )
        found = super().coefficients(table)
        return replace(found, step_size=step_size, weight_decay=weight_decay)

    def _is_decoupled(self, group: GroupSettings) -> bool:
        return True


def timm_weight_decay(table: StepTable) -> Tensor:
    """Return decoupled weight decay for a step size of ``lr``.

    ``corrected_weight_decay`` makes it ``lr² / max_lr`` instead of ``lr`` (Defazio 2025).
    """
    corrected = table.flag("corrected_weight_decay")
    share = torch.where(corrected, table.number("lr") / table.number("max_lr_snapshot"), 1.0)
    return table.number("weight_decay") * share
