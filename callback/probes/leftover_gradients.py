"""Whether the content of ``.grad`` comes from the backward pass of another optimizer's loss.

A generator learns through its discriminator, and its backward pass leaves gradients there. If they
are not cleared before the discriminator's backward pass, the discriminator's step uses both. An
optimizer that does not hold the parameter has then stepped between the two passes. The same happens
if two optimizers share their losses and this one accumulates them over several steps of the other;
but then the other also steps after the last pass. So a gradient only counts as left over if no
other optimizer steps between the last gradient of a step and the first one of the next.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook

from .detaching import can_follow_all, detach


class OtherSteps:
    """Follows the steps of all optimizers of the process that do not hold one parameter.

    Attributes:
        is_following: Whether it has started.
    """

    def __init__(self) -> None:
        """Follow nothing yet."""
        self.is_following = False
        self._detach: Callable[[], object] | None = None
        self._parameter: weakref.ref[Tensor] | None = None
        self._other_has_stepped = False
        self._own_has_stepped = False
        # Whether no other optimizer steps after the last gradient of a step; None if unknown.
        self._ends_alone: bool | None = None

    def follow(self, parameter: Tensor) -> None:
        """Start following, if possible: a gradient of the parameter has arrived."""
        if not can_follow_all():
            return
        self._parameter = weakref.ref(parameter)
        handle = register_optimizer_step_post_hook(_hook_of(self))
        self._detach = weakref.finalize(self, detach, handle)  # it would outlive a lost callback
        self.is_following = True

    def close(self) -> None:
        """Stop following."""
        if self._detach is not None:
            self._detach()
        self._detach = self._parameter = self._ends_alone = None
        self.is_following = self._other_has_stepped = self._own_has_stepped = False

    def gradient_comes(self) -> bool:
        """Note a gradient; return whether an earlier one of the same step is of another loss."""
        other, own = self._other_has_stepped, self._own_has_stepped
        self._other_has_stepped = self._own_has_stepped = False
        if own:
            self._ends_alone = not other
            return False
        return other and self._ends_alone is True

    def own_step_ends(self) -> None:
        """Note a step of the optimizer that holds the parameter."""
        self._own_has_stepped = True

    def _note(self, optimizer: Optimizer) -> None:
        parameter = None if self._parameter is None else self._parameter()
        if parameter is None or self._other_has_stepped:
            return
        groups = getattr(optimizer, "param_groups", ())
        held = any(other is parameter for group in groups for other in group["params"])
        self._other_has_stepped = not held


def _hook_of(steps: OtherSteps) -> Callable[..., None]:
    """A global optimizer hook that keeps nothing alive, is not compiled and never raises."""
    reference = weakref.ref(steps)

    def hook(optimizer: Optimizer, *_: object) -> None:
        follows = reference()
        if follows is not None:
            try:
                follows._note(optimizer)
            except Exception:
                follows.close()  # an unknown kind of optimizer

    disabled: Callable[..., None] = torch.compiler.disable(hook)
    return disabled
