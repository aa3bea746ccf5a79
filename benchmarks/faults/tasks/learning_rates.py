"""Suitable learning rates of the optimizers for each task."""

from __future__ import annotations

from collections.abc import Mapping

from faults.tasks.task import SGD_WITHOUT_MOMENTUM

# A learning rate that often suits an optimizer, relative to Adam's.
_OVER_ADAM = {
    "adam": 1.0, "adamw": 1.0, "amsgrad": 1.0, "nadam": 1.0, "radam": 1.0, "rmsprop": 0.3,
    "adagrad": 5.0, "lion": 0.3, "adamax": 2.0,
}  # fmt: skip


def multiples(adam: float, sgd: float) -> Mapping[str, float]:
    """Return the learning rates of the first three series.

    Args:
        adam: The best of 1e-4, 3e-4, 1e-3 ... 3e-2 over 300 steps with a constant schedule, or the
            next lower if that is almost as good. Others have a fixed multiple of it.
        sgd: The same for SGD with momentum 0.9; also used without momentum.
    """
    scaled = {optimizer: adam * factor for optimizer, factor in _OVER_ADAM.items()}
    return scaled | {"sgd": sgd, SGD_WITHOUT_MOMENTUM: sgd}


def scanned(adamw: float, **others: float) -> Mapping[str, float]:
    """Return the learning rates of the fourth series, as chosen by :mod:`.scan`.

    Optimizers that at best cover less than 0.8 of the best optimizer's way are left out: SGD
    without momentum in signal_cnn (0.66) and deep_sets (0.799); SGD (0.46) and SGD without momentum
    (0.40) in bag_of_trigrams. Nobody would use them there, and their runs would not be controls. In
    matrix_factorization, Lion (0.68), SGD (0.75) and SGD without momentum (0.78) were left out when
    it had half the batch and half the steps, too few for falling schedules. With its current steps
    they would qualify.
    """
    if "sgd_without_momentum" in others:
        others[SGD_WITHOUT_MOMENTUM] = others.pop("sgd_without_momentum")
    return {"adamw": adamw, "adam": adamw, "amsgrad": adamw, **others}
