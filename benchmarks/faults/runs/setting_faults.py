"""Wrong settings of the optimizer, and wrong schedules."""

from __future__ import annotations

from faults.runs.fault import Fault, changed
from faults.runs.faulty_loops import MIDDLE, BurstOfGradients, LearningRateJumps, TinyLoss
from faults.runs.fitting_tasks import trains_in_float16


def hyperparameters() -> list[Fault]:
    decayed = ("lr_decayed_early",)
    epsilon = ("eps_dominates", "eps_influences")
    decay = ("weight_decay_too_strong",)
    l2 = (*decay, "l2_in_adam")
    return [
        Fault(
            "learning rate jumped", "adamw x100", ("lr_jump",), 2, training=LearningRateJumps,
            begins=MIDDLE,
        ),
        Fault(
            "learning rate jumped", "sgd x100", ("lr_jump",), 1, changed("sgd"), LearningRateJumps,
            begins=MIDDLE,
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
            changed("adam", precision="float16 weights"), fits=trains_in_float16,
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
