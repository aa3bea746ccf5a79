"""Small training runs, each with one fault and again with the fix, to show the fault's effect."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from . import mistakes as mistakes
from .training import STEPS, Settings, train


@dataclass(frozen=True)
class Demonstration:
    """A fault.

    Attributes:
        name: Name of the run's folder.
        title: What is wrong.
        rule: Id of the rule that finds it.
        fault: Settings of the run with the fault.
        change: What the fix changes in the user's code.
        fix: Settings of the fixed run.
    """

    name: str
    title: str
    rule: str
    fault: Settings
    change: str
    fix: Settings = field(default_factory=Settings)


_SPIKE = Settings(training=mistakes.OutlierBatch)
# torch's default.
_BETAS = Settings(betas=(0.9, 0.999))
_CLIPPED_SGD = Settings(lr=0.1, momentum=0.9, training=mistakes.NormRecorded)
_TANH = Settings(momentum=0.9, activation=nn.Tanh)

# All demonstrations, by theme.
THEMES: dict[str, tuple[Demonstration, ...]] = {
    "Learning rate": (
        Demonstration(
            "learning_rate_too_high", "The learning rate is too high", "lr_too_high",
            Settings(lr=0.3), "lr=3e-3 instead of 0.3",
        ),
        Demonstration(
            "learning_rate_too_low", "The learning rate is too low", "lr_too_low",
            Settings(lr=3e-5), "lr=3e-3 instead of 3e-5",
        ),
        Demonstration(
            "learning_rate_jumped", "The learning rate jumps in the middle of the run", "lr_jump",
            Settings(training=mistakes.LearningRateJumps),
            "the scheduler no longer sets it to 100 times its value",
        ),
        Demonstration(
            "learning_rate_decayed_early", "The schedule ends after a quarter of the run",
            "lr_decayed_early",
            Settings(schedule_steps=STEPS // 4),
            "total_iters=320, the steps of the run, instead of 80 in LinearLR",
            Settings(schedule_steps=STEPS),
        ),
        Demonstration(
            "loss_blew_up", "SGD diverges after a good start", "loss_blowup",
            replace(_TANH, lr=0.5), "lr=0.05 instead of 0.5", replace(_TANH, lr=0.05),
        ),
    ),
    "Gradients": (
        Demonstration(
            "gradient_spike", "One batch is a hundred times as large as the others",
            "gradient_spike",
            _SPIKE, "gradients clipped to a norm of 1", replace(_SPIKE, max_norm=1.0),
        ),
        Demonstration(
            "missing_value", "One input of one batch is not a number", "nonfinite",
            Settings(training=mistakes.MissingValue), "inputs.nan_to_num() before the forward pass",
            Settings(training=mistakes.MissingValueFilled),
        ),
        Demonstration(
            "gradients_add_up", "Gradients are never zeroed", "stale_gradient",
            Settings(training=mistakes.GradientsAddUp), "optimizer.zero_grad() before each step",
        ),
        Demonstration(
            "no_gradient", "The forward pass runs under no_grad()", "no_gradient",
            Settings(training=mistakes.OutputsDetached),
            "neither no_grad() around the forward pass nor the requires_grad_() on the outputs "
            "that silences the error of backward()",
        ),
        Demonstration(
            "gradients_still_scaled", "Scaled gradients are clipped", "gradient_scale",
            Settings(max_norm=3.0, training=mistakes.LossScaled),
            "scaler.unscale_(optimizer) before clip_grad_norm_()",
            Settings(max_norm=3.0, training=mistakes.GradientsUnscaled),
        ),
        Demonstration(
            "every_step_clipped", "Clipping makes every gradient of SGD small", "clip_always",
            replace(_CLIPPED_SGD, max_norm=0.01), "max_norm=1 instead of 0.01",
            replace(_CLIPPED_SGD, max_norm=1.0),
        ),
        Demonstration(
            "vanishing_gradients", "Sigmoids let gradients vanish", "vanishing_gradient",
            Settings(activation=nn.Sigmoid), "ReLU instead of Sigmoid",
        ),
    ),
    "Settings of Adam": (
        Demonstration(
            "beta1_too_high", "beta1 is too high", "beta1_too_high",
            Settings(betas=(0.999, 0.999)), "betas=(0.9, 0.999) instead of (0.999, 0.999)", _BETAS,
        ),
        Demonstration(
            "beta2_too_low", "beta2 is too low", "beta2_too_low",
            Settings(lr=1e-3, betas=(0.9, 0.5)), "betas=(0.9, 0.99) instead of (0.9, 0.5)",
            Settings(lr=1e-3),
        ),
        Demonstration(
            "epsilon_too_large", "ε is larger than √v̂", "eps_dominates",
            Settings(eps=0.1), "eps=1e-8 instead of 0.1",
        ),
        Demonstration(
            "epsilon_felt", "ε is nearly as large as √v̂", "eps_influences",
            Settings(eps=1e-3), "eps=1e-8 instead of 1e-3",
        ),
        Demonstration(
            "weight_decay_too_strong", "Weight decay is too strong", "weight_decay_too_strong",
            Settings(weight_decay=10.0), "weight_decay=1e-2 instead of 10",
        ),
    ),
    "The optimizer and its state": (
        Demonstration(
            "layer_left_out", "The optimizer does not get one layer", "not_in_optimizer",
            Settings(training=mistakes.LayerLeftOut), "the optimizer gets model.parameters()",
        ),
        Demonstration(
            "state_lost", "Training is resumed without the optimizer's state", "state_reset",
            Settings(training=mistakes.ResumedWithoutState),
            "optimizer.load_state_dict() where the weights are loaded",
            Settings(training=mistakes.ResumedNearTheEnd),
        ),
        Demonstration(
            "state_loaded_at_every_step", "A checkpoint's state is loaded before every step",
            "step_not_counted",
            Settings(training=mistakes.StateLoadedAtEveryStep),
            "optimizer.load_state_dict() once, before the loop",
            Settings(training=mistakes.Resumed),
        ),
        Demonstration(
            "type_changed", "Training is resumed in bf16", "state_type_changed",
            Settings(lr=2e-4, training=mistakes.ResumedInBfloat16), "resumed in float32",
            Settings(lr=2e-4, training=mistakes.Resumed),
        ),
    ),
    "Low precision": (
        Demonstration(
            "updates_lost", "Weights in bf16 lose their updates", "lost_updates",
            Settings(lr=2e-4, dtype=torch.bfloat16), "weights in float32",
            Settings(lr=2e-4),
        ),
        Demonstration(
            "epsilon_rounds_to_zero", "ε is 0 in float16", "eps_rounds_to_zero",
            Settings(dtype=torch.float16), "weights and state in float32",
        ),
        Demonstration(
            "second_moment_underflows", "float16 cannot hold the squares of gradients",
            "second_moment_underflow",
            Settings(eps=1e-4, dtype=torch.float16), "weights and state in float32",
            Settings(eps=1e-4),
        ),
    ),
    "Weights and units": (
        Demonstration(
            "initial_weights_too_large", "Initial weights are too large", "init_too_large",
            Settings(gain=8.0), "the usual initial weights",
        ),
        Demonstration(
            "initial_weights_too_small", "Initial weights are too small", "init_too_small",
            Settings(gain=0.01), "the usual initial weights",
        ),
        Demonstration(
            "dead_units", "No unit of a ReLU layer is ever active", "dead_units",
            Settings(weight_decay=0.0, training=mistakes.DeadLayer), "the bias begins near 0",
            Settings(weight_decay=0.0),
        ),
    ),
}  # fmt: skip

DEMONSTRATIONS = tuple(shown for theme in THEMES.values() for shown in theme)


def train_both(demonstration: Demonstration, folder: Path) -> tuple[float, float]:
    """Train with the fault into ``folder/fault`` and with the fix into ``folder/fixed``.

    Returns:
        The mean loss of the last 20 steps of each.

    Raises:
        OSError: If the folder cannot be written.
    """
    return train(demonstration.fault, folder / "fault"), train(demonstration.fix, folder / "fixed")
