"""Calls of ``optimizer.step()`` that are no steps of training."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import FrameType

import torch
from torch import Tensor
from torch.optim import Optimizer

from ..optimizer_state.group_settings import as_number

# So many steps skipped in a row are no search for the right loss scale.
MOST_SKIPPED_IN_A_ROW = 25

# The hooks of every step() run in this function of torch/optim/optimizer.py.
_HOOKED_STEP = Optimizer.profile_hook_step(lambda self: None).__code__


def is_nested(optimizer: Optimizer) -> bool:
    """Tell whether a step of the optimizer runs within another one of it.

    That of a subclass which calls its parent's has hooks on both, if the parent was ever
    instantiated itself. Another one is no proof: a step that raises never comes to its end.
    """
    running = 0
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        running += frame.f_code is _HOOKED_STEP and frame.f_locals.get("self") is optimizer
        frame = frame.f_back
    return running > 1


def is_captured() -> bool:
    """Tell whether what runs now is written down in a CUDA graph, to be run later.

    Then nothing may be copied from the device or be waited for. Asks CUDA, which must be there.
    """
    return torch.cuda.is_current_stream_capturing()


def scaler_flag(optimizer: Optimizer) -> Tensor | None:
    """Return whether a gradient scaler makes a fused optimizer leave everything as it was.

    torch/amp/grad_scaler.py hands the flag to an optimizer that looks at it itself
    (``_step_supports_amp_scaling``); any other optimizer is not called at all.

    Returns:
        A tensor of one element, not 0 where the step is left out; None without such a scaler.
    """
    flag = getattr(optimizer, "found_inf", None)
    return flag if isinstance(flag, Tensor) else None


def is_on_host(flag: Tensor) -> bool:
    """Whether looking at a flag waits for nothing."""
    return flag.device.type == "cpu"


def is_phantom(optimizer: Optimizer, gradients: Sequence[Tensor | None] | None = None) -> bool:
    """Tell whether the first step of an optimizer was taken only to create its state.

    torch/distributed/checkpoint/state_dict.py (``_init_optim_state``) does that with learning rate
    0 and gradients of zeros. Waits for the device, if the learning rate is 0.

    Args:
        optimizer: After the step.
        gradients: Those to look at instead of the optimizer's own.
    """
    groups = optimizer.param_groups
    if any(as_number(group.get("lr")) != 0 for group in groups):  # also where there is none
        return False
    if gradients is None:
        gradients = [p.grad for group in groups for p in group["params"]]
    return not any(bool(gradient.any()) for gradient in gradients if gradient is not None)
