"""Training loops with a fault."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from faults.runs.training import Training

# For events in the middle of a run: after this share of its steps.
MIDDLE = 0.5


class LearningRateJumps(Training):
    """The learning rate jumps by a factor of 100 halfway through."""

    def learning_rate(self) -> float:
        """Return the learning rate of this step."""
        return super().learning_rate() * (100 if _in_second_half(self) else 1)


class BurstOfGradients(Training):
    """The first batches have inputs that are too large, which v does not forget."""

    def change_loss(self, loss: Tensor) -> Tensor:
        """Return the loss, 1,000 times as large in the first steps."""
        return loss * (1000 if self.step <= 10 else 1)


class TinyLoss(Training):
    """The loss is divided by far too much."""

    def change_loss(self, loss: Tensor) -> Tensor:
        """Return the loss, 1e-8 of it."""
        return loss * 1e-8


class OutlierBatch(Training):
    """One batch halfway through has inputs, or a loss, that are 100 times too large."""

    def change_batch(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the batch, multiplied by 100 halfway through the run if it is numeric."""
        if self.step == _after_the_middle(self) and inputs.is_floating_point():
            return inputs * 100, targets
        return inputs, targets

    def change_loss(self, loss: Tensor) -> Tensor:
        """Return the loss, multiplied by 100 halfway through the run."""
        return loss * (100 if self.step == _after_the_middle(self) else 1)


class NotANumber(Training):
    """One gradient is NaN, once."""

    def unscale_gradients(self) -> None:
        """Spoil one gradient halfway through the run."""
        super().unscale_gradients()
        if self.step == _after_the_middle(self):
            _middle_matrix(self).grad = torch.full_like(_middle_matrix(self), torch.nan)


class NoZeroGrad(Training):
    """zero_grad() is never called."""

    def zero_gradients(self) -> None:
        """Do nothing."""


class StillScaled(Training):
    """The loss is not unscaled before clipping and stepping."""

    def unscale_gradients(self) -> None:
        """Do nothing."""


class LayerLeftOut(Training):
    """The optimizer does not get one layer."""

    def parameter_groups(self) -> list[dict[str, object]]:
        """Return all parameters except those of one layer."""
        left_out = _layer_of_middle_matrix(self)
        return [{"params": [p for n, p in self.model.named_parameters() if n not in left_out]}]


class LayerFrozen(Training):
    """One layer requires no gradients."""

    def change_weights(self) -> None:
        """Freeze the layer."""
        frozen = _layer_of_middle_matrix(self)
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name not in frozen)

    def parameter_groups(self) -> list[dict[str, object]]:
        """Return the parameters that need gradients."""
        return [{"params": [p for p in self.model.parameters() if p.requires_grad]}]


class DeadLayer(Training):
    """No unit of a ReLU layer is ever active, from the start."""

    share = 1.0

    def change_weights(self) -> None:
        """Push the units below zero."""
        assert self.task.relu_layer is not None
        bias = self.model.get_submodule(self.task.relu_layer).bias
        assert isinstance(bias, nn.Parameter)
        bias[: round(self.share * len(bias))] = -30.0


class DeadUnits(DeadLayer):
    """Most units of a ReLU layer are never active, from the start."""

    share = 0.75


class DeepSigmoid(Training):
    """A deep network with sigmoids everywhere."""

    def make_model(self) -> nn.Module:
        """Make the network."""
        assert self.task.deep_sigmoid is not None
        return self.task.deep_sigmoid()


class ScaledWeights(Training):
    """The initial weights have another scale; biases and other vectors are unchanged."""

    factor = 1.0

    def change_weights(self) -> None:
        """Scale them."""
        for parameter in self.model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(self.factor)


class WeightsTimes5(ScaledWeights):
    """The initial weights are 5 times too large."""

    factor = 5.0


class WeightsTimes15(ScaledWeights):
    """The initial weights are 15 times too large."""

    factor = 15.0


class WeightsOver100(ScaledWeights):
    """The initial weights are 100 times too small."""

    factor = 0.01


class ZeroWeights(ScaledWeights):
    """The initial weights are zero."""

    factor = 0.0


class OneFastMatrix(Training):
    """One matrix has a learning rate 300 times that of the others."""

    learning_rate_factor = 300.0

    def parameter_groups(self) -> list[dict[str, object]]:
        """Return the matrix in a separate group."""
        matrix = _middle_matrix(self)
        others = [p for p in self.model.parameters() if p is not matrix]
        alone = {"params": [matrix], "learning_rate_factor": self.learning_rate_factor}
        return [{"params": others}, alone]


class OneSlowMatrix(OneFastMatrix):
    """One matrix has a thousandth of the others' learning rate."""

    learning_rate_factor = 0.001


class ResumedWithoutState(Training):
    """Training is resumed halfway through, without loading the optimizer's state."""

    resumes = True

    def after_step(self) -> None:
        """Resume training."""
        if self.step == _middle(self):
            self.resume(with_state=False)


class StateCleared(Training):
    """The optimizer's state is discarded halfway through."""

    def after_step(self) -> None:
        """Discard the state."""
        if self.step == _middle(self):
            self.optimizer.state.clear()


class ResumedInBfloat16(Training):
    """Training is resumed halfway through with another weight type, which also casts the state."""

    resumes = True

    def after_step(self) -> None:
        """Resume training."""
        if self.step == _middle(self):
            self.resume(precision=torch.bfloat16)


class StepsNotCounted(Training):
    """The optimizer's step counter does not advance, so the bias correction stays."""

    def before_step(self) -> None:
        """Set the counter back."""
        for state in self.optimizer.state.values():
            state["step"].fill_(0)


class RandomLabels(Training):
    """The targets are unrelated to the inputs."""

    share = 1.0

    def change_batch(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the batch with targets of other examples."""
        spoiled = round(self.share * len(targets))
        order = torch.randperm(spoiled, generator=self.generator)
        return inputs, torch.cat([targets[:spoiled].flip(0)[order], targets[spoiled:]])


class NoisyLabels(RandomLabels):
    """Half of the targets are unrelated to the inputs."""

    share = 0.5


class LossWithoutGradient(Training):
    """The loss does not depend on the weights."""

    def change_loss(self, loss: Tensor) -> Tensor:
        """Return a number that only looks like the loss."""
        return loss.detach() + 0 * loss


class WrongSign(Training):
    """The loss is maximized instead of minimized."""

    def change_loss(self, loss: Tensor) -> Tensor:
        """Return its negative."""
        return -loss


def _middle(training: Training) -> int:
    return round(MIDDLE * training.settings.steps)


def _after_the_middle(training: Training) -> int:
    return _middle(training) + 1


def _in_second_half(training: Training) -> bool:
    return training.step > _middle(training)


def _middle_matrix(training: Training) -> nn.Parameter:
    return training.model.get_parameter(training.task.matrix)


def _layer_of_middle_matrix(training: Training) -> set[str]:
    layer = training.task.matrix.rpartition(".")[0]
    return {n for n, _ in training.model.named_parameters() if n.rpartition(".")[0] == layer}
