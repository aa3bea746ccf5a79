"""The gain ratio: the actual change of the loss over the change that the gradient predicts.

A step is predicted to change the loss by Σ g·Δw. The gain ratio is the actual change on the same
batch divided by that: 1 if the step is so small that the loss is linear along it, less the more the
step overshoots, and below 0 if it raised the loss. Trust-region methods choose their steps by such
a ratio (Nocedal & Wright 2006, Numerical Optimization, chapter 4).
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from ..memory.to_host import on_device
from ..read.real_numbers import as_real
from ..write.step_rows import Scalar, as_scalar
from .changed_gradients import ChangedGradients
from .gradient_scalers import GradientScalers
from .random_state import RandomState

LossClosure = Callable[[], Scalar]

# A change of the loss by fewer units in its last place than this is too imprecise.
_LEAST_UNITS = 32
# A GradScaler divides by a power of two, and rarely by a smaller one.
_LARGEST_SCALE = 1 / 64
# Factors that differ by less are considered equal.
_SAME = 1e-5
# Norms that differ by more contradict each other: those of half precision are not exact.
_NEAR = 0.01
# A loop may scale the loss itself. The ratio then shows that the gradient was scaled: without
# scaling it would be at least 64 times as large.
_NEAR_1 = 0.75


class GainRatio:
    """Evaluates the loss before and after a step, without side effects.

    Σ g·Δw is over all elements: the weights are copied for the duration of the step, when the
    memory of the activations is free. A sample would not do, because a few elements may make up
    most of the sum.
    """

    def __init__(self, closure: LossClosure, model: nn.Module) -> None:
        """Start without an evaluation.

        Args:
            closure: Returns the loss of the batch that the step learns from.
            model: The model whose buffers, modes and gradients the closure must not change.
        """
        self._closure = closure
        self._model = model
        self._random: RandomState | None = None
        self._loss: tuple[Tensor, float] | None = None
        self._parameters: list[Tensor] = []
        self._weights: list[Tensor] = []
        self._gradients: list[Tensor | None] = []
        self._overwritten: list[bool] = []
        self._end: RandomState | None = None
        self._draws_are_known = self._has_scaler = False
        self._changed = ChangedGradients()
        self._scalers = GradientScalers()

    def watch_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Watch the gradients of the coming step, until :meth:`forget`.

        Args:
            parameters: The optimizer's parameters.
        """
        # Also those of the model, which may be added to the optimizer before the step.
        self._changed.watch(itertools.chain(parameters, self._model.parameters()))

    def remember_random_state(self) -> None:
        """Let the next evaluations draw the same random numbers as the code that runs from here on.

        A training step draws the same numbers if nothing else draws before its forward pass:
        dropout then drops the same units as for the gradient. The state in which the step leaves
        the generators shows whether that holds: the closure must leave them in the same state.
        """
        self._random = self._random_state()

    def before_step(self, parameters: Sequence[tuple[Tensor, bool]]) -> None:
        """Evaluate the loss, and copy the weights.

        Args:
            parameters: The optimizer's parameters, each with whether the step overwrites its
                gradient.

        Raises:
            Exception: Whatever the closure raises.
            ValueError: If the closure does not return one number.
        """
        if self._random is None:
            self._random = self._random_state()
        self._has_scaler = self._scalers.scale()
        self._parameters = [parameter for parameter, _ in parameters]
        self._overwritten = [overwritten for _, overwritten in parameters]
        self._loss = self._evaluate()
        self._draws_are_known = self._drew_the_same()
        self._weights = [parameter.detach().clone() for parameter in self._parameters]
        self.keep_gradients()

    def keep_gradients(self) -> None:
        """Keep the current gradients that the step overwrites."""
        self._gradients = [
            parameter.grad.clone() if overwritten and parameter.grad is not None else None
            for parameter, overwritten in zip(self._parameters, self._overwritten, strict=True)
        ]

    def after_step(
        self,
        norm_before_clip: Scalar = float("nan"),
        rescaling: Scalar = float("nan"),
        left: Scalar = 0.0,
    ) -> Tensor | None:
        """Return the gain ratio of the step since :meth:`before_step`; None without that.

        Args:
            norm_before_clip: Global norm of the gradient before clipping, if known: the prediction
                uses the unclipped gradient.
            rescaling: The factor that one gradient was multiplied by since backward, if known.
            left: What earlier steps left in that gradient, as a share of it.

        Returns:
            0-dim float64. NaN if there was no gradient, the loss is too coarse, or the closure
            draws random numbers and those of the step's forward pass are unknown. Also NaN if the
            predicted change is unknown: without ``norm_before_clip`` unless the gradients are known
            to be as backward computed them, apart from a GradScaler; with it if it contradicts the
            observed factor; and if some gradients were changed differently from others, did not
            come from a backward pass, or contain leftovers of earlier steps. This waits for no
            device.

        Raises:
            Exception: As :meth:`before_step`.
        """
        if self._loss is None:
            return None
        before, unit = self._loss
        # A closure passed to the optimizer's step has only drawn now.
        draws_are_known = self._draws_are_known or self._drew_the_same()
        device = next((p.device for p in self._parameters if p.grad is not None), before.device)
        was_clipped = isinstance(norm_before_clip, Tensor) or math.isfinite(norm_before_clip)
        promised, squares = self._sums(device, with_squares=was_clipped)
        common = self._changed.common_factor(on_device(_as_double(rescaling), device))
        factor = common.factor
        is_whole, is_unscaled = (
            _is_unchanged(factor) & (not self._has_scaler),
            _is_of_scaler(factor),
        )
        if was_clipped:
            norm = on_device(_as_double(norm_before_clip), device)
            clipping = squares.sqrt() / norm
            agrees = _agree(factor, clipping, common.passes, has_scaler=self._has_scaler)
            promised = torch.where(norm.isfinite(), promised / clipping, promised)
            is_whole = torch.where(norm.isfinite(), agrees, is_whole)
            is_unscaled = _is_of_scaler(torch.where(norm.isfinite(), factor / clipping, factor))
        is_whole = (is_whole | is_unscaled) & common.is_common
        is_whole &= ~(on_device(_as_double(left), device) > _SAME)
        promised = torch.where(is_whole, promised, torch.nan)
        self._forget_copies()  # before the closure needs memory
        after, _ = self._evaluate()
        before, after = on_device(before, device), on_device(after, device)
        ratio = (
            (after - before) / promised if draws_are_known else torch.full_like(after, torch.nan)
        )
        if not self._has_scaler:
            ratio = torch.where(is_unscaled & ((ratio - 1).abs() > _NEAR_1), torch.nan, ratio)
        return torch.where(promised.abs() > _LEAST_UNITS * unit * before.abs(), ratio, torch.nan)

    def _sums(self, device: torch.device, *, with_squares: bool) -> tuple[Tensor, Tensor]:
        """Return Σ g·Δw, and Σ g² if requested, both 0-dim float64."""
        promised, squares = (torch.zeros((), dtype=torch.float64, device=device) for _ in range(2))
        kept_ones = zip(self._parameters, self._weights, self._gradients, strict=True)
        for parameter, weight, kept in kept_ones:
            gradient = parameter.grad if kept is None else kept
            if gradient is None:
                continue
            self._changed.see(parameter, gradient)
            if gradient.layout != torch.strided:
                gradient = gradient.to_dense()
            gradient = as_real(gradient)
            product = _product(gradient, as_real(parameter.detach()), as_real(weight))
            promised += product.to(device)
            if with_squares:
                wide = torch.promote_types(gradient.dtype, torch.float32)
                norm = torch.linalg.vector_norm(gradient, dtype=wide)
                squares += norm.to(device, torch.float64).square()
        return promised, squares

    def close(self) -> None:
        """Release everything, including the gradient hooks."""
        self.forget()
        self._changed.close()

    def forget(self) -> None:
        """Release everything."""
        self._changed.forget()
        self._loss = self._random = self._end = None
        self._parameters, self._overwritten = [], []
        self._forget_copies()

    def _forget_copies(self) -> None:
        self._weights, self._gradients = [], []

    def _drew_the_same(self) -> bool:
        """Whether the generators are where the closure left them, as far as it uses them."""
        assert self._random is not None
        assert self._end is not None
        return self._random.leads_to(self._end, self._random_state())

    def _evaluate(self) -> tuple[Tensor, float]:
        """Return the loss, 0-dim float64, and its rounding unit relative to it."""
        assert self._random is not None
        current = self._random_state()
        try:
            with _undisturbed(self._model, self._parameters):
                self._random.restore()
                loss = as_scalar("loss_closure()", self._closure())
                self._end = self._random_state()
        finally:
            current.restore()
        # A plain number was probably read from a float32 tensor.
        dtype = loss.dtype if isinstance(loss, Tensor) else torch.float32
        unit = torch.finfo(dtype if dtype.is_floating_point else torch.float32).eps
        return _as_double(loss), unit

    def _random_state(self) -> RandomState:
        tensors = itertools.chain(self._model.parameters(), self._model.buffers())
        return RandomState.now(tensor.device for tensor in tensors)


def _is_unchanged(rescaling: Tensor) -> Tensor:
    """Whether a gradient is known to be as backward computed it.

    Args:
        rescaling: 0-dim float64; NaN if unknown.
    """
    return (rescaling - 1).abs() < _SAME


def _is_of_scaler(rescaling: Tensor) -> Tensor:
    """Whether a gradient may have been divided by the power of two that scaled its loss.

    Args:
        rescaling: 0-dim float64; NaN if unknown.
    """
    exponent = torch.log2(rescaling)
    return (rescaling < _LARGEST_SCALE) & ((exponent - exponent.round()).abs() < _SAME)


def _agree(rescaling: Tensor, clipping: Tensor, passes: int, *, has_scaler: bool) -> Tensor:
    """Whether clipping explains the factor that one gradient was multiplied by.

    A division by the number of micro-batches comes before the norm is computed. If a GradScaler
    scaled the loss, the norm of the gradients that backward left is the scaled one.

    Args:
        rescaling: 0-dim float64.
        clipping: The norm of all gradients over the norm before clipping, 0-dim float64.
        passes: Number of accumulated micro-batches.
        has_scaler: Whether there is a GradScaler.
    """
    before = rescaling / clipping
    is_share = (before * max(passes, 1) - 1).abs() < _SAME
    return (((before - 1).abs() < _NEAR) | is_share) & (not has_scaler)


def _as_double(number: Scalar) -> Tensor:
    """Return a number as a tensor on its device; a plain number on the CPU."""
    if isinstance(number, Tensor):
        return number.double()
    return torch.tensor(number, dtype=torch.float64, device="cpu")


def _product(gradient: Tensor, after: Tensor, before: Tensor) -> Tensor:
    """Σ g·Δw over all elements of a parameter, 0-dim float64."""
    # Half precision would round large values of the difference.
    wide = torch.promote_types(after.dtype, torch.float32)
    return (after.to(wide) - before).mul_(gradient).sum(dtype=torch.float64)


@contextlib.contextmanager
def _undisturbed(model: nn.Module, parameters: Sequence[Tensor]) -> Iterator[None]:
    """Evaluate something without changing a model, whatever happens.

    Buffers are replaced by copies rather than restored: a graph that is still to be differentiated
    may hold them.
    """
    modules = list(model.modules())
    modes = [module.training for module in modules]
    buffers = [(module, dict(module._buffers)) for module in modules if module._buffers]
    copies: dict[int, Tensor] = {}  # several modules may share a buffer
    owners = list({id(p): p for p in itertools.chain(parameters, model.parameters())}.values())
    gradients = [parameter.grad for parameter in owners]
    cache = torch.is_autocast_cache_enabled()
    try:
        # A cached cast weight would be from before the step, or one without a gradient.
        torch.set_autocast_cache_enabled(False)
        for parameter in owners:  # in case the closure calls zero_grad()
            parameter.grad = None
        for module, found in buffers:
            for name, buffer in found.items():
                if buffer is not None:
                    copy = copies.setdefault(id(buffer), buffer.detach().clone())
                    module._buffers[name] = copy
        with torch.no_grad():
            yield
    finally:
        torch.set_autocast_cache_enabled(cache)
        for module, found in buffers:
            module._buffers.clear()
            module._buffers.update(found)
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode
        for parameter, gradient in zip(owners, gradients, strict=True):
            parameter.grad = gradient
