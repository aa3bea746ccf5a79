"""Calls of ``optimizer.step()`` that are not training steps."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import FrameType

import torch
from torch import Tensor
from torch.optim import Optimizer

from ..optimizer_state.group_settings import as_number

# With more skipped steps in a row than this, the scaler is not just searching for the loss scale.
MOST_SKIPPED_IN_A_ROW = 25

# The hooks of every step() run in this function of torch/optim/optimizer.py.
_HOOKED_STEP = Optimizer.profile_hook_step(lambda self: None).__code__


def is_nested(optimizer: Optimizer) -> bool:
    """Whether a step of the optimizer runs within another step of it.

    If a subclass calls its parent's step(), both have hooks if the parent class was ever
    instantiated itself. A pending step alone does not prove it: a step that raises never reaches
    its end.
    """
    running = 0
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        running += frame.f_code is _HOOKED_STEP and frame.f_locals.get("self") is optimizer
        frame = frame.f_back
    return running > 1


def is_captured() -> bool:
    """Whether the current code is being captured in a CUDA graph, to be replayed later.

    During capture, nothing may be copied from the device or waited for. Requires CUDA.
    """
    return torch.cuda.is_current_stream_capturing()


def scaler_flag(optimizer: Optimizer) -> Tensor | None:
    """Return the flag with which a gradient scaler makes a fused optimizer skip the step.

    torch/amp/grad_scaler.py passes the flag to optimizers that handle it themselves
    (``_step_supports_amp_scaling``); it does not call any other optimizer at all.

    Returns:
        A tensor of one element, nonzero if the step is skipped; None without such a scaler.
    """
    flag = getattr(optimizer, "found_inf", None)
    return flag if isinstance(flag, Tensor) else None


def is_on_host(flag: Tensor) -> bool:
    """Whether reading a flag waits for nothing."""
    return flag.device.type == "cpu"


def is_phantom(optimizer: Optimizer, gradients: Sequence[Tensor | None] | None = None) -> bool:
    """Whether the first step of an optimizer was only taken to create its state.

    torch/distributed/checkpoint/state_dict.py (``_init_optim_state``) does that with learning rate
    0 and zero gradients. Waits for the device if the learning rate is 0.

    Args:
        optimizer: The optimizer, after the step.
        gradients: Gradients to check instead of the optimizer's own.
    """
    groups = optimizer.param_groups
    if any(as_number(group.get("lr")) != 0 for group in groups):  # also without lr
        return False
    if gradients is None:
        gradients = [p.grad for group in groups for p in group["params"]]
    return not any(bool(gradient.any()) for gradient in gradients if gradient is not None)
