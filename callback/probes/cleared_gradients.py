"""The gradients of a step whose optimizer clears them before it ends.

A subclass may call ``zero_grad()`` at the end of its ``step()``. Gradients that it removes are held
during the step, and put back while the step is measured. Gradients that it sets to zero in place,
or whose memory it frees, are lost: they are unknown, not zero. A copy of every gradient would take
as much memory as the gradients themselves.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class _Held(NamedTuple):
    """A parameter's gradient before the step, and its version counter."""

    parameter: Tensor
    gradient: Tensor
    version: int

    def is_written(self) -> bool:
        """Whether it was written to since then."""
        return self.gradient._version != self.version

    def has_values(self) -> bool:
        """Whether it still has its shape and memory, neither of which writing changes."""
        gradient = self.gradient
        if gradient.shape != self.parameter.shape:
            return False
        is_dense = gradient.layout == torch.strided
        return not is_dense or not gradient.numel() or gradient.untyped_storage().nbytes() > 0


class ClearedGradients:
    """Holds the gradients of a step.

    Attributes:
        are_unknown: Whether the step destroyed the values of some gradients.
        are_unchanged: Whether the step left all values as they were.
    """

    def __init__(self) -> None:
        """Hold nothing yet."""
        self.are_unknown = False
        self.are_unchanged = False
        self._held: Sequence[_Held] = ()
        self._sets_to_zero = False  # as seen last

    def hold(self, parameters: Iterable[Tensor]) -> None:
        """Hold the gradients at the start of the step, until :meth:`put_back`.

        Args:
            parameters: The optimizer's parameters.
        """
        self.are_unknown = False
        self._held = [
            _Held(parameter, gradient, gradient._version)
            for parameter in parameters
            if (gradient := parameter.grad) is not None
        ]

    def release(self) -> None:
        """Release the gradients."""
        self._held = ()

    @contextlib.contextmanager
    def put_back(self, *, is_recording: bool) -> Iterator[None]:
        """Give the parameters the gradients of the step temporarily, and none where it is unknown.

        Args:
            is_recording: Whether the step is recorded, so waiting for the device costs nothing
                extra.
        """
        held, self._held = self._held, ()
        found = [(one.parameter, one.parameter.grad) for one in held]
        try:
            with contextlib.suppress(RuntimeError, TypeError):  # for parameters that were replaced
                self._exchange(held, is_recording=is_recording)
            del held
            yield
        finally:
            for parameter, gradient in found:
                if parameter.grad is not gradient:
                    parameter.grad = gradient

    def _exchange(self, held: Sequence[_Held], *, is_recording: bool) -> None:
        # A gradient that was replaced is not held any more: the new one is read.
        held = [one for one in held if one.parameter.grad is None or _is_same(one)]
        lost = [one for one in held if not one.has_values()]
        written = [one for one in held if one.is_written() and one.has_values()]
        lost += [one for one in written if one.parameter.grad is None]
        written = [one for one in written if one.parameter.grad is not None]
        if written and (is_recording or written[0].gradient.device.type == "cpu"):
            zeroed = [one for one in written if _is_zero(one.gradient)]
            self._sets_to_zero = bool(zeroed)
        else:
            zeroed = written if self._sets_to_zero else []
        lost += zeroed
        ids_of_lost = {id(one) for one in lost}  # gradients cannot be compared with ==
        for one in held:
            if id(one) in ids_of_lost:
                one.parameter.grad = None
            elif one.parameter.grad is None:
                one.parameter.grad = one.gradient
        self.are_unknown = bool(lost)
        self.are_unchanged = not written and not lost


def _is_same(held: _Held) -> bool:
    return held.parameter.grad is held.gradient


def _is_zero(gradient: Tensor) -> bool:
    """Whether all elements are zero."""
    values = gradient.coalesce().values() if gradient.is_sparse else gradient
    return not bool(values.any())
