"""What happens to a gradient between steps: what is left in it, and what it is multiplied by.

One small parameter is watched. Whenever a gradient arrives, a hook compares the content of
``.grad`` with it: a missing ``zero_grad()`` leaves something there. Only the smallest ratio of a
step counts: with accumulated micro-batches, the first one found nothing, and what another loss left
may have been cleared since. The content after the last micro-batch is compared with what the step
uses: clipping and unscaling happen in between. Leftovers of another optimizer's backward pass are
distinguished by :mod:`.leftover_gradients`.
"""

from __future__ import annotations

import traceback
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from ..write.step_rows import Scalar
from .leftover_gradients import OtherSteps
from .uncounted_steps import is_captured

# Steps without a gradient after which another parameter is watched, and the number of tries.
_MOST_IDLE_STEPS = 4
_MOST_TRIED = 4
# With fewer elements, a gradient may be close to zero by chance.
_LEAST_ELEMENTS = 64


class StaleGradients:
    """Watches one parameter's gradient through a hook that never waits for a device.

    Attributes:
        measures_rescaling: Whether :meth:`take_rescaling` will be called after the next step.
    """

    def __init__(self) -> None:
        """Start without a parameter."""
        self.measures_rescaling = False
        self._norm_from_backward: Tensor | None = None
        self._returned_norm: Tensor | None = None
        self._rescaling: Tensor | None = None
        self._is_guess = False
        self._watched: weakref.ref[Tensor] | None = None
        self._handle: Any = None
        self._tried: list[weakref.ref[Tensor]] = []
        self._ratio: Scalar | None = None
        self._leftover: Scalar = 0.0
        self._others = OtherSteps()
        self._idle_steps = 0
        self._error: Exception | None = None

    @property
    def wants_parameter(self) -> bool:
        """Whether :meth:`watch` should be called."""
        return (self._watched is None or self._is_guess) and len(self._tried) < _MOST_TRIED

    @property
    def gradient_has_come(self) -> bool:
        """Whether backward has computed the gradient of a step whose rescaling is measured."""
        return self._norm_from_backward is not None

    def guess(self, parameters: Sequence[Tensor]) -> None:
        """Watch a small parameter before any gradient is known; :meth:`watch` may change it.

        Args:
            parameters: The optimizer's parameters.
        """
        candidates = [parameter for parameter in parameters if is_plain_leaf(parameter)]
        if candidates:
            self._attach(min(candidates, key=_unfitness))
            self._is_guess = True

    def watch(
        self, parameters: Sequence[Tensor], squared_gradients: npt.NDArray[np.float64]
    ) -> bool:
        """Watch a small parameter whose gradient is not zero; return whether it has changed.

        Args:
            parameters: The optimizer's parameters.
            squared_gradients: Σg² of each parameter.
        """
        if self._is_guess:
            guessed, self._is_guess = self._parameter, False
            squares = zip(parameters, squared_gradients.tolist(), strict=True)
            if any(p is guessed and square > 0 and _can_be_watched(p) for p, square in squares):
                self._tried += () if self._watched is None else (self._watched,)
                return False
            self.close()
        tried = {id(reference()) for reference in self._tried}
        candidates = [
            parameter
            for parameter, square in zip(parameters, squared_gradients.tolist(), strict=True)
            if square > 0 and id(parameter) not in tried and _can_be_watched(parameter)
        ]
        if candidates:
            self._tried.append(self._attach(min(candidates, key=_unfitness)))
        return bool(candidates)

    def take(self) -> Scalar | None:
        """Return the ratio of the step that ends; None if no gradient came from a backward pass.

        Returns:
            0 if ``.grad`` was empty; a 0-dim tensor if it was not.

        Raises:
            Exception: An error raised in the hook, which could not raise it there.
        """
        error, self._error = self._error, None
        if error is not None:
            self.close()
            raise error
        ratio, self._ratio = self._ratio, None
        self._idle_steps = 0 if ratio is not None else self._idle_steps + 1
        if self._watched is not None and self._idle_steps >= _MOST_IDLE_STEPS:
            self.close()
        return ratio

    def take_leftover(self) -> Scalar | None:
        """Return what another loss left in the gradient of the step that ends, as a ratio.

        Returns:
            The norm of the content of ``.grad`` over the norm of the new gradient, usually 0; None
            while it is unknown, or if gradients are never accumulated.
        """
        leftover, self._leftover = self._leftover, 0.0
        self._others.own_step_ends()
        return leftover if self._others.is_following else None

    def measure_rescaling(self) -> None:
        """Measure the result of :meth:`take_rescaling` now: the step may overwrite the gradient."""
        self._rescaling = self._rescaling_now()

    def take_rescaling(self, *, is_overwritten: bool = False) -> Tensor | None:
        """Return what the gradient was multiplied by between backward and the step that ends.

        Args:
            is_overwritten: Whether only :meth:`measure_rescaling` could measure it.

        Returns:
            A 0-dim tensor, or None if it was not measured. NaN if the gradient is zero.
        """
        rescaling = self._rescaling if is_overwritten else self._rescaling_now()
        self._norm_from_backward = self._returned_norm = self._rescaling = None
        return rescaling

    def _rescaling_now(self) -> Tensor | None:
        parameter = self._parameter
        gradient = None if parameter is None else parameter.grad
        before, returned = self._norm_from_backward, self._returned_norm
        if gradient is None or (before is None and returned is None):
            return None
        with torch.no_grad():  # the gradient may require grad, if a graph was created
            norm = norm_of(gradient)
            if before is not None:
                return norm / before
            # autograd.grad() may have returned another one: only equal norms prove that it is the
            # same.
            assert returned is not None
            return torch.where(norm == returned, 1.0, torch.nan)

    def close(self) -> None:
        """Stop watching."""
        if self._handle is not None:
            self._handle.remove()
        self._handle = self._watched = self._ratio = None
        self._norm_from_backward = self._returned_norm = self._rescaling = None
        self._is_guess = False
        self._others.close()
        self._leftover = 0.0
        self._idle_steps = 0

    def _attach(self, parameter: Tensor) -> weakref.ref[Tensor]:
        self._watched = weakref.ref(parameter)
        self._handle = parameter.register_hook(_hook_of(self))
        return self._watched

    @property
    def _parameter(self) -> Tensor | None:
        """The watched parameter, which the trainer may replace and free."""
        return None if self._watched is None else self._watched()

    def _compare(self, gradient: Tensor) -> None:
        parameter = self._parameter
        if parameter is None:
            return
        if not is_accumulated(parameter):
            if self.measures_rescaling:
                with torch.no_grad():
                    self._returned_norm = norm_of(gradient)
            return
        left = parameter.grad
        is_of_another = self._others.is_following and self._others.gradient_comes()
        if left is None:
            self._ratio = 0.0
        elif is_of_another or self._ratio is None or isinstance(self._ratio, Tensor):
            with torch.no_grad():
                ratio = norm_of(left) / norm_of(gradient)
            if is_of_another:
                self._leftover = ratio
            if self._ratio is None or isinstance(self._ratio, Tensor):
                self._ratio = ratio if self._ratio is None else torch.fmin(self._ratio, ratio)
        elif not self._others.is_following:  # gradients are accumulated: whose?
            self._others.follow(parameter)
        if self.measures_rescaling:
            with torch.no_grad():
                self._add_to_rescaling(gradient, left)

    def _add_to_rescaling(self, gradient: Tensor, left: Tensor | None) -> None:
        total = gradient if left is None else left + gradient
        norm = norm_of(total)
        if left is not None and self._norm_from_backward is not None:
            # Changes of the sum before this micro-batch count, too; 0 starts over.
            of_sum = norm_of(left) / self._norm_from_backward
            norm = norm / torch.where(of_sum > 0, of_sum, 1.0)
        self._norm_from_backward = norm


def _hook_of(watching: StaleGradients) -> Callable[[Tensor], None]:
    """A hook that keeps nothing alive, is not compiled, not stored, and never raises."""
    reference = weakref.ref(watching)

    def hook(gradient: Tensor) -> None:
        watches = reference()
        if watches is None or watches._error is not None:
            return
        if gradient.is_cuda and is_captured():
            return
        try:
            watches._compare(gradient)
        except Exception as error:
            # Drop the frames' references: both gradients would stay alive otherwise.
            trace = error.__traceback__
            traceback.clear_frames(trace)
            watches._error = error.with_traceback(trace and trace.tb_next)

    # Without this mark, every copy of the tensor would cause a warning.
    marked: Callable[[Tensor], None] = torch.utils.hooks.unserializable_hook(
        torch.compiler.disable(hook)
    )
    return marked


def _unfitness(parameter: Tensor) -> tuple[bool, int]:
    """Sort key for parameters: the smallest that is large enough, then the largest others."""
    elements = parameter.numel()
    too_small = elements < _LEAST_ELEMENTS
    return too_small, -elements if too_small else elements


def _can_be_watched(parameter: Tensor) -> bool:
    """Whether gradients of a parameter pass through its hooks as they are accumulated."""
    gradient = parameter.grad
    return gradient is not None and gradient.layout == torch.strided and is_plain_leaf(parameter)


def is_plain_leaf(parameter: Tensor) -> bool:
    """Whether a parameter receives whole gradients."""
    return (
        parameter.requires_grad
        and parameter.is_leaf
        # Sharded: the gradient that arrives is not the one that is kept.
        and not hasattr(parameter, "to_local")
    )


def is_accumulated(parameter: Tensor) -> bool:
    """Whether the gradient is accumulated in ``.grad``: autograd.grad() only returns it."""
    will_execute = getattr(torch._C, "_will_engine_execute_node", None)
    if will_execute is None:
        return True
    try:
        return bool(will_execute(get_gradient_edge(parameter).node))
    except RuntimeError:  # raised while autograd.grad() runs
        return False


def norm_of(tensor: Tensor) -> Tensor:
    """The norm of a dense or sparse tensor, 0-dim, in at least float32."""
    wide = torch.promote_types(tensor.dtype, torch.float32)
    if tensor.is_sparse:
        tensor = tensor.coalesce().values()
    norm: Tensor = torch.linalg.vector_norm(tensor, dtype=wide)
    return norm
