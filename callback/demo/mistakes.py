"""Mistakes in a training loop, for the demonstrations, and loops that do it right."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .training import STEPS, Training

_MIDDLE = 202
_NEAR_THE_END = STEPS - 38
_SCALE = 65_536  # the initial scale of a GradScaler

# --- batches --------------------------------------------------------------------------------------


class OutlierBatch(Training):
    """The inputs of one batch are 100 times as large as the others."""

    def inputs(self, inputs: Tensor) -> Tensor:
        """Return the inputs."""
        return inputs * 100 if self.step == _MIDDLE else inputs


class MissingValue(Training):
    """One number of one batch is NaN."""

    def inputs(self, inputs: Tensor) -> Tensor:
        """Return the inputs."""
        if self.step == _MIDDLE:
            inputs[0, 0] = torch.nan
        return inputs


class MissingValueFilled(MissingValue):
    """The missing number is replaced by 0."""

    def inputs(self, inputs: Tensor) -> Tensor:
        """Return the inputs."""
        return super().inputs(inputs).nan_to_num()


# --- gradients ------------------------------------------------------------------------------------


class GradientsAddUp(Training):
    """zero_grad() is never called."""

    def zero_gradients(self) -> None:
        """Do nothing."""


class OutputsDetached(Training):
    """Outputs are detached, and the error that backward() would raise is silenced."""

    def outputs(self, inputs: Tensor) -> Tensor:
        """Return outputs that do not depend on the weights."""
        with torch.no_grad():
            outputs = super().outputs(inputs)
        return outputs.requires_grad_()


class NormRecorded(Training):
    """The gradient norm before clipping is recorded."""

    def clip_gradients(self) -> None:
        """Clip the gradients."""
        assert self.settings.max_norm is not None
        norm = nn.utils.clip_grad_norm_(self.parameters(), self.settings.max_norm)
        self.debug.record(gradient_norm_before_clip=norm)


class LossScaled(NormRecorded):
    """Gradients are still scaled when they are clipped."""

    def backward(self, loss: Tensor) -> None:
        """Differentiate the scaled loss."""
        super().backward(loss * _SCALE)


class GradientsUnscaled(LossScaled):
    """Gradients are unscaled before they are clipped."""

    def clip_gradients(self) -> None:
        """Unscale, then clip the gradients."""
        for parameter in self.parameters():
            assert parameter.grad is not None
            parameter.grad /= _SCALE
        super().clip_gradients()


# --- the optimizer and its state ------------------------------------------------------------------


class LearningRateJumps(Training):
    """The learning rate jumps by a factor of 100 halfway through."""

    def before_step(self) -> None:
        """Raise the learning rate."""
        if self.step == _MIDDLE:
            for group in self.optimizer.param_groups:
                group["lr"] *= 100


class LayerLeftOut(Training):
    """The optimizer does not get the second layer."""

    def parameters(self) -> Iterable[nn.Parameter]:
        """Return the parameters of the other layers."""
        return [p for name, p in self.model.named_parameters() if not name.startswith("2.")]


class Resumed(Training):
    """Training is resumed halfway through, with everything that it needs.

    Attributes:
        resumed_at: The step before which it is resumed.
        with_state: Whether the optimizer's state is loaded, too.
        dtype: The new type of the weights.
    """

    resumed_at = _MIDDLE
    with_state = True
    dtype = torch.float32

    def before_step(self) -> None:
        """Resume training."""
        if self.step == self.resumed_at:
            state = self.optimizer.state_dict() if self.with_state else None
            self.end()
            self.model.to(self.dtype)
            self.begin(self.step - 1, state)


class ResumedNearTheEnd(Resumed):
    """Like :class:`Resumed`, but once most is learned."""

    resumed_at = _NEAR_THE_END


class ResumedWithoutState(ResumedNearTheEnd):
    """The checkpoint holds only the weights."""

    with_state = False


class ResumedInBfloat16(Resumed):
    """The weights get another type before the state is loaded, which is cast to it."""

    dtype = torch.bfloat16


class StateLoadedAtEveryStep(Training):
    """From halfway on, the optimizer's state is reset to a checkpoint before every step."""

    _checkpoint: Mapping[str, Any]

    def before_step(self) -> None:
        """Load the state."""
        if self.step == _MIDDLE:
            self._checkpoint = copy.deepcopy(self.optimizer.state_dict())
        if self.step >= _MIDDLE:
            # load_state_dict() does not copy, and the step would change the checkpoint.
            self.optimizer.load_state_dict(copy.deepcopy(dict(self._checkpoint)))


# --- weights --------------------------------------------------------------------------------------


class DeadLayer(Training):
    """No unit of the second layer is ever active, from the start."""

    def change_weights(self) -> None:
        """Push the layer's units below zero."""
        second = self.model[2]
        assert isinstance(second, nn.Linear)
        second.bias.fill_(-30.0)
