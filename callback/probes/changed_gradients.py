"""Whether all gradients were multiplied by one common factor between backward and the step.

Clipping by value, of one layer, or of each parameter separately does not show in the single
gradient that :mod:`.stale_gradients` watches. So while a gain ratio is requested, and only at the
steps that have one, hooks fingerprint every gradient as backward leaves it, or as
``autograd.grad()`` returns it: by its norm and a few of its elements, because another gradient may
have the same norm. A gradient that no hook has seen is unknown. Changes by a hook of the trainer
before that are not seen.
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

# How much factors of one step may differ through rounding, by the bytes of an element: norms of
# many elements are summed in float32.
_ROUNDING = {8: 1e-5, 4: 1e-3}
_ROUNDING_OF_HALF = 0.01
# A gradient with a smaller share of the total norm predicts next to nothing.
_LEAST_SHARE = 1e-6
# A larger share left over from earlier steps is not rounding.
_MOST_LEFT = 1e-5
# Elements of each gradient that are compared.
_ELEMENTS = 256


class Common(NamedTuple):
    """What happened to all gradients of a step.

    Attributes:
        factor: The factor they were multiplied by, 0-dim float64; NaN if unknown.
        is_common: Whether all were multiplied by that factor and not changed otherwise, 0-dim bool.
        passes: Number of accumulated backward passes.
    """

    factor: Tensor
    is_common: Tensor
    passes: int


class ChangedGradients:
    """Follows all gradients of an optimizer through hooks that never wait for a device.

    Attributes:
        is_active: Whether the hooks look at gradients; otherwise they return at once.
    """

    def __init__(self) -> None:
        """Follow nothing yet."""
        self.is_active = False
        self._followed: dict[int, _Followed] = {}
        self._error: Exception | None = None
        self._seen: list[_Seen] = []
        self._places: dict[tuple[int, torch.device], Tensor] = {}

    def watch(self, parameters: Iterable[Tensor]) -> None:
        """Watch the gradients of the coming step.

        Args:
            parameters: Parameters of the optimizer, and others. Sharded ones are not followed.
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
        """Compare a gradient that the step has used with the one that backward computed.

        Args:
            parameter: The gradient's parameter.
            gradient: Dense or sparse, real or complex.

        Raises:
            Exception: An error raised in a hook, which could not raise it there.
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
        """Return the factor that all seen gradients were multiplied by, and forget them.

        Args:
            factor: The factor of one of them, 0-dim float64; NaN if unknown.
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
        # The sampled elements of each parameter are compared as a vector: one number per parameter.
        scale = (factor / before)[:, None]
        error = torch.linalg.vector_norm(elements - scale * of_backward, dim=1)
        size = torch.linalg.vector_norm(elements, dim=1)
        same &= error <= rounding * size + _LEAST_SHARE * now
        same &= stacked(one.is_scaled for one in seen) > 0
        counts = (now * before > least) | (backward * factor > least)  # NaN is unknown
        since = torch.where(counts, stacked(one.since for one in seen), torch.inf)
        cleared = torch.where(counts, stacked(one.cleared for one in seen), -torch.inf)
        # False if one gradient was cleared after a pass that another one still includes.
        is_whole = cleared.max() < since.min()
        is_common = (same | ~counts).all() & is_whole
        return Common(factor, is_common, max(one.passes for one in seen))

    def marks(self, tensor: Tensor) -> Marks:
        """Return the fingerprint of a gradient."""
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
        """Stop looking at gradients, and forget those seen so far."""
        self.is_active = False
        self._seen, self._error = [], None
        for followed in self._followed.values():
            followed.forget()

    def close(self) -> None:
        """Stop following gradients."""
        self.forget()
        for followed in self._followed.values():
            followed.close()
        self._followed, self._places = {}, {}

    def run(self, look: Callable[[], None]) -> None:
        """Look at a gradient, if requested; never raises."""
        if not self.is_active or self._error is not None:
            return
        try:
            with torch.no_grad():
                look()
        except Exception as error:
            # Drop the frames' references: gradients would stay alive otherwise.
            trace = error.__traceback__
            traceback.clear_frames(trace)
            self._error = error.with_traceback(trace and trace.tb_next)


class Marks(NamedTuple):
    """A gradient's fingerprint: its norm, 0-dim, and some elements, float64."""

    norm: Tensor
    elements: Tensor


class _Seen(NamedTuple):
    """One gradient at the step, and before it.

    Attributes:
        now: What the step has used.
        backward: What the last backward pass left or returned.
        before: Factor applied to the sum of micro-batches before the last one.
        left: Norm of what earlier steps left in it.
        is_scaled: Whether only that factor was applied between micro-batches.
        since: Index of the first backward pass that it includes.
        cleared: Index of the last pass not included, because the gradient was cleared after it.
        passes: Number of passes included.
        rounding: How much factors may differ.
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
        """A gradient that no hook has seen: assumed to be changed, unless it is 0."""
        nothing = Marks(now.norm * torch.nan, now.elements)
        return cls(now, nothing, 1.0, 0.0, 0.0, torch.inf, -torch.inf, 0, rounding)


class _Followed:
    """One parameter's gradient, as left by the backward passes since the last step.

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
        """Forget all backward passes."""
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
        """Return what is known of the gradient besides what the step has used."""
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
        """Start accumulating backward passes."""
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
        """Compare the current gradient with what earlier passes left; 0 starts over."""
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
    """A hook that keeps nothing alive, is not compiled, not stored, and never raises."""
    changed_ref, followed_ref = weakref.ref(changed), weakref.ref(followed)

    def hook(tensor: Tensor) -> None:
        changes, follows = changed_ref(), followed_ref()
        if changes is None or follows is None or (tensor.is_cuda and is_captured()):
            return
        changes.run(lambda: look(follows, tensor))

    # Without this mark, every copy of the tensor would cause a warning.
    marked: Callable[[Tensor], None] = torch.utils.hooks.unserializable_hook(
        torch.compiler.disable(hook)
    )
    return marked
