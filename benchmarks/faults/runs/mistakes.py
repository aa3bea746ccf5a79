"""Mistakes in the loop, the network, the data or the number types."""

from __future__ import annotations

from faults.runs.fault import Fault, changed
from faults.runs.faulty_loops import (
    MIDDLE,
    DeadLayer,
    DeadUnits,
    DeepSigmoid,
    LayerFrozen,
    LayerLeftOut,
    LossWithoutGradient,
    NoisyLabels,
    NotANumber,
    NoZeroGrad,
    OneFastMatrix,
    OneSlowMatrix,
    OutlierBatch,
    RandomLabels,
    ResumedInBfloat16,
    ResumedWithoutState,
    StateCleared,
    StepsNotCounted,
    StillScaled,
    WeightsOver100,
    WeightsTimes5,
    WeightsTimes15,
    WrongSign,
    ZeroWeights,
)
from faults.runs.fitting_tasks import has_relu_layer, is_deep, is_without_norm, trains_in_float16


def mistakes() -> list[Fault]:
    reset = ("state_reset",)
    return [
        Fault(
            "gradient spike", "adamw one batch x100", ("gradient_spike",), 3,
            training=OutlierBatch, begins=MIDDLE, fits=is_without_norm,
        ),
        Fault(
            "not finite", "adamw one gradient", ("nonfinite",), 2, training=NotANumber,
            begins=MIDDLE,
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
        Fault("dead layer", "adamw", ("dead_units",), 2, training=DeadLayer, fits=has_relu_layer),
        Fault(
            "dead units", "adamw 75 %", ("dead_units",), 2, training=DeadUnits, fits=has_relu_layer
        ),
        Fault(
            "rarely used rows", "adamw", ("rare_rows",), 1, fits=lambda task: task.large_embedding
        ),
        Fault(
            "vanishing over depth", "adamw sigmoid", ("vanishing_gradient",), 2,
            training=DeepSigmoid, fits=is_deep,
        ),
        Fault(
            "vanishing over depth", "sgd sigmoid", ("vanishing_gradient",), 1, changed("sgd"),
            DeepSigmoid, fits=is_deep,
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
            begins=MIDDLE,
        ),
        Fault("state reset", "adamw cleared", reset, 1, training=StateCleared, begins=MIDDLE),
        Fault(
            "state type changed", "adamw resumed in bfloat16",
            ("state_type_changed", "lost_updates", "second_moment_frozen"), 2,
            training=ResumedInBfloat16, begins=MIDDLE,
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
            changed("adam", precision="float16 weights", epsilon=1e-4), fits=trains_in_float16,
        ),
        Fault("steps not counted", "adamw", ("step_not_counted",), 2, training=StepsNotCounted),
        Fault(
            "random labels", "adamw", ("noise_dominated", "plateau"), 3, training=RandomLabels
        ),
        Fault("noisy labels", "adamw half", (), 1, training=NoisyLabels),
        Fault("no gradient", "adamw", ("no_gradient",), 1, training=LossWithoutGradient),
        Fault("wrong sign", "adamw", (), 1, training=WrongSign),
    ]  # fmt: skip
