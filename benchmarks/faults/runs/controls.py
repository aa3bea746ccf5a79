"""Healthy runs: normal variations, none of which is a fault."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from faults.runs.fault import changed
from faults.runs.settings import Settings, usual_settings
from faults.runs.training import Training
from faults.tasks.task import Series, Task


@dataclass(frozen=True)
class Control:
    """One way to train well.

    Attributes:
        variant: How, and with which optimizer.
        settings: How the run trains.
        training: The loop, if it is not the plain one.
        runs: Number of tasks of each of the first three series; in the fourth it is in all.
        series: Series of tasks with such a run.
        left_out: Names of tasks that it trains badly, judged by the losses alone (P below 0.8).
    """

    variant: str
    settings: Callable[[Task], Settings] = usual_settings
    training: type[Training] = Training
    runs: int = 6
    series: tuple[Series, ...] = (1, 2, 3, 4)
    left_out: tuple[str, ...] = ()


class Resumed(Training):
    """Training is resumed halfway through, with the optimizer's state."""

    resumes = True

    def after_step(self) -> None:
        """Resume training."""
        if self.step == self.settings.steps // 2:
            self.resume()


class NoisyInputs(Training):
    """Numeric inputs are augmented with noise."""

    def change_batch(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the batch with noise."""
        if not inputs.is_floating_point():
            return inputs, targets
        return inputs + 0.1 * inputs.new_empty(inputs.shape).normal_(), targets


def _with_small_batch(task: Task) -> Settings:
    # With a batch of 128, a sixteenth would be too few examples in total.
    batch_size = 8 if task.batch_size <= 64 else task.batch_size // 4
    return changed(batch_size=batch_size, learning_rate_factor=0.5)(task)


_NEW: tuple[Series, ...] = (3, 4)
# In the fourth series, determined from the losses before anything else was read. With a quarter of
# the examples too little is learned (P 0.61 to 0.73); the bag of trigrams needs its full learning
# rate for all of its steps (P 0.68 to 0.79).
_TOO_FEW_EXAMPLES = (
    "bag_of_trigrams", "pretrained_cnn", "signal_cnn", "matrix_factorization", "spirals",
)  # fmt: skip
_TOO_SLOW = ("bag_of_trigrams",)

CONTROLS: tuple[Control, ...] = (
    Control("adamw"),
    Control("adamw once more"),
    Control("adamw cosine", changed(schedule="cosine", warm_up_steps=20), left_out=_TOO_SLOW),
    Control("adamw beta2 0.95 clip 1", changed(beta2=0.95, clip_norm=1.0)),
    Control("adamw lr /2", changed(learning_rate_factor=0.5), left_out=_TOO_SLOW),
    Control("adamw weight decay 0.1", changed(weight_decay=0.1)),
    Control("adamw large batch", lambda task: changed(batch_size=4 * task.batch_size)(task)),
    Control("adamw small batch", _with_small_batch, left_out=_TOO_FEW_EXAMPLES),
    Control("adamw accumulation", changed(accumulated_batches=2)),
    Control("adamw bfloat16 autocast", changed(precision="bfloat16 autocast")),
    Control("adamw loss scale", changed(loss_scale=65536.0, clip_norm=1.0)),
    Control("adamw resumed", training=Resumed),
    Control("adam noisy inputs", changed("adam"), NoisyInputs),
    Control("adam steps", changed("adam", schedule="steps")),
    Control(
        "adam epsilon 1e-6 L2 1e-4", changed("adam", epsilon=1e-6, weight_decay=1e-4),
        left_out=_TOO_SLOW,
    ),
    Control("amsgrad", changed("amsgrad")),
    Control("nadam", changed("nadam")),
    Control("radam", changed("radam")),
    Control("rmsprop", changed("rmsprop")),
    Control("sgd", changed("sgd")),
    Control("sgd cosine", changed("sgd", schedule="cosine", warm_up_steps=20)),
    Control("adagrad", changed("adagrad")),
    Control("lion", changed("lion")),
    Control("adamw a third time", runs=10, series=_NEW),
    Control(
        "adamw linear", changed(schedule="linear", warm_up_steps=20), series=_NEW,
        left_out=_TOO_SLOW,
    ),
    Control("adamw restarts", changed(schedule="restarts"), series=_NEW),
    Control("adamw long", lambda task: changed(steps=3 * task.steps)(task), series=_NEW),
    Control("adamw beta1 0.95 beta2 0.98", changed(beta1=0.95, beta2=0.98), series=_NEW),
    Control("adamax", changed("adamax"), series=_NEW),
    Control("sgd without momentum", changed("sgd", beta1=0.0), series=_NEW),
)  # fmt: skip
