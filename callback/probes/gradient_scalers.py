"""Whether a gradient scaler scales losses, i.e. gradients are unscaled before a step."""

from __future__ import annotations

import gc
import sys
import weakref
from types import FrameType

import torch

_FILE = torch.amp.GradScaler.scale.__code__.co_filename
# Searching all objects takes a moment, and scalers are created before the training.
_SEARCHES = 2


class GradientScalers:
    """Detects scalers that are used from now on, whoever holds them.

    A scaler of an earlier training may still exist.
    """

    def __init__(self) -> None:
        """Note the existing scalers."""
        # Each with its initial state, and whether it has scaled since.
        self._found: list[tuple[weakref.ref[torch.amp.GradScaler], object]] = [
            (weakref.ref(scaler), _state(scaler)) for scaler in _scalers()
        ]
        self._searches = 0

    def scale(self) -> bool:
        """Whether a scaler is calling, or any has scaled a loss or was updated."""
        if _is_calling():
            return True
        if self._searches < _SEARCHES:
            self._searches += 1
            known = {id(reference()) for reference, _ in self._found}
            new = [scaler for scaler in _scalers() if id(scaler) not in known]
            self._found += [(weakref.ref(scaler), None) for scaler in new]
        return any(
            (scaler := reference()) is not None and _state(scaler) != before
            for reference, before in self._found
        )


def _is_calling() -> bool:
    """Whether a gradient scaler is calling the optimizer."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename == _FILE:
            return True
        frame = frame.f_back
    return False


def _scalers() -> list[torch.amp.GradScaler]:
    """Return all scalers: an object refers to its class."""
    kinds: list[type] = [torch.amp.GradScaler]
    for kind in kinds:  # grows during the loop
        below: list[type] = type.__subclasses__(kind)
        kinds += [one for one in below if one not in kinds]
    referrers: list[object] = gc.get_referrers(*kinds)
    return [one for one in referrers if isinstance(one, torch.amp.GradScaler)]


def _state(scaler: torch.amp.GradScaler) -> object:
    """Return what changes when a scaler is used: None before that, or if it is disabled."""
    tracker = scaler._growth_tracker if scaler.is_enabled() else None
    return None if tracker is None else tracker._version
