"""Mistakes in a training loop, for the demonstrations, and loops that do the same rightly."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .training import STEPS, Training

_MIDDLE = 202
_NEAR_THE_END = STEPS - 38
_SCALE = 65_536  # what a GradScaler begins with

# --- batches --------------------------------------------------------------------------------------


class OutlierBatch(Training):
    """One batch has inputs that are 100 times as large as the others."""

    def inputs(self, inputs: Tensor) -> Tensor:
        """Return them."""
        return inputs * 100 if self.step == _MIDDLE else inputs


class MissingValue(Training):
    """One number of one batch is NaN."""

    def inputs(self, inputs: Tensor) -> Tensor:
        """Return them."""
        if self.step == _MIDDLE:
            inputs[0, 0] = torch.nan
        return inputs


class MissingValueFilled(MissingValue):
    """The number is missing, and 0 takes its place."""

    def inputs(self, inputs: Tensor) -> Tensor:
        """Return them."""
        return super().inputs(inputs).nan_to_num()


# --- gradients ------------------------------------------------------------------------------------


class GradientsAddUp(Training):
    """Nobody calls zero_grad()."""

    def zero_gradients(self) -> None:
        """Do nothing."""


class OutputsDetached(Training):
    """Nothing is differentiated, and the error that backward() would raise is silenced."""

    def outputs(self, inputs: Tensor) -> Tensor:
        """Return outputs that do not depend on the weights."""
        with torch.no_grad():
            outputs = super().outputs(inputs)
        return outputs.requires_grad_()


class NormRecorded(Training):
    """What the gradient norm was before it was clipped is recorded."""

    def clip_gradients(self) -> None:
        """Clip them."""
        assert self.settings.max_norm is not None
        norm = nn.utils.clip_grad_norm_(self.parameters(), self.settings.max_norm)
        self.debug.record(gradient_norm_before_clip=norm)


class LossScaled(NormRecorded):
    """Gradients still are those of the scaled loss when they are clipped."""

    def backward(self, loss: Tensor) -> None:
        """Differentiate the loss, scaled."""
        super().backward(loss * _SCALE)


class GradientsUnscaled(LossScaled):
    """The scale is taken out of the gradients before they are clipped."""

    def clip_gradients(self) -> None:
        """Divide, then clip them."""
        for parameter in self.parameters():
            assert parameter.grad is not None
            parameter.grad /= _SCALE
        super().clip_gradients()


# --- the optimizer and its state ------------------------------------------------------------------


class LearningRateJumps(Training):
    """From the middle on the learning rate is 100 times as high."""

    def before_step(self) -> None:
        """Raise it."""
        if self.step == _MIDDLE:
            for group in self.optimizer.param_groups:
                group["lr"] *= 100


class LayerLeftOut(Training):
    """The optimizer does not get the second layer."""

    def parameters(self) -> Iterable[nn.Parameter]:
        """Return those of the other layers."""
        return [p for name, p in self.model.named_parameters() if not name.startswith("2.")]


class Resumed(Training):
    """In the middle training is resumed, with everything that it needs.

    Attributes:
        resumed_at: The step before which this happens.
        with_state: Whether the optimizer's state is loaded, too.
        dtype: The type that the weights get.
    """

    resumed_at = _MIDDLE
    with_state = True
    dtype = torch.float32

    def before_step(self) -> None:
        """Resume."""
        if self.step == self.resumed_at:
            state = self.optimizer.state_dict() if self.with_state else None
            self.end()
            self.model.to(self.dtype)
            self.begin(self.step - 1, state)


class ResumedNearTheEnd(Resumed):
    """The same, when most is learned already."""

    resumed_at = _NEAR_THE_END


class ResumedWithoutState(ResumedNearTheEnd):
    """The checkpoint holds the weights alone."""

    with_state = False


class ResumedInBfloat16(Resumed):
    """The weights get another type before the state is loaded, which is cast to it."""

    dtype = torch.bfloat16


class StateLoadedAtEveryStep(Training):
    """From the middle on the optimizer's state is that of a checkpoint before every step."""

    _checkpoint: Mapping[str, Any]

    def before_step(self) -> None:
        """Load it."""
        if self.step == _MIDDLE:
            self._checkpoint = copy.deepcopy(self.optimizer.state_dict())
        if self.step >= _MIDDLE:
            # What is loaded is not copied, and the step changes it.
            self.optimizer.load_state_dict(copy.deepcopy(dict(self._checkpoint)))


# --- weights --------------------------------------------------------------------------------------


class DeadLayer(Training):
    """From the start no unit of the second layer is ever active."""

    def change_weights(self) -> None:
        """Push its units below zero."""
        second = self.model[2]
        assert isinstance(second, nn.Linear)
        second.bias.fill_(-30.0)
