"""The gain ratio: how much of what the gradient promised a step has kept.

A step promises to change the loss by Σ g·Δw. The gain ratio is the change that it made on the same
batch over that: 1 for steps so small that the loss is linear along them, less the further a step
overshoots, below 0 where it raised the loss. Trust-region methods choose their steps by a ratio of
this kind (Nocedal & Wright 2006, Numerical Optimization, chapter 4).
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from ..memory.to_host import on_device
from ..read.real_numbers import as_real
from ..write.step_rows import Scalar, as_scalar
from .random_state import RandomState

LossClosure = Callable[[], Scalar]

# A loss that changes by fewer units in its last place than this does not tell by how much.
_LEAST_UNITS = 32
# A GradScaler divides by a power of two, and hardly by a smaller one.
_LARGEST_SCALE = 1 / 64
# Factors that differ by less are one.
_SAME = 1e-5


class GainRatio:
    """Evaluates the loss on both sides of a step, and leaves everything as it was.

    Σ g·Δw is over all elements: the weights are copied for the time of the step, when the memory of
    the activations is free. A sample of them would not do, because few elements may make up most of
    the sum.
    """

    def __init__(self, closure: LossClosure, model: nn.Module) -> None:
        """Nothing is evaluated yet.

        Args:
            closure: Returns the loss of the batch that the step learns from.
            model: Whose buffers, modes and gradients the closure must not change.
        """
        self._closure = closure
        self._model = model
        self._random: RandomState | None = None
        self._loss: tuple[Tensor, float] | None = None
        self._parameters: list[Tensor] = []
        self._kept: list[tuple[Tensor, Tensor | None]] = []
        self._rescaling: Scalar = float("nan")  # the last one that is known

    def remember_random_state(self) -> None:
        """Let the next evaluations draw what is drawn from now on.

        A training step draws the same if nothing else is drawn before its forward pass: the units
        that drop out are those of the gradient.
        """
        self._random = self._random_state()

    def before_step(self, parameters: Sequence[tuple[Tensor, bool]]) -> None:
        """Evaluate the loss, and keep the weights.

        Args:
            parameters: Those of the optimizer, each with whether the step overwrites its gradient.

        Raises:
            Exception: What the closure raises.
            ValueError: If it does not return one number.
        """
        if self._random is None:
            self._random = self._random_state()
        self._parameters = [parameter for parameter, _ in parameters]
        self._loss = self._evaluate()
        self._kept = []
        for parameter, overwritten in parameters:
            gradient = parameter.grad if overwritten else None
            kept = None if gradient is None else gradient.clone()
            self._kept.append((parameter.detach().clone(), kept))

    def after_step(
        self, norm_before_clip: Scalar = float("nan"), rescaling: Scalar = float("nan")
    ) -> Tensor | None:
        """Return the gain ratio of the step since :meth:`before_step`; None without that.

        Args:
            norm_before_clip: Global norm of the gradient before it was clipped, if that is known:
                what is promised is by the whole gradient.
            rescaling: What one gradient was multiplied by since backward, if that is known.

        Returns:
            0-dim float64, NaN where there was no gradient, the loss is too coarse, or something
            but a GradScaler has changed the gradient and ``norm_before_clip`` is not known: what
            the loss has promised is not known then. This waits for no device.

        Raises:
            Exception: As :meth:`before_step`.
        """
        if self._loss is None:
            return None
        before, unit = self._loss
        device = next((p.device for p in self._parameters if p.grad is not None), before.device)
        promised, squares = (torch.zeros((), dtype=torch.float64, device=device) for _ in range(2))
        was_clipped = isinstance(norm_before_clip, Tensor) or math.isfinite(norm_before_clip)
        for parameter, (weight, kept) in zip(self._parameters, self._kept, strict=True):
            gradient = parameter.grad if kept is None else kept
            if gradient is None:
                continue
            if gradient.layout != torch.strided:
                gradient = gradient.to_dense()
            gradient = as_real(gradient)
            product = _product(gradient, as_real(parameter.detach()), as_real(weight))
            promised += product.to(device)
            if was_clipped:
                wide = torch.promote_types(gradient.dtype, torch.float32)
                norm = torch.linalg.vector_norm(gradient, dtype=wide)
                squares += norm.to(device, torch.float64).square()
        now, before_now = (on_device(_as_double(x), device) for x in (rescaling, self._rescaling))
        self._rescaling = torch.where(now.isnan(), before_now, now)
        if was_clipped:
            promised *= on_device(_as_double(norm_before_clip), device) / squares.sqrt()
        else:
            promised = torch.where(_is_changed(self._rescaling), torch.nan, promised)
        self._kept = []  # before the closure needs memory
        after, _ = self._evaluate()
        before, after = on_device(before, device), on_device(after, device)
        ratio = (after - before) / promised
        return torch.where(promised.abs() > _LEAST_UNITS * unit * before.abs(), ratio, torch.nan)

    def forget(self) -> None:
        """Let go of everything."""
        self._loss, self._random, self._parameters, self._kept = None, None, [], []

    def _evaluate(self) -> tuple[Tensor, float]:
        """Return the loss, 0-dim float64, and the unit of its rounding, relative to it."""
        assert self._random is not None
        current = self._random_state()
        try:
            with _undisturbed(self._model, self._parameters):
                self._random.restore()
                loss = as_scalar("loss_closure()", self._closure())
        finally:
            current.restore()
        # A plain number will have been one of a float32 tensor.
        dtype = loss.dtype if isinstance(loss, Tensor) else torch.float32
        unit = torch.finfo(dtype if dtype.is_floating_point else torch.float32).eps
        return _as_double(loss), unit

    def _random_state(self) -> RandomState:
        tensors = itertools.chain(self._model.parameters(), self._model.buffers())
        return RandomState.now(tensor.device for tensor in tensors)


def _is_changed(rescaling: Tensor) -> Tensor:
    """Whether a gradient is another one than backward made, but for a GradScaler's power of two.

    Args:
        rescaling: 0-dim float64; NaN while nothing is known.
    """
    exponent = torch.log2(rescaling)
    is_scaler = (rescaling < _LARGEST_SCALE) & ((exponent - exponent.round()).abs() < _SAME)
    return ~((rescaling - 1).abs() < _SAME) & ~is_scaler & ~rescaling.isnan()


def _as_double(number: Scalar) -> Tensor:
    """Return a number as a tensor, where it is; a plain one on the CPU."""
    if isinstance(number, Tensor):
        return number.double()
    return torch.tensor(number, dtype=torch.float64, device="cpu")


def _product(gradient: Tensor, after: Tensor, before: Tensor) -> Tensor:
    """Σ g·Δw over all elements of a parameter, 0-dim float64."""
    # Half precision would round the difference where it is large.
    wide = torch.promote_types(after.dtype, torch.float32)
    return (after.to(wide) - before).mul_(gradient).sum(dtype=torch.float64)


@contextlib.contextmanager
def _undisturbed(model: nn.Module, parameters: Sequence[Tensor]) -> Iterator[None]:
    """Evaluate something that leaves no trace in a model, whatever happens.

    Buffers are replaced by copies, rather than written back: a graph that is still to be
    differentiated may hold them.
    """
    modules = list(model.modules())
    modes = [module.training for module in modules]
    buffers = [(module, dict(module._buffers)) for module in modules if module._buffers]
    copies: dict[int, Tensor] = {}  # a buffer may belong to several modules
    owners = list({id(p): p for p in itertools.chain(parameters, model.parameters())}.values())
    gradients = [parameter.grad for parameter in owners]
    cache = torch.is_autocast_cache_enabled()
    try:
        # A cast weight in the cache would be that before the step, or one without a gradient.
        torch.set_autocast_cache_enabled(False)
        for parameter in owners:  # from a closure that calls zero_grad()
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
