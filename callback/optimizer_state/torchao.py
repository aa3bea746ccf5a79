"""Adam and AdamW of torchao, with moments in 8 bits, 4 bits or float8."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .adam import AdamState
from .group_settings import GroupSettings
from .parameter_state import ParameterState, Source


class TorchaoAdamState(AdamState):
    """Adam whose moments are quantized block by block if a parameter is large.

    Blocks have 256 elements, in 4 bits 128. A parameter with fewer than 4096 elements, or without a
    whole number of blocks, has plain tensors as moments. The stored state after a step does not
    determine its update: an exp_avg_sq that is small relative to its block is stored as 0.
    """

    rounds_after_step = True

    def state_of(self, parameter: Tensor, group: GroupSettings) -> ParameterState | None:
        """The parameter's state, or None before its first step."""
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
    """How a moment is stored; the tensor's own dtype is only what it appears as."""
    codes = getattr(tensor, "codes", tensor)
    name = str(codes.dtype).removeprefix("torch.")
    return f"{name}, 4 bits" if codes.numel() < tensor.numel() else name
