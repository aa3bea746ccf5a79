"""Optimizers of other packages and their flags, and what is known about each one's update."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from tb_adam_plugin.callback.optimizer_state.adabelief import AdaBeliefState
from tb_adam_plugin.callback.optimizer_state.ademamix import AdEMAMixState
from tb_adam_plugin.callback.optimizer_state.adopt import AdoptState
from tb_adam_plugin.callback.optimizer_state.base import OptimizerState
from tb_adam_plugin.callback.optimizer_state.bitsandbytes import (
    BitsandbytesAdamState,
    BitsandbytesAdEMAMixState,
    BitsandbytesLionState,
)
from tb_adam_plugin.callback.optimizer_state.fused_adam import (
    ApexFusedAdamState,
    DeepSpeedCPUAdamState,
    DeepSpeedFusedAdamState,
)
from tb_adam_plugin.callback.optimizer_state.lamb import LambState
from tb_adam_plugin.callback.optimizer_state.lion import LionState, TimmLionState
from tb_adam_plugin.callback.optimizer_state.measured_only import MeasuredOnly
from tb_adam_plugin.callback.optimizer_state.prodigy import ProdigyState
from tb_adam_plugin.callback.optimizer_state.schedule_free import ScheduleFreeState
from tb_adam_plugin.callback.optimizer_state.soap import SoapState
from tb_adam_plugin.callback.optimizer_state.sophia import SophiaState
from tb_adam_plugin.callback.optimizer_state.timm import AdamWLegacyState
from tb_adam_plugin.callback.optimizer_state.torchao import TorchaoAdamState
from tb_adam_plugin.callback.optimizer_state.transformers_adafactor import (
    TransformersAdafactorState,
)

# Two with at least 4096 elements, where quantized moments start: a whole number of blocks of 256,
# and a fractional one. Then small ones of every other number of dimensions.
SHAPES: tuple[tuple[int, ...], ...] = ((64, 80), (67, 65), (7,), (3, 4, 5), ())
# Settings that are twice as large in the second group.
DOUBLED = ("lr", "weight_decay")


@dataclass(frozen=True)
class Case:
    """A class with some flags.

    Attributes:
        module: Module from which users import the class.
        name: Name of the class.
        adapter: Its adapter.
        flags: Arguments of the constructor, besides parameters.
        dtype: Type of the parameters; float64 unless the package computes in float32.
        shapes: Shapes of the parameters.
        tolerance: How far the requested update may be from the applied one, as a share of its
            largest element, apart from rounding of the weight; None if unknown.
        quantization_error: How far a stored moment of a large parameter may be from its value, as a
            share of the largest element; 0 if it is not quantized.
        needs_graph: Whether the gradient itself must have a graph.
        stand_in: Whether this is not the package's own class.
    """

    module: str
    name: str
    adapter: type[OptimizerState]
    flags: Mapping[str, Any] = field(default_factory=dict)
    dtype: torch.dtype = torch.float64
    shapes: tuple[tuple[int, ...], ...] = SHAPES
    tolerance: float | None = 1e-9
    quantization_error: float = 0.0
    needs_graph: bool = False
    stand_in: bool = False

    @property
    def package(self) -> str:
        """Top-level module."""
        return self.module.partition(".")[0]

    def __str__(self) -> str:
        flags = ",".join(f"{key}={value}" for key, value in self.flags.items())
        return f"{self.package}.{self.name}({flags})"

    def parameters(self) -> list[Parameter]:
        """The parameters, always the same."""
        generator = torch.Generator().manual_seed(0)
        return [Parameter(torch.randn(s, generator=generator).to(self.dtype)) for s in self.shapes]

    def make(self, parameters: list[Parameter]) -> Optimizer:
        """Make the optimizer with two groups of the parameters."""
        kind = getattr(importlib.import_module(self.module), self.name)
        doubled = {name: 2 * self.flags[name] for name in DOUBLED if self.flags.get(name)}
        first = len(parameters) // 2 + 1
        groups = [{"params": parameters[:first]}, {"params": parameters[first:], **doubled}]
        optimizer: Optimizer = kind(groups, **self.flags)
        return optimizer

    def set_gradients(self, parameters: list[Parameter], step: int) -> None:
        """Set the parameters' gradients, different ones at every step.

        Every eighth element is 0, its neighbour close to eps. The last parameter has none at steps
        0 and 2.
        """
        generator = torch.Generator().manual_seed(step)
        loss = torch.zeros((), dtype=self.dtype)
        for p in parameters:
            scale = torch.randn(p.shape, generator=generator).to(self.dtype)
            if p.dim() > 0:
                scale.view(-1)[::8] = 0
                scale.view(-1)[1::8] *= 1e-7
            loss = loss + (scale * (p * (1 + 0.1 * step)).cos()).sum()
        gradients = torch.autograd.grad(loss, parameters, create_graph=self.needs_graph)
        for p, gradient in zip(parameters, gradients, strict=True):
            p.grad = gradient
        if step in (0, 2):
            parameters[-1].grad = None


def set_lr(optimizer: Optimizer, factor: float) -> None:
    """Multiply the learning rates, as a scheduler does."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].mul_(factor)
        elif group["lr"] is not None:
            group["lr"] *= factor


_DECAYS: tuple[dict[str, Any], ...] = (
    {},
    {"weight_decay": 0.1, "weight_decouple": True},
    {"weight_decay": 0.1, "weight_decouple": True, "fixed_decay": True, "maximize": True},
    {"weight_decay": 0.1, "weight_decouple": False, "maximize": True},
    {"weight_decay": 0.1, "weight_decouple": False, "foreach": False},
)


def _pytorch_optimizer(
    name: str,
    adapter: type[OptimizerState],
    known: tuple[dict[str, Any], ...],
    unknown: tuple[dict[str, Any], ...] = (),
    lr: float = 0.01,
    **settings: Any,
) -> list[Case]:
    return [
        Case("pytorch_optimizer", name, adapter, {"lr": lr, **flags}, tolerance=t, **settings)
        for t, all_flags in ((1e-9, known), (None, unknown))
        for flags in all_flags
    ]


_RECTIFIED: tuple[dict[str, Any], ...] = (
    {"rectify": True},
    {"rectify": True, "weight_decay": 0.1, "degenerated_to_sgd": True},
    {"rectify": True, "weight_decay": 0.1, "degenerated_to_sgd": False},
    {"rectify": True, "weight_decay": 0.1, "weight_decouple": False},
)

PYTORCH_OPTIMIZER = [
    *_pytorch_optimizer(
        "Lion",
        LionState,
        (*_DECAYS, {"betas": (0.95, 0.5)}),
        ({"use_gc": True}, {"adanorm": True}, {"cautious": True}),
    ),
    *_pytorch_optimizer(
        "Lamb",
        LambState,
        (
            *_DECAYS,
            *_RECTIFIED,
            {"adam": True},
            {"grad_averaging": False},
            {"pre_norm": True, "maximize": True},
            {"pre_norm": True, "max_grad_norm": 0.0},
            {"adam_debias": True},
            {"adanorm": True},
        ),
    ),
    *_pytorch_optimizer(
        "SophiaH",
        SophiaState,
        (*_DECAYS, {"update_period": 2, "p": 10.0}, {"hessian_distribution": "rademacher"}),
        needs_graph=True,
    ),
    *_pytorch_optimizer(
        "ADOPT",
        AdoptState,
        (*_DECAYS, {"clip_lambda": None}),
        ({"cautious": True}, {"stable_adamw": True}),
    ),
    *_pytorch_optimizer(
        "ScheduleFreeAdamW",
        ScheduleFreeState,
        (
            {},
            {"foreach": False},
            {"weight_decay": 0.1, "maximize": True},
            {"ams_bound": True},
            {"warmup_steps": 4, "r": 1.0, "weight_lr_power": 1.0},
            {"decoupling_c": 5},
        ),
    ),
    *_pytorch_optimizer(
        "Prodigy",
        ProdigyState,
        (
            *_DECAYS,
            {"foreach": True},
            {"bias_correction": True, "weight_decay": 0.1},
            {"bias_correction": True, "weight_decay": 0.1, "fixed_decay": True},
            {"safeguard_warmup": True, "growth_rate": 1.5},
            {"eps": None},
            {"eps": None, "bias_correction": True},
        ),
        lr=1.0,
    ),
    *_pytorch_optimizer(
        "AdaBelief",
        AdaBeliefState,
        (*_DECAYS, *_RECTIFIED, {"ams_bound": True}, {"adam_debias": True}, {"adanorm": True}),
    ),
    *_pytorch_optimizer(
        "AdEMAMix",
        AdEMAMixState,
        (*_DECAYS, {"t_alpha_beta3": 4.0, "alpha": 3.0}),
        ({"cautious": True}, {"stable_adamw": True}),
    ),
    *_pytorch_optimizer(
        "SOAP",
        SoapState,
        (),
        (
            {},
            {"maximize": True, "correct_bias": False},
            {"precondition_frequency": 2, "precondition_1d": True},
        ),
    ),
]

# Half the widest gap between two representable values, relative to the largest value 1.
_OF_8_BITS, _OF_FLOAT8, _OF_4_BITS = 0.008, 0.04, 0.12

TORCHAO = [
    *(
        Case(
            "torchao.optim",
            f"{name}{bits}",
            TorchaoAdamState,
            {"lr": 0.01, **flags},
            dtype=torch.float32,
            tolerance=1e-5,
            quantization_error=error,
        )
        for bits, error in (("8bit", _OF_8_BITS), ("Fp8", _OF_FLOAT8), ("4bit", _OF_4_BITS))
        for name in ("Adam", "AdamW")
        for flags in ({"weight_decay": 0.1}, {"betas": (0.8, 0.95), "eps": 1e-4})
    ),
    # amsgrad fails with quantized moments.
    Case(
        "torchao.optim",
        "Adam8bit",
        TorchaoAdamState,
        {"lr": 0.01, "weight_decay": 0.1, "amsgrad": True},
        dtype=torch.float32,
        shapes=SHAPES[2:],
        tolerance=1e-5,
    ),
]

BITSANDBYTES = [
    Case(
        "bitsandbytes.optim",
        f"{paged}{name}{bits}",
        adapter,
        {"lr": 0.01, **flags},
        dtype=torch.float32,
        tolerance=None if name + bits == "AdEMAMix8bit" else 1e-5,
        quantization_error=_OF_8_BITS if bits == "8bit" else 0.0,
    )
    for name, adapter, all_flags in (
        ("Adam", BitsandbytesAdamState, ({"weight_decay": 0.1},)),
        ("AdamW", BitsandbytesAdamState, ({}, {"betas": (0.8, 0.95), "eps": 1e-4})),
        ("Lion", BitsandbytesLionState, ({"weight_decay": 0.1},)),
        ("AdEMAMix", BitsandbytesAdEMAMixState, ({}, {"t_alpha": 4, "t_beta3": 4})),
    )
    for bits in ("8bit", "32bit", "")
    if (name, bits) != ("AdEMAMix", "32bit")  # its step fails
    for paged in ("", "Paged")
    for flags in all_flags
]

TRANSFORMERS = [
    Case("transformers.optimization", "Adafactor", TransformersAdafactorState, f, tolerance=t)
    for t, all_flags in (
        (
            1e-9,
            (
                {"beta1": 0.9, "weight_decay": 0.1},
                {"beta1": 0.9, "weight_decay": 0.1, "warmup_init": True},
                {"beta1": 0.9, "weight_decay": 0.1, "eps": (1e-30, 5.0)},
                {
                    "beta1": 0.9,
                    "weight_decay": 0.1,
                    "lr": 0.01,
                    "relative_step": False,
                    "scale_parameter": False,
                },
            ),
        ),
        (None, ({}, {"lr": 0.01, "relative_step": False})),
    )
    for f in all_flags
]

TIMM = [
    *(
        Case("timm.optim", name, adapter, {"lr": 0.01, **flags}, tolerance=t)
        for name, adapter, known, unknown in (
            (
                "AdamWLegacy",
                AdamWLegacyState,
                (
                    {},
                    {"amsgrad": True, "foreach": True},
                    {"maximize": True, "weight_decay": 0.1, "corrected_weight_decay": True},
                ),
                ({"caution": True}, {"clipping_threshold": 1.0}),
            ),
            (
                "Lion",
                TimmLionState,
                (
                    {"weight_decay": 0.1},
                    {"foreach": True},
                    {"maximize": True, "weight_decay": 0.1, "corrected_weight_decay": True},
                ),
                ({"caution": True},),
            ),
        )
        for t, all_flags in ((1e-9, known), (None, unknown))
        for flags in all_flags
    ),
    Case("timm.optim", "NAdamW", MeasuredOnly, {"lr": 0.01}, tolerance=None),
    Case("timm.optim", "MADGRAD", MeasuredOnly, {"lr": 0.01}, tolerance=None),
]

FUSED_ADAM = [
    Case("fused_adam_stand_ins", name, adapter, {"lr": 0.01, **flags}, stand_in=True)
    for name, adapter in (
        ("ApexFusedAdam", ApexFusedAdamState),
        ("DeepSpeedFusedAdam", DeepSpeedFusedAdamState),
        ("DeepSpeedCPUAdam", DeepSpeedCPUAdamState),
    )
    for flags in (
        {"weight_decay": 0.1},
        {"weight_decay": 0.1, "adam_w_mode": False, "bias_correction": False},
    )
]

CASES = [*PYTORCH_OPTIMIZER, *TORCHAO, *BITSANDBYTES, *TRANSFORMERS, *TIMM, *FUSED_ADAM]
