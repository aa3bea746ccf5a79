"""Trainings with Adam, and an independent Adam in float64 to compare them with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference_adam
import torch
from recorded_run import RecordedRun
from reference_adam import Hyperparameters, Step, run_adam
from torch import Tensor, nn

from tb_adam_plugin import schema
from tb_adam_plugin.callback import AdamDebugCallback

STEPS = 5
SHAPES: dict[str, tuple[int, ...]] = {
    "matrix": (40, 33),
    "vector": (300,),
    "filter": (8, 3, 5, 5),
    "scalar": (),
}
# The groups differ in all numbers, so a number of one cannot pass for that of the other.
FIRST = Hyperparameters(lr=3e-3, beta1=0.9, beta2=0.99, eps=1e-6)
SECOND = Hyperparameters(lr=1e-2, beta1=0.8, beta2=0.999, eps=1e-4)
GROUP = {"matrix": FIRST, "vector": SECOND, "filter": FIRST, "scalar": SECOND}

DECAYS: dict[str, dict[str, Any]] = {
    "no weight decay": {"weight_decay": 0.0},
    "coupled weight decay": {"weight_decay": 0.1, "decoupled": False},
    "decoupled weight decay": {"weight_decay": 0.3, "decoupled": True},
}
IMPLEMENTATIONS: dict[str, dict[str, Any]] = {
    "for-loop": {"foreach": False},
    "foreach": {"foreach": True},
    "fused": {"fused": True},
}


def make_parameters(dtype: torch.dtype = torch.float32) -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(1)
    return {
        name: nn.Parameter(torch.randn(shape, generator=generator).mul(0.3).to(dtype))
        for name, shape in SHAPES.items()
    }


def make_gradients() -> dict[str, list[Tensor]]:
    """Gradients of STEPS steps over seven decades, with zeros, some of them at every step."""
    generator = torch.Generator().manual_seed(2)
    gradients: dict[str, list[Tensor]] = {}
    for name, shape in SHAPES.items():
        scale = 10 ** (torch.rand(shape, generator=generator) * 7 - 8)
        never = torch.rand(shape, generator=generator) < 0.1
        gradients[name] = []
        for _ in range(STEPS):
            gradient = torch.randn(shape, generator=generator) * scale + 0.3 * scale
            missing = never | (torch.rand(shape, generator=generator) < 0.1)
            if len(shape) > 1:
                missing[torch.rand(shape[0], generator=generator) < 0.2] = True
            gradients[name].append(gradient.masked_fill(missing, 0) if shape else gradient)
    return gradients


def make_optimizer(
    parameters: dict[str, nn.Parameter],
    first: Hyperparameters,
    second: Hyperparameters,
    number: Callable[[float], Any] = float,
    **options: Any,
) -> torch.optim.Optimizer:
    groups = [
        {
            "params": [p for name, p in parameters.items() if GROUP[name] is key],
            "lr": number(h.lr),
            "betas": (number(h.beta1), number(h.beta2)),
            "eps": h.eps,
            "weight_decay": h.weight_decay,
        }
        for key, h in ((FIRST, first), (SECOND, second))
    ]
    optimizer = torch.optim.AdamW if first.decoupled else torch.optim.Adam
    return optimizer(groups, amsgrad=first.amsgrad, maximize=first.maximize, **options)


def train(
    folder: Path,
    parameters: dict[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    gradients: dict[str, list[Tensor]],
    **options: Any,
) -> dict[str, list[np.ndarray[Any, Any]]]:
    """Take STEPS recorded steps; return the weights before each step and after the last."""
    weights: dict[str, list[np.ndarray[Any, Any]]] = {name: [] for name in parameters}

    def keep() -> None:
        for name, parameter in parameters.items():
            weights[name].append(parameter.detach().double().numpy().copy())

    debug = AdamDebugCallback(
        parameters.items(), optimizer, log_dir=folder, every_n_steps=1, on_error="raise", **options
    )
    with debug:
        for step in range(STEPS):
            keep()
            for name, parameter in parameters.items():
                parameter.grad = gradients[name][step].to(parameter.dtype)
            debug.record(loss=loss_of(step + 1))
            optimizer.step()
    keep()
    return weights


def loss_of(step: int) -> float:
    """An arbitrary number: training continues with the gradients that it is given."""
    return -0.3 / step


def check(
    run: RecordedRun,
    weights: dict[str, list[np.ndarray[Any, Any]]],
    gradients: dict[str, list[Tensor]],
    hyperparameters: tuple[Hyperparameters, Hyperparameters],
    tolerance: float,
) -> None:
    chosen = dict(zip((FIRST, SECOND), hyperparameters, strict=True))
    for name in SHAPES:
        reference = run_adam(
            weights[name][0],
            [gradient.double().numpy() for gradient in gradients[name]],
            chosen[GROUP[name]],
        )
        for step, ideal in enumerate(reference, 1):
            recorded = run.of(step, name)
            # The actual effect of the step, to the last bit of the weights.
            applied = replace(
                ideal, weight_before=weights[name][step - 1], weight=weights[name][step]
            )
            compare(recorded, applied, OF_UPDATE, tolerance / 10)
            # The intended effect. Decay and update each round a float32 weight by half an ulp, at
            # most 2^-24 of it.
            update = reference_adam.rms(ideal.weight - ideal.weight_before)
            rounding = 2 * 2**-24 * np.abs(ideal.weight).max() / update
            compare(recorded, ideal, OF_UPDATE - ROUNDED, tolerance + rounding)
            compare(recorded, ideal, recorded.keys() - OF_UPDATE, tolerance)


# Dominated by the rounding of a weight: a tiny update may be lost, and the largest one be rounded.
ROUNDED = {
    "unchanged_fraction", "update_absmax", "lost_update_fraction", "update_rounding_error"
}  # fmt: skip
OF_UPDATE = {"update_to_weight_ratio", "update_rms", "update_weight_cosine", *ROUNDED}
# Sums of values that cancel: the error is relative to the largest, not to the result.
COSINES = {name for name in schema.STATISTIC_BY_NAME if name.endswith("cosine")}


def compare(recorded: dict[str, float], step: Step, names: Iterable[str], tolerance: float) -> None:
    expected = reference_adam.statistics(step, loss_of(step.t))
    assert recorded.keys() == expected.keys() == schema.STATISTIC_BY_NAME.keys()
    for name in names:
        relative, absolute = tolerance, 3 * tolerance if name in COSINES else 1e-30
        if name == "update_rounding_error":  # a difference of nearly equal numbers
            relative, absolute = 0.1, 1e-6
        if name == "second_moment_flicker":  # v before is v without this gradient's share
            relative = 10 * tolerance
        assert recorded[name] == pytest.approx(
            expected[name], rel=relative, abs=absolute, nan_ok=True
        ), f"{name} at step {step.t}"
