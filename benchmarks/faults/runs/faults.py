"""Faults to plant: what people do wrong, in a run that would otherwise be well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from faults.runs.settings import Settings, usual_settings
from faults.tasks.tasks import Series, Task
from faults.runs.training import Training

# When something happens in the middle of a run: after this share of its steps.
_MIDDLE = 0.5


@dataclass(frozen=True)
class Fault:
    """One way to spoil a run.

    Attributes:
        kind: What is wrong, a row of the table.
        variant: How, and with which optimizer.
        rules: Ids of the rules that name it; empty where no rule claims to.
        runs: In how many tasks of each of the first three series it is planted; the fourth has a
            multiple of it, and what is not counted in all tasks.
        settings: How the run trains.
        training: The loop that it is planted in.
        begins: The share of the steps after which it is there.
        fits: In which tasks it can be planted.
        series: Of tasks, in which it is planted.
        counted: Whether it enters the totals and the table by rule. What is mild does not: nobody
            need be told of it, and its rows say how often somebody is.
    """

    kind: str
    variant: str
    rules: tuple[str, ...]
    runs: int
    settings: Callable[[Task], Settings] = usual_settings
    training: type[Training] = Training
    begins: float = 0.0
    fits: Callable[[Task], bool] = lambda _: True
    series: tuple[Series, ...] = (1, 2, 3, 4)
    counted: bool = True


def changed(optimizer: str = "adamw", **changes: Any) -> Callable[[Task], Settings]:
    """Return what makes the usual settings of a task with these changes.

    Args:
        optimizer: Its name.
        **changes: Fields of :class:`Settings`; ``learning_rate_factor`` multiplies the usual one.
    """
    factor = changes.pop("learning_rate_factor", 1.0)

    def make(task: Task) -> Settings:
        usual = usual_settings(task, optimizer, changes.get("beta1", 0.9))
        return replace(usual, learning_rate=usual.learning_rate * factor, **changes)

    return make


# --- loops with a fault ---------------------------------------------------------------------------


class LearningRateJumps(Training):
    """From the middle on the learning rate is 100 times as high."""

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
    """One batch in the middle has inputs that are 100 times too large, or a loss that is."""

    def change_batch(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the batch, in the middle of the run 100 times as large if it has numbers."""
        if self.step == _after_the_middle(self) and inputs.is_floating_point():
            return inputs * 100, targets
        return inputs, targets

    def change_loss(self, loss: Tensor) -> Tensor:
        """Return the loss, in the middle of the run 100 times as large."""
        return loss * (100 if self.step == _after_the_middle(self) else 1)


class NotANumber(Training):
    """A gradient is not a number, once."""

    def unscale_gradients(self) -> None:
        """Spoil one gradient in the middle of the run."""
        super().unscale_gradients()
        if self.step == _after_the_middle(self):
            _middle_matrix(self).grad = torch.full_like(_middle_matrix(self), torch.nan)


class NoZeroGrad(Training):
    """Nobody calls zero_grad()."""

    def zero_gradients(self) -> None:
        """Do nothing."""


class StillScaled(Training):
    """The loss scale is not taken out before clipping and stepping."""

    def unscale_gradients(self) -> None:
        """Do nothing."""


class LayerLeftOut(Training):
    """The optimizer does not get one layer."""

    def parameter_groups(self) -> list[dict[str, object]]:
        """Return all parameters but those of one layer."""
        left_out = _layer_of_middle_matrix(self)
        return [{"params": [p for n, p in self.model.named_parameters() if n not in left_out]}]


class LayerFrozen(Training):
    """One layer does not need gradients."""

    def change_weights(self) -> None:
        """Freeze the layer."""
        frozen = _layer_of_middle_matrix(self)
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name not in frozen)

    def parameter_groups(self) -> list[dict[str, object]]:
        """Return the parameters that need gradients."""
        return [{"params": [p for p in self.model.parameters() if p.requires_grad]}]


class DeadLayer(Training):
    """From the start no unit of a ReLU layer is ever active."""

    share = 1.0

    def change_weights(self) -> None:
        """Push the units below zero."""
        assert self.task.relu_layer is not None
        bias = self.model.get_submodule(self.task.relu_layer).bias
        assert isinstance(bias, nn.Parameter)
        bias[: round(self.share * len(bias))] = -30.0


class DeadUnits(DeadLayer):
    """From the start most units of a ReLU layer are never active."""

    share = 0.75


class DeepSigmoid(Training):
    """A deep network with sigmoids all the way."""

    def make_model(self) -> nn.Module:
        """Make the network."""
        assert self.task.deep_sigmoid is not None
        return self.task.deep_sigmoid()


class ScaledWeights(Training):
    """The initial weights have another scale; biases and what is one-dimensional stay."""

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
    """One matrix has a learning rate that is 300 times that of the others."""

    learning_rate_factor = 300.0

    def parameter_groups(self) -> list[dict[str, object]]:
        """Return the matrix in a group of its own."""
        matrix = _middle_matrix(self)
        others = [p for p in self.model.parameters() if p is not matrix]
        alone = {"params": [matrix], "learning_rate_factor": self.learning_rate_factor}
        return [{"params": others}, alone]


class OneSlowMatrix(OneFastMatrix):
    """One matrix has a learning rate that is a thousandth of that of the others."""

    learning_rate_factor = 0.001


class ResumedWithoutState(Training):
    """In the middle training is resumed, and the optimizer's state is not loaded."""

    resumes = True

    def after_step(self) -> None:
        """Resume."""
        if self.step == _middle(self):
            self.resume(with_state=False)


class StateCleared(Training):
    """In the middle the optimizer's state is thrown away."""

    def after_step(self) -> None:
        """Throw it away."""
        if self.step == _middle(self):
            self.optimizer.state.clear()


class ResumedInBfloat16(Training):
    """In the middle training is resumed with other weights' type, which casts the state, too."""

    resumes = True

    def after_step(self) -> None:
        """Resume."""
        if self.step == _middle(self):
            self.resume(precision=torch.bfloat16)


class StepsNotCounted(Training):
    """The optimizer's step counter does not advance, so that the bias correction stays."""

    def before_step(self) -> None:
        """Set the counter back."""
        for state in self.optimizer.state.values():
            state["step"].fill_(0)


class RandomLabels(Training):
    """The targets have nothing to do with the inputs."""

    share = 1.0

    def change_batch(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the batch with targets of other examples."""
        spoiled = round(self.share * len(targets))
        order = torch.randperm(spoiled, generator=self.generator)
        return inputs, torch.cat([targets[:spoiled].flip(0)[order], targets[spoiled:]])


class NoisyLabels(RandomLabels):
    """Half of the targets have nothing to do with the inputs."""

    share = 0.5


class LossWithoutGradient(Training):
    """The loss does not depend on the weights."""

    def change_loss(self, loss: Tensor) -> Tensor:
        """Return a number that only looks like the loss."""
        return loss.detach() + 0 * loss


class WrongSign(Training):
    """The loss is made larger instead of smaller."""

    def change_loss(self, loss: Tensor) -> Tensor:
        """Return its negative."""
        return -loss


def _middle(training: Training) -> int:
    return round(_MIDDLE * training.settings.steps)


def _after_the_middle(training: Training) -> int:
    return _middle(training) + 1


def _in_second_half(training: Training) -> bool:
    return training.step > _middle(training)


def _middle_matrix(training: Training) -> nn.Parameter:
    return training.model.get_parameter(training.task.matrix)


def _layer_of_middle_matrix(training: Training) -> set[str]:
    layer = training.task.matrix.rpartition(".")[0]
    return {n for n, _ in training.model.named_parameters() if n.rpartition(".")[0] == layer}


# --- all faults -----------------------------------------------------------------------------------


def _relu(task: Task) -> bool:
    return task.relu_layer is not None


def _deep(task: Task) -> bool:
    return task.deep_sigmoid is not None


def _float16(task: Task) -> bool:
    return task.float16


def _plain(task: Task) -> bool:
    """Without layers that undo the scale of inputs or weights."""
    return task.name in _WITHOUT_NORM


_WITHOUT_NORM = {
    "mlp", "cnn", "deep_relu_mlp", "regression", "autoencoder", "deep_tanh_mlp", "dropout_cnn",
    "dropout_mlp", "coordinate_network", "convolutional_autoencoder", "signal_cnn", "deep_sets",
    "robot_arm", "spirals",
}  # fmt: skip


_HIGH, _LOW = ("lr_too_high", "loss_blowup"), ("lr_too_low",)


def _too_high() -> list[Fault]:
    cosine: dict[str, Any] = {"schedule": "cosine", "warm_up_steps": 20}
    variants: dict[str, tuple[int, Callable[[Task], Settings]]] = {
        "adamw x30": (3, changed(learning_rate_factor=30)),
        "adamw x100": (2, changed(learning_rate_factor=100)),
        "adamw x30 cosine": (2, changed(learning_rate_factor=30, **cosine)),
        "adam x30 beta2 0.95": (1, changed("adam", learning_rate_factor=30, beta2=0.95)),
        "nadam x30": (1, changed("nadam", learning_rate_factor=30)),
        "radam x100": (1, changed("radam", learning_rate_factor=100)),
        "rmsprop x100": (1, changed("rmsprop", learning_rate_factor=100)),
        "sgd x30": (2, changed("sgd", learning_rate_factor=30)),
        "adagrad x30": (1, changed("adagrad", learning_rate_factor=30)),
        "lion x30": (1, changed("lion", learning_rate_factor=30)),
    }
    return [
        Fault("learning rate too high", variant, _HIGH, runs, settings)
        for variant, (runs, settings) in variants.items()
    ]


def _too_low() -> list[Fault]:
    variants: dict[str, tuple[int, Callable[[Task], Settings]]] = {
        "adamw /100": (3, changed(learning_rate_factor=0.01)),
        "adamw /30": (3, changed(learning_rate_factor=1 / 30)),
        "adam /100 cosine": (1, changed("adam", learning_rate_factor=0.01, schedule="cosine")),
        "nadam /100": (1, changed("nadam", learning_rate_factor=0.01)),
        "radam /100": (1, changed("radam", learning_rate_factor=0.01)),
        "rmsprop /100": (1, changed("rmsprop", learning_rate_factor=0.01)),
        "sgd /100": (2, changed("sgd", learning_rate_factor=0.01)),
        "lion /100": (1, changed("lion", learning_rate_factor=0.01)),
    }
    return [
        Fault("learning rate too low", variant, _LOW, runs, settings)
        for variant, (runs, settings) in variants.items()
    ]


def _hyperparameters() -> list[Fault]:
    decayed = ("lr_decayed_early",)
    epsilon = ("eps_dominates", "eps_influences")
    decay = ("weight_decay_too_strong",)
    l2 = (*decay, "l2_in_adam")
    return [
        Fault(
            "learning rate jumped", "adamw x100", ("lr_jump",), 2, training=LearningRateJumps,
            begins=_MIDDLE,
        ),
        Fault(
            "learning rate jumped", "sgd x100", ("lr_jump",), 1, changed("sgd"), LearningRateJumps,
            begins=_MIDDLE,
        ),
        Fault(
            "learning rate decayed early", "adamw cosine over a tenth", decayed, 2,
            changed(schedule="cosine", schedule_steps=20),
        ),
        Fault(
            "learning rate decayed early", "adam cosine over a quarter", decayed, 1,
            changed("adam", schedule="cosine", schedule_steps=50),
        ),
        Fault(
            "learning rate decayed early", "sgd cosine over a tenth", decayed, 1,
            changed("sgd", schedule="cosine", schedule_steps=20),
        ),
        Fault("beta2 too low", "adamw 0.5", ("beta2_too_low",), 2, changed(beta2=0.5)),
        Fault("beta2 too low", "adam 0.1", ("beta2_too_low",), 2, changed("adam", beta2=0.1)),
        Fault("beta2 too low", "nadam 0.3", ("beta2_too_low",), 1, changed("nadam", beta2=0.3)),
        Fault(
            "beta2 too high", "adamw 0.99999 after a burst", ("stale_second_moment",), 2,
            changed(beta2=0.99999), BurstOfGradients,
        ),
        Fault("beta1 too high", "adamw 0.999", ("beta1_too_high",), 2, changed(beta1=0.999)),
        Fault("epsilon too large", "adamw 1", epsilon, 2, changed(epsilon=1.0)),
        Fault("epsilon too large", "adam 0.1", epsilon, 2, changed("adam", epsilon=0.1)),
        Fault("epsilon too large", "adamw 0.01", epsilon, 2, changed(epsilon=0.01)),
        Fault("epsilon too large", "rmsprop 1", epsilon, 1, changed("rmsprop", epsilon=1.0)),
        Fault("loss x1e-8", "adamw", epsilon, 2, training=TinyLoss),
        Fault(
            "epsilon rounds to zero", "adam 1e-8 in float16",
            ("eps_rounds_to_zero", "nonfinite", "second_moment_underflow"), 2,
            changed("adam", precision="float16 weights"), fits=_float16,
        ),
        Fault("weight decay too strong", "adamw 30", decay, 2, changed(weight_decay=30.0)),
        Fault("weight decay too strong", "adamw 10", decay, 2, changed(weight_decay=10.0)),
        Fault("L2 in Adam", "adam 0.1", l2, 2, changed("adam", weight_decay=0.1)),
        Fault("L2 in Adam", "adam 1", l2, 1, changed("adam", weight_decay=1.0)),
        Fault("clipping always", "adamw 0.01", ("clip_always",), 1, changed(clip_norm=0.01)),
        Fault(
            "clipping always", "adamw 0.01 epsilon 1e-4",
            ("clip_always", "eps_dominates", "eps_influences"), 2,
            changed(clip_norm=0.01, epsilon=1e-4),
        ),
        Fault(
            "clipping always", "sgd 0.01", ("clip_always",), 1, changed("sgd", clip_norm=0.01)
        ),
    ]  # fmt: skip


def _mistakes() -> list[Fault]:
    reset = ("state_reset",)
    return [
        Fault(
            "gradient spike", "adamw one batch x100", ("gradient_spike",), 3,
            training=OutlierBatch, begins=_MIDDLE, fits=_plain,
        ),
        Fault(
            "not finite", "adamw one gradient", ("nonfinite",), 2, training=NotANumber,
            begins=_MIDDLE,
        ),
        Fault("missing zero_grad", "adamw", ("stale_gradient",), 3, training=NoZeroGrad),
        Fault(
            "missing zero_grad", "sgd", ("stale_gradient", "loss_blowup"), 1, changed("sgd"),
            NoZeroGrad,
        ),
        Fault(
            "loss scale left in", "adamw 65536 clip 1", ("gradient_scale",), 3,
            changed(loss_scale=65536.0, clip_norm=1.0), StillScaled,
        ),
        Fault("not in optimizer", "adamw", ("not_in_optimizer",), 2, training=LayerLeftOut),
        Fault("frozen", "adamw", ("frozen",), 1, training=LayerFrozen),
        Fault("dead layer", "adamw", ("dead_units",), 2, training=DeadLayer, fits=_relu),
        Fault("dead units", "adamw 75 %", ("dead_units",), 2, training=DeadUnits, fits=_relu),
        Fault(
            "rarely used rows", "adamw", ("rare_rows",), 1, fits=lambda task: task.large_embedding
        ),
        Fault(
            "vanishing over depth", "adamw sigmoid", ("vanishing_gradient",), 2,
            training=DeepSigmoid, fits=_deep,
        ),
        Fault(
            "vanishing over depth", "sgd sigmoid", ("vanishing_gradient",), 1, changed("sgd"),
            DeepSigmoid, fits=_deep,
        ),
        Fault("initial weights large", "adamw x5", ("init_too_large",), 2, training=WeightsTimes5),
        Fault(
            "initial weights large", "adamw x15", ("init_too_large",), 1, training=WeightsTimes15
        ),
        Fault(
            "initial weights small", "adamw /100", ("init_too_small",), 2, training=WeightsOver100
        ),
        Fault("initial weights small", "adamw 0", ("init_too_small",), 1, training=ZeroWeights),
        Fault("one layer too fast", "adamw x300", ("layer_imbalance",), 2, training=OneFastMatrix),
        Fault("one layer too slow", "adamw /1000", ("layer_imbalance",), 2, training=OneSlowMatrix),
        Fault(
            "state reset", "adamw resumed without", reset, 2, training=ResumedWithoutState,
            begins=_MIDDLE,
        ),
        Fault("state reset", "adamw cleared", reset, 1, training=StateCleared, begins=_MIDDLE),
        Fault(
            "state type changed", "adamw resumed in bfloat16",
            ("state_type_changed", "lost_updates", "second_moment_frozen"), 2,
            training=ResumedInBfloat16, begins=_MIDDLE,
        ),
        Fault(
            "updates lost to rounding", "adamw bfloat16", ("lost_updates",), 2,
            changed(precision="bfloat16 weights", learning_rate_factor=0.1),
        ),
        Fault(
            "updates lost to rounding", "sgd bfloat16", ("lost_updates",), 1,
            changed("sgd", precision="bfloat16 weights", learning_rate_factor=0.1),
        ),
        Fault(
            "v underflow", "adam float16 epsilon 1e-4", ("second_moment_underflow",), 2,
            changed("adam", precision="float16 weights", epsilon=1e-4), fits=_float16,
        ),
        Fault("steps not counted", "adamw", ("step_not_counted",), 2, training=StepsNotCounted),
        Fault(
            "random labels", "adamw", ("noise_dominated", "plateau"), 3, training=RandomLabels
        ),
        Fault("noisy labels", "adamw half", (), 1, training=NoisyLabels),
        Fault("no gradient", "adamw", ("no_gradient",), 1, training=LossWithoutGradient),
        Fault("wrong sign", "adamw", (), 1, training=WrongSign),
    ]  # fmt: skip


def _in_new_ways() -> list[Fault]:
    """Faults with an optimizer, a schedule or a length that thresholds were not tuned on."""
    new: tuple[Series, ...] = (3, 4)
    return [
        Fault(
            "learning rate too high", "adamax x30", _HIGH, 1,
            changed("adamax", learning_rate_factor=30), series=new,
        ),
        Fault(
            "learning rate too high", "adamw x30 linear", _HIGH, 2,
            changed(learning_rate_factor=30, schedule="linear", warm_up_steps=20), series=new,
        ),
        Fault(
            "learning rate too low", "adamax /100", _LOW, 1,
            changed("adamax", learning_rate_factor=0.01), series=new,
        ),
        Fault(
            "learning rate too low", "adamw /100 long", _LOW, 2,
            lambda task: changed(learning_rate_factor=0.01, steps=2 * task.steps)(task), series=new,
        ),
    ]  # fmt: skip


def _mild() -> list[Fault]:
    """Learning rates that are off by no more than a factor of 10, which may do no harm."""
    factors = {"3 times too high": 3.0, "10 times too high": 10.0}
    factors |= {"3 times too low": 1 / 3, "10 times too low": 0.1}
    return [
        Fault(
            f"learning rate {how}", "adamw", _HIGH if factor > 1 else _LOW, 3,
            changed(learning_rate_factor=factor), counted=False,
        )
        for how, factor in factors.items()
    ]  # fmt: skip


# What is added later comes last: the seeds of what was there before stay what they are.
FAULTS: tuple[Fault, ...] = (
    *_too_high(), *_too_low(), *_hyperparameters(), *_mistakes(), *_in_new_ways(), *_mild(),
)  # fmt: skip
