"""Whether all gradients were multiplied by one factor between backward and the step.

Clipping by value, of one layer, or of each parameter by itself does not show in the one gradient
that :mod:`.stale_gradients` watches. So while a gain ratio is asked for, hooks mark every gradient
as backward leaves it, or ``autograd.grad()`` returns it, at the steps that have a gain ratio only:
by its norm, and by a few of its elements, because another gradient may have the same norm. What no
hook has seen is not known. What a hook of the trainer's changes before that is not seen.
"""

from __future__ import annotations

import traceback
import weakref
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..memory.to_host import on_device
from ..read.real_numbers import as_real
from .stale_gradients import is_accumulated, is_plain_leaf, norm_of
from .uncounted_steps import is_captured

# By how much factors of one step differ through rounding, by the bytes of an element: norms of
# many elements are added up in float32.
_ROUNDING = {8: 1e-5, 4: 1e-3}
_ROUNDING_OF_HALF = 0.01
# A gradient with less of the norm of all promises next to nothing.
_LEAST_SHARE = 1e-6
# Of what steps before have left, more than this share is not rounding.
_MOST_LEFT = 1e-5
# Elements of each gradient that are compared.
_ELEMENTS = 256


class Common(NamedTuple):
    """What has happened to all gradients of a step.

    Attributes:
        factor: What they were multiplied by, 0-dim float64; NaN where that is not known.
        is_common: Whether each was multiplied by that and nothing else happened, 0-dim bool.
        passes: How many backward passes were added up.
    """

    factor: Tensor
    is_common: Tensor
    passes: int


class ChangedGradients:
    """Follows all gradients of an optimizer by hooks, which wait for no device.

    Attributes:
        is_active: Whether the hooks look at gradients; else they return at once.
    """

    def __init__(self) -> None:
        """Follow nothing yet."""
        self.is_active = False
        self._followed: dict[int, _Followed] = {}
        self._error: Exception | None = None
        self._seen: list[_Seen] = []
        self._places: dict[tuple[int, torch.device], Tensor] = {}

    def watch(self, parameters: Iterable[Tensor]) -> None:
        """Look at the gradients of the coming step.

        Args:
            parameters: Of the optimizer, and others. Those of processes together are not followed.
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
        now = self.marks(gradient)
        followed = self._followed.get(id(parameter))
        rounding = _ROUNDING.get(gradient.dtype.to_real().itemsize, _ROUNDING_OF_HALF)
        if followed is None or followed.parameter() is not parameter:
            self._seen.append(_Seen.unknown(now, rounding))
        else:
            self._seen.append(followed.seen(now, rounding))

    def common_factor(self, factor: Tensor) -> Common:
        """Return what all gradients that were seen were multiplied by, and forget them.

        Args:
            factor: What one of them was, 0-dim float64; NaN where that is not known.
        """
        seen, self._seen = self._seen, []
        if not seen:
            return Common(factor, torch.zeros_like(factor, dtype=torch.bool), 0)

        def stacked(numbers: Iterable[Tensor | float]) -> Tensor:
            found = list(numbers)
            if any(isinstance(number, Tensor) for number in found):
                return torch.stack([_double(number, factor.device) for number in found])
            return on_device(torch.tensor(found, dtype=torch.float64, device="cpu"), factor.device)

        now = stacked(one.now.norm for one in seen)
        backward = stacked(one.backward.norm for one in seen)
        before = stacked(one.before for one in seen)
        rounding = stacked(one.rounding for one in seen)
        factor = torch.where(factor.isnan(), (now * before / backward).nanmedian(), factor)
        least = _LEAST_SHARE * torch.linalg.vector_norm(now)
        same = ((now * before - factor * backward).abs() <= rounding * now * before + least) & (
            stacked(one.left for one in seen) <= _MOST_LEFT * backward + least
        )
        elements, of_backward = (
            torch.stack([on_device(marks.elements, factor.device) for marks in each])
            for each in ([one.now for one in seen], [one.backward for one in seen])
        )
        # One number a parameter, of those the whole vector is compared.
        scale = (factor / before)[:, None]
        error = torch.linalg.vector_norm(elements - scale * of_backward, dim=1)
        size = torch.linalg.vector_norm(elements, dim=1)
        same &= error <= rounding * size + _LEAST_SHARE * now
        same &= stacked(one.is_scaled for one in seen) > 0
        counts = (now * before > least) | (backward * factor > least)  # NaN is not known
        since = torch.where(counts, stacked(one.since for one in seen), torch.inf)
        cleared = torch.where(counts, stacked(one.cleared for one in seen), -torch.inf)
        # A gradient that was cleared, where another one goes back to before that.
        is_whole = cleared.max() < since.min()
        is_common = (same | ~counts).all() & is_whole
        return Common(factor, is_common, max(one.passes for one in seen))

    def marks(self, tensor: Tensor) -> Marks:
        """Return what a gradient is recognized by."""
        if tensor.is_sparse:
            tensor = tensor.coalesce().values()
        tensor = as_real(tensor.detach())
        count = tensor.numel()
        if not count:
            nothing = torch.zeros(_ELEMENTS, dtype=torch.float64, device=tensor.device)
            return Marks(norm_of(tensor), nothing)
        places = self._places.get((count, tensor.device))
        if places is None:
            places = torch.arange(_ELEMENTS, device="cpu") * (count - 1) // (_ELEMENTS - 1)
            places = places.to(tensor.device)
            self._places[count, tensor.device] = places
        return Marks(norm_of(tensor), torch.take(tensor, places).double())

    def forget(self) -> None:
        """Look at no gradient, and know nothing of those that have come."""
        self.is_active = False
        self._seen, self._error = [], None
        for followed in self._followed.values():
            followed.forget()

    def close(self) -> None:
        """Follow nothing any more."""
        self.forget()
        for followed in self._followed.values():
            followed.close()
        self._followed, self._places = {}, {}

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


class Marks(NamedTuple):
    """What a gradient is recognized by: its norm, 0-dim, and some elements, float64."""

    norm: Tensor
    elements: Tensor


class _Seen(NamedTuple):
    """One gradient at the step, and as it was before.

    Attributes:
        now: What the step has used.
        backward: What was left by the last backward pass, or returned.
        before: What was done to the sum of micro-batches before the last of them.
        left: Norm of what steps before had left in it.
        is_scaled: Whether nothing but that factor was done to it between micro-batches.
        since: The first backward pass that is in it.
        cleared: The last one that is not, because the gradient was cleared after it.
        passes: How many are in it.
        rounding: By how much factors may differ.
    """

    now: Marks
    backward: Marks
    before: Tensor | float
    left: Tensor | float
    is_scaled: Tensor | float
    since: Tensor | float
    cleared: Tensor | float
    passes: int
    rounding: float

    @classmethod
    def unknown(cls, now: Marks, rounding: float) -> _Seen:
        """Of a gradient that no hook has seen: another one than it was, unless it is 0."""
        nothing = Marks(now.norm * torch.nan, now.elements)
        return cls(now, nothing, 1.0, 0.0, 0.0, torch.inf, -torch.inf, 0, rounding)


class _Followed:
    """One parameter's gradient as backward passes since the last step have left it.

    Attributes:
        parameter: The parameter, which the trainer may replace and free.
    """

    def __init__(self, changed: ChangedGradients, parameter: Tensor) -> None:
        self.parameter = weakref.ref(parameter)
        self._changed = weakref.ref(changed)
        self.forget()
        self._handles: list[Any] = [
            parameter.register_hook(_hook_of(changed, self, _Followed._gradient_comes)),
            parameter.register_post_accumulate_grad_hook(
                _hook_of(changed, self, _Followed._gradient_has_come)
            ),
        ]

    def forget(self) -> None:
        """Know of no backward pass."""
        self._made: Marks | None = None
        self._returned: Marks | None = None
        self._begin()
        self._cleared: Tensor | float = -torch.inf
        self._last = -torch.inf

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def seen(self, now: Marks, rounding: float) -> _Seen:
        """Return what is known of the gradient, beside what the step has used."""
        if self._made is None:
            if self._returned is None:
                return _Seen.unknown(now, rounding)
            return _Seen(now, self._returned, 1.0, 0.0, 1.0, torch.inf, -torch.inf, 1, rounding)
        return _Seen(
            now,
            self._made,
            self._factor,
            self._left,
            self._is_scaled,
            self._since,
            self._cleared,
            self._passes,
            rounding,
        )

    def _begin(self) -> None:
        """Begin to add up backward passes."""
        self._passes = 0
        self._factor: Tensor | float = 1.0
        self._left: Tensor | float = 0.0
        self._is_scaled: Tensor | float = 1.0
        self._since: Tensor | float = torch.inf

    def _gradient_comes(self, gradient: Tensor) -> None:
        parameter, changed = self.parameter(), self._changed()
        if parameter is None or changed is None:
            return
        if not is_accumulated(parameter):
            self._returned = changed.marks(gradient)
            return
        left, number = parameter.grad, float(torch._C._current_graph_task_id())
        if self._made is None:
            self._left = 0.0 if left is None else norm_of(left)
            self._since = number
        elif left is None:
            self._cleared = self._last
            self._begin()
            self._since = number
        else:
            self._compare(changed.marks(left), self._made, number)

    def _compare(self, left: Marks, made: Marks, number: float) -> None:
        """Compare what is there with what backward passes before have left; 0 begins anew."""
        is_there = left.norm > 0
        factor = left.norm / made.norm
        error = torch.linalg.vector_norm(left.elements - factor * made.elements)
        size = torch.linalg.vector_norm(left.elements)
        is_scaled = error <= _ROUNDING_OF_HALF * size + _LEAST_SHARE * left.norm
        self._is_scaled = torch.where(is_there, is_scaled & (self._as(self._is_scaled) > 0), True)
        self._factor = torch.where(is_there, factor * self._factor, 1.0)
        self._left = torch.where(is_there, self._as(self._left), 0.0)
        was_there = ~is_there & (made.norm > 0)
        self._since = torch.where(was_there, number, self._as(self._since))
        self._cleared = torch.where(was_there, self._last, self._as(self._cleared))

    def _as(self, number: Tensor | float) -> Tensor:
        assert self._made is not None
        return _double(number, self._made.norm.device)

    def _gradient_has_come(self, _: Tensor) -> None:
        parameter, changed = self.parameter(), self._changed()
        gradient = None if parameter is None else parameter.grad
        if gradient is None or changed is None:
            self.forget()
            return
        self._made = changed.marks(gradient)
        self._last = float(torch._C._current_graph_task_id())
        self._passes += 1


def _double(number: Tensor | float, device: torch.device) -> Tensor:
    """Return a number as a 0-dim float64 tensor, without waiting for the device."""
    if isinstance(number, Tensor):
        return on_device(number.double(), device)
    return torch.full((), number, dtype=torch.float64, device=device)


def _hook_of(
    changed: ChangedGradients, followed: _Followed, look: Callable[[_Followed, Tensor], None]
) -> Callable[[Tensor], None]:
    """A hook that keeps nothing alive, is not compiled, not stored, and raises nothing."""
    changed_ref, followed_ref = weakref.ref(changed), weakref.ref(followed)

    def hook(tensor: Tensor) -> None:
        changes, follows = changed_ref(), followed_ref()
        if changes is None or follows is None or (tensor.is_cuda and is_captured()):
            return
        changes.run(lambda: look(follows, tensor))

    # A hook that is not marked as such makes a warning of every copy of its tensor.
    marked: Callable[[Tensor], None] = torch.utils.hooks.unserializable_hook(
        torch.compiler.disable(hook)
    )
    return marked
