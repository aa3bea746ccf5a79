"""Whether all gradients were multiplied by one factor between backward and the step.

Clipping by value, of one layer, or of each parameter by itself does not show in the one gradient
that :mod:`.stale_gradients` watches. So while a gain ratio is asked for, hooks take the norm of
every gradient as backward leaves it, at the steps that have a gain ratio only. What a hook of the
trainer's changes before that is not seen.
"""

from __future__ import annotations

import traceback
import weakref
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..memory.to_host import on_device
from .stale_gradients import is_plain_leaf, norm_of
from .uncounted_steps import is_captured

# By how much factors of one step differ through rounding, by the bytes of an element: norms of
# many elements are added up in float32.
_ROUNDING = {8: 1e-5, 4: 1e-3}
_ROUNDING_OF_HALF = 0.01
# A gradient with less of the norm of all promises next to nothing.
_LEAST_SHARE = 1e-6


class ChangedGradients:
    """Follows the norms of all gradients of an optimizer by hooks, which wait for no device.

    Attributes:
        is_active: Whether the hooks look at gradients; else they return at once.
    """

    def __init__(self) -> None:
        """Follow nothing yet."""
        self.is_active = False
        self._followed: dict[int, _Followed] = {}
        self._error: Exception | None = None
        self._seen: list[_Seen] = []

    def watch(self, parameters: Iterable[Tensor]) -> None:
        """Look at the gradients of the coming step.

        Args:
            parameters: Of the optimizer. Those of processes together are not followed.
        """
        self.is_active = True
        alive = {id(parameter): parameter for parameter in parameters}
        for key, followed in list(self._followed.items()):
            if followed.parameter() is None or followed.parameter() is not alive.get(key):
                followed.close()
                del self._followed[key]
        for key, parameter in alive.items():
            if key not in self._followed and is_plain_leaf(parameter):
                self._followed[key] = _Followed(self, parameter)

    def see(self, parameter: Tensor, gradient: Tensor) -> None:
        """Compare a gradient that the step has used with what backward made.

        Args:
            parameter: Whose.
            gradient: Dense or sparse, as real numbers or complex.

        Raises:
            Exception: What went wrong in a hook, which keeps it to itself.
        """
        error, self._error = self._error, None
        if error is not None:
            raise error
        followed = self._followed.get(id(parameter))
        if followed is None or followed.parameter() is not parameter or followed.norm is None:
            return
        factor = followed.factor
        before = torch.ones_like(followed.norm) if factor is None else factor
        rounding = _ROUNDING.get(gradient.dtype.to_real().itemsize, _ROUNDING_OF_HALF)
        self._seen.append(_Seen(norm_of(gradient), followed.norm, before, rounding))

    def common_factor(self, factor: Tensor) -> tuple[Tensor, Tensor]:
        """Return what all gradients that were seen were multiplied by.

        Args:
            factor: What one of them was, 0-dim float64; NaN where that is not known.

        Returns:
            ``factor``, or where that is NaN what most gradients were multiplied by, 0-dim float64;
            whether no gradient was multiplied by another factor, 0-dim bool.
        """
        seen, self._seen = self._seen, []
        if not seen:
            return factor, torch.ones_like(factor, dtype=torch.bool)
        now, backward, before = (
            torch.stack([on_device(tensor.double(), factor.device) for tensor in tensors])
            for tensors in list(zip(*seen, strict=True))[:3]
        )
        rounding = torch.tensor([one.rounding for one in seen], dtype=torch.float64, device="cpu")
        now = now * before
        factor = torch.where(factor.isnan(), (now / backward).nanmedian(), factor)
        error = (now - factor * backward).abs()
        least = _LEAST_SHARE * torch.linalg.vector_norm(now)
        is_same = error <= on_device(rounding, factor.device) * now + least
        return factor, is_same.all()

    def forget(self) -> None:
        """Look at no gradient, and know nothing of those that have come."""
        self.is_active = False
        self._seen, self._error = [], None
        for followed in self._followed.values():
            followed.norm = followed.factor = None

    def close(self) -> None:
        """Follow nothing any more."""
        self.forget()
        for followed in self._followed.values():
            followed.close()
        self._followed = {}

    def run(self, look: Callable[[], None]) -> None:
        """Look at a gradient, if that is asked for; this raises nothing."""
        if not self.is_active or self._error is not None:
            return
        try:
            with torch.no_grad():
                look()
        except Exception as error:
            # Not this frame, nor the others' tensors: gradients would stay alive.
            trace = error.__traceback__
            traceback.clear_frames(trace)
            self._error = error.with_traceback(trace and trace.tb_next)


class _Seen(NamedTuple):
    """Norms of one gradient, 0-dim, and by how much they may differ through rounding."""

    now: Tensor
    backward: Tensor
    before: Tensor
    rounding: float


class _Followed:
    """The norm of one parameter's gradient as the last backward pass has left it.

    Attributes:
        parameter: The parameter, which the trainer may replace and free.
        norm: 0-dim; None where no backward pass has left a gradient.
        factor: What was done to the sum of micro-batches before the last of them; None for 1.
    """

    def __init__(self, changed: ChangedGradients, parameter: Tensor) -> None:
        self.parameter = weakref.ref(parameter)
        self.norm: Tensor | None = None
        self.factor: Tensor | None = None
        self._handles: list[Any] = [
            parameter.register_hook(_hook_of(changed, self, _Followed._gradient_comes)),
            parameter.register_post_accumulate_grad_hook(
                _hook_of(changed, self, _Followed._gradient_has_come)
            ),
        ]

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _gradient_comes(self) -> None:
        parameter = self.parameter()
        left = None if parameter is None else parameter.grad
        if left is None or self.norm is None:
            self.norm = self.factor = None
            return
        norm = norm_of(left)
        # 0 begins anew.
        factor = torch.where(norm > 0, norm / self.norm, 1.0)
        if self.factor is not None:
            factor = torch.where(norm > 0, factor * self.factor, 1.0)
        self.norm, self.factor = norm, factor

    def _gradient_has_come(self) -> None:
        parameter = self.parameter()
        gradient = None if parameter is None else parameter.grad
        if gradient is None:
            self.norm = self.factor = None
        else:
            self.norm = norm_of(gradient)


def _hook_of(
    changed: ChangedGradients, followed: _Followed, look: Callable[[_Followed], None]
) -> Callable[[Tensor], None]:
    """A hook that keeps nothing alive, is not compiled, not stored, and raises nothing."""
    changed_ref, followed_ref = weakref.ref(changed), weakref.ref(followed)

    def hook(tensor: Tensor) -> None:
        changes, follows = changed_ref(), followed_ref()
        if changes is None or follows is None or (tensor.is_cuda and is_captured()):
            return
        changes.run(lambda: look(follows))

    # A hook that is not marked as such makes a warning of every copy of its tensor.
    marked: Callable[[Tensor], None] = torch.utils.hooks.unserializable_hook(
        torch.compiler.disable(hook)
    )
    return marked
