"""Learning rates that are too high or too low, in several ways, by much or by little."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from faults.runs.fault import Fault, changed
from faults.runs.settings import Settings
from faults.tasks.task import Series, Task

_HIGH, _LOW = ("lr_too_high", "loss_blowup"), ("lr_too_low",)


def too_high() -> list[Fault]:
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


def too_low() -> list[Fault]:
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


def in_new_ways() -> list[Fault]:
    """Faults with an optimizer, a schedule or a length for which thresholds were not tuned."""
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


def mild() -> list[Fault]:
    """Learning rates that are off by at most a factor of 10, which may do no harm."""
    factors = {"3 times too high": 3.0, "10 times too high": 10.0}
    factors |= {"3 times too low": 1 / 3, "10 times too low": 0.1}
    return [
        Fault(
            f"learning rate {how}", "adamw", _HIGH if factor > 1 else _LOW, 3,
            changed(learning_rate_factor=factor), counted=False,
        )
        for how, factor in factors.items()
    ]  # fmt: skip
