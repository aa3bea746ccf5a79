"""Adam and AdamW of torchao, with moments in 8 bits, 4 bits or float8."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .adam import AdamState
from .group_settings import GroupSettings
from .parameter_state import ParameterState, Source


class TorchaoAdamState(AdamState):
    """Adam whose moments are quantized block by block where a parameter is large.

    Blocks are 256 elements long, of 4 bits 128. A parameter of fewer than 4096 elements, or of no
    whole number of blocks, has moments that are plain tensors. What is stored after a step does not
    give its update: an exp_avg_sq that is small in its block is stored as 0.
    """

    rounds_after_step = True

    def state_of(self, parameter: Tensor, group: GroupSettings) -> ParameterState | None:
        """The parameter's state, or None if no step has given it one yet."""
        state = self.optimizer.state.get(parameter)
        if not state:
            return None
        tensors = {
            "exp_avg": state["exp_avg"],
            "exp_avg_sq": state["max_exp_avg_sq" if group.get("amsgrad") else "exp_avg_sq"],
        }
        return ParameterState(
            _unpacked(tensors["exp_avg"]),
            _unpacked(tensors["exp_avg_sq"]),
            step=state["step"],
            dtypes={name: _storage(tensor) for name, tensor in tensors.items()},
        )

    def _is_decoupled(self, group: GroupSettings) -> bool:
        return bool(self.optimizer.is_adamw)  # type: ignore[attr-defined]


def _unpacked(tensor: Tensor) -> Source:
    return tensor.dequantize if hasattr(tensor, "codes") else tensor


def _storage(tensor: Any) -> str:
    """How a moment is stored; what the tensor says of itself is only what it looks like."""
    codes = getattr(tensor, "codes", tensor)
    name = str(codes.dtype).removeprefix("torch.")
    return f"{name}, 4 bits" if codes.numel() < tensor.numel() else name
