"""The gradients of a step whose optimizer clears them before it ends.

A subclass may call ``zero_grad()`` at the end of its ``step()``. The gradients are then gone, or
zero, when the step is measured. So they are held during the step, and put back while the step is
measured. Gradients that are zeroed in place need a copy.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class _Held(NamedTuple):
    """A parameter's gradient before the step, its version counter, and a copy."""

    parameter: Tensor
    gradient: Tensor
    version: int
    copy: Tensor | None

    def is_changed(self) -> bool:
        """Whether it was written to since, and still exists."""
        return self.parameter.grad is self.gradient and self.gradient._version != self.version


class ClearedGradients:
    """Holds the gradients of a step.

    Attributes:
        are_unknown: Whether the step zeroed them and there is no copy.
    """

    def __init__(self) -> None:
        """Hold nothing yet."""
        self.are_unknown = False
        self._held: Sequence[_Held] = ()
        # Whether steps have been seen to zero gradients; None before the first record.
        self._sets_to_zero: bool | None = None

    def hold(self, parameters: Iterable[Tensor], *, with_copies: bool) -> None:
        """Hold the gradients at the start of the step, until :meth:`put_back`.

        Args:
            parameters: The optimizer's parameters.
            with_copies: Whether to copy them, if the step may zero them.
        """
        with_copies = with_copies and self._sets_to_zero is not False
        self.are_unknown = False
        self._held = [
            _Held(
                parameter,
                gradient,
                gradient._version,
                gradient.detach().clone() if with_copies else None,
            )
            for parameter in parameters
            if (gradient := parameter.grad) is not None
        ]

    def release(self) -> None:
        """Release the gradients."""
        self._held = ()

    @contextlib.contextmanager
    def put_back(self, *, is_recording: bool) -> Iterator[None]:
        """Give the parameters the gradients of the step temporarily.

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
        changed = [one for one in held if one.is_changed()]
        if is_recording:
            is_zero = bool(changed) and not _any([one.gradient for one in changed])
            if is_zero and _any([one.copy for one in changed if one.copy is not None]):
                self._sets_to_zero = True
            elif is_zero and any(one.copy is None for one in changed):
                self._sets_to_zero = self.are_unknown = True
            elif self._sets_to_zero is None:
                self._sets_to_zero = False
        else:
            is_zero = self._sets_to_zero is True
        for one in held:
            if one.parameter.grad is None:
                one.parameter.grad = one.gradient
        if is_zero:
            for one in changed:
                one.parameter.grad = one.copy


def _any(tensors: Sequence[Tensor]) -> bool:
    """Whether any element is nonzero; sparse tensors count as nonzero."""
    if any(tensor.layout != torch.strided for tensor in tensors):
        return True
    found: dict[torch.device, Tensor] = {}
    for tensor in tensors:
        here = tensor.any()
        found[tensor.device] = here | found.get(tensor.device, here)
    return any(map(bool, found.values()))
