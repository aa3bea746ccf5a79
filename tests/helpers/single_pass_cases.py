"""Optimizers, weights and gradients whose steps are measured in both ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adadelta, Adam, Adamax, AdamW, NAdam, Optimizer, RMSprop

from tb_adam_plugin import schema
from tb_adam_plugin.callback.measure.measurement import Measured
from tb_adam_plugin.callback.measure.reduced import Reduced

SHAPES: tuple[tuple[int, ...], ...] = ((), (0, 4), (1,), (255,), (300, 17), (7, 9, 3), (3, 2050))
QUANTITIES = (*schema.QUANTITIES, *schema.OPTIONAL_QUANTITIES)

Gradients = Callable[[Sequence[Tensor], int], Sequence[Tensor | None]]


class Trial(NamedTuple):
    """A training.

    Attributes:
        optimizer: Makes the optimizer from parameters.
        parameters: Makes their values before the first step.
        gradients: Returns the gradients of a step.
        steps: How many steps to take.
        take_step: Takes one step.
        counts_on_device: Whether to treat step counts as tensors on a device.
        first_step: The callback's number of the first step.
        max_sampled: Largest number of elements to read of one parameter; None for all.
    """

    optimizer: Callable[[list[nn.Parameter]], Optimizer]
    parameters: Callable[[], list[Tensor]]
    gradients: Gradients
    steps: int = 2
    take_step: Callable[[Optimizer], object] = lambda optimizer: optimizer.step()
    counts_on_device: bool = False
    first_step: int = 1
    max_sampled: int | None = None


class Step(NamedTuple):
    """The results of one step, by torch's operations and then by the kernel.

    Attributes:
        measured: The end results.
        reduced: The inputs of these.
        refusal: Why the kernel was not used, or None.
        launches: The kernel's launches, in order.
    """

    measured: tuple[Measured, Measured]
    reduced: tuple[Reduced, Reduced]
    refusal: str | None
    launches: list[str]


def parameters_of(dtype: torch.dtype = torch.float32) -> Callable[[], list[Tensor]]:
    return lambda: [torch.randn(shape).to(dtype) for shape in SHAPES]


def random_gradients(parameters: Sequence[Tensor], step: int) -> list[Tensor | None]:
    """Some rows and some elements are zero."""
    found: list[Tensor | None] = []
    for parameter in parameters:
        gradient = torch.randn(parameter.shape) * 1e-3 * step
        if gradient.dim() > 1:
            gradient[torch.rand(len(gradient)) < 0.4] = 0
        gradient[torch.rand(gradient.shape) < 0.1] = 0
        found.append(gradient.to(parameter.dtype))
    return found


def several_layouts() -> list[Tensor]:
    return [
        torch.randn(40, 30).t(),
        torch.randn(6, 5, 7).permute(1, 2, 0),
        torch.randn(2, 3, 2100).transpose(0, 1),
        torch.randn(20, 8, 3, 3).to(memory_format=torch.channels_last),
        torch.randn(20, 64)[:, ::2],
        torch.randn(4, 1024),
    ]


def gradients_of_layouts(parameters: Sequence[Tensor], step: int) -> list[Tensor | None]:
    """The first row of a tensor is dead, and every row of the one before it is not."""
    found = random_gradients(parameters, step)
    found[2] = torch.ones(parameters[2].shape)
    assert found[3] is not None
    found[3][0] = 0
    return found


def channels_last() -> list[Tensor]:
    """Includes a parameter with rows shorter than a line."""
    return [
        torch.randn(20, 8, 3, 3).to(memory_format=torch.channels_last),
        torch.randn(900, 3),
        torch.randn(40, 30).t(),
    ]


def transposed_gradient(parameters: Sequence[Tensor], step: int) -> list[Tensor | None]:
    """From the second step on, a large parameter's gradient has another layout than its weight."""
    found = random_gradients(parameters, step)
    if step > 1:
        assert found[4] is not None
        found[4] = found[4].t().contiguous().t()
    return found


def transformer() -> list[Tensor]:
    """A miniature GPT-2: 28 tensors, a third of them sampled."""
    layer = [(72, 24), (72,), (24, 24), (24,), (96, 24), (96,), (24, 96), *5 * [(24,)]]
    return [torch.randn(shape) for shape in [(301, 24), (64, 24), *2 * layer, (24,), (24,)]]


def several_types() -> list[Tensor]:
    dtypes = [torch.float32, torch.bfloat16, torch.float16]
    return [torch.randn(shape).to(dtypes[i % 3]) for i, shape in enumerate(SHAPES)]


def extreme_values() -> list[Tensor]:
    values = torch.tensor(
        [0.0, -0.0, 1e-45, -1e-40, 1e-38, 3e-20, -1e-12, 1.0, -7.5, 4096.0, 1e19, -3e38]
    )
    return [values.repeat(20), torch.zeros(5, 3), values.repeat(7), torch.ones(33), values.clone()]


def extreme_gradients(parameters: Sequence[Tensor], step: int) -> list[Tensor | None]:
    first = parameters[0].detach().roll(step)
    second = torch.tensor([torch.inf, -torch.inf, torch.nan, 1.0, 0.0]).repeat(3).view(5, 3)
    tiny = torch.full((84,), 1e-24)
    return [first, second, tiny, None if step == 2 else torch.full((33,), 1e-30), first[:12] * 0]


def split_groups(parameters: list[nn.Parameter]) -> list[dict[str, Any]]:
    return [
        {"params": parameters[:3], "lr": 1e-2, "weight_decay": 0.0},
        {"params": parameters[3:], "lr": 1e-3, "weight_decay": 0.1, "eps": 1e-4},
    ]


def step_in_float32(optimizer: Optimizer) -> None:
    """A step of half-precision weights whose moments are float32."""
    (group,) = optimizer.param_groups
    shadows = [nn.Parameter(p.detach().float()) for p in group["params"]]
    shadow = AdamW(shadows, lr=1e-3)
    for own, parameter in zip(shadows, group["params"], strict=True):
        own.grad = parameter.grad.float()
        shadow.state[own].update(optimizer.state[parameter])
    shadow.step()
    for own, parameter in zip(shadows, group["params"], strict=True):
        optimizer.state[parameter].update(shadow.state[own])
        parameter.data.copy_(own.data)


TRIALS = {
    "AdamW": Trial(lambda p: AdamW(p, lr=1e-3), parameters_of(), random_gradients, steps=3),
    "Adam, amsgrad, maximize, coupled decay": Trial(
        lambda p: Adam(split_groups(p), amsgrad=True, maximize=True),
        parameters_of(),
        lambda p, step: [None if i == step else g for i, g in enumerate(random_gradients(p, step))],
        steps=3,
    ),
    "bfloat16 weights, float32 moments": Trial(
        lambda p: AdamW(p, lr=1e-3),
        parameters_of(torch.bfloat16),
        random_gradients,
        take_step=step_in_float32,
    ),
    "bfloat16": Trial(lambda p: AdamW(p, lr=1e-2), parameters_of(torch.bfloat16), random_gradients),
    "float16": Trial(lambda p: Adam(p, eps=1e-4), parameters_of(torch.float16), random_gradients),
    "several types": Trial(lambda p: AdamW(p, eps=1e-4), several_types, random_gradients),
    "RMSprop": Trial(
        lambda p: RMSprop(p, lr=1e-3, weight_decay=0.1), parameters_of(), random_gradients
    ),
    "SGD, nesterov": Trial(
        lambda p: SGD(p, lr=0.1, momentum=0.9, nesterov=True, foreach=True, weight_decay=0.1),
        parameters_of(),
        random_gradients,
    ),
    "SGD": Trial(lambda p: SGD(p, lr=0.1), parameters_of(), random_gradients, steps=1),
    "NAdam": Trial(lambda p: NAdam(p, lr=1e-3), parameters_of(), random_gradients),
    "Adamax": Trial(lambda p: Adamax(p, lr=1e-3), parameters_of(), random_gradients),
    "several layouts": Trial(lambda p: AdamW(p, lr=1e-3), several_layouts, gradients_of_layouts),
    "extreme values": Trial(
        lambda p: AdamW(p, lr=1e-3, eps=1e-12), extreme_values, extreme_gradients, steps=3
    ),
    "steps counted on the device": Trial(
        lambda p: AdamW(p, lr=1e-3),
        parameters_of(),
        random_gradients,
        steps=3,
        counts_on_device=True,
    ),
    "steps unlike the expected ones": Trial(
        lambda p: AdamW(p, lr=1e-3),
        parameters_of(),
        random_gradients,
        first_step=100,
        counts_on_device=True,
    ),
    "one parameter": Trial(
        lambda p: AdamW(p, lr=1e-3), lambda: [torch.randn(60, 40)], random_gradients
    ),
    "sampled": Trial(
        lambda p: AdamW(p, lr=1e-3), parameters_of(), random_gradients, steps=3, max_sampled=4090
    ),
    "sampled, bfloat16, amsgrad": Trial(
        lambda p: Adam(split_groups(p), amsgrad=True, maximize=True, foreach=True),
        parameters_of(torch.bfloat16),
        lambda p, step: [None if i == step else g for i, g in enumerate(random_gradients(p, step))],
        steps=3,
        max_sampled=1000,
    ),
    "sampled, several types": Trial(
        lambda p: AdamW(p, eps=1e-4), several_types, random_gradients, max_sampled=256
    ),
    "sampled, Adamax": Trial(
        lambda p: Adamax(p, lr=1e-3), parameters_of(), random_gradients, max_sampled=300
    ),
    "sampled, channels last": Trial(
        lambda p: AdamW(p, lr=1e-3),
        channels_last,
        lambda p, step: [
            None if g is None else torch.empty_like(q).copy_(g)
            for q, g in zip(p, random_gradients(p, step), strict=True)
        ],
        max_sampled=300,
    ),
    "sampled, extreme values": Trial(
        lambda p: AdamW(p, lr=1e-3, eps=1e-12),
        extreme_values,
        extreme_gradients,
        steps=3,
        max_sampled=64,
    ),
    "sampled, two tensors of one size": Trial(
        lambda p: AdamW(p, lr=1e-3),
        lambda: [torch.randn(40, 64), torch.randn(2, 3), torch.randn(64, 40), torch.randn(2560)],
        random_gradients,
        max_sampled=512,
        counts_on_device=True,
    ),
    "sampled, a transformer": Trial(
        lambda p: AdamW(p, lr=1e-3), transformer, random_gradients, max_sampled=1024
    ),
    "sampled, another layout": Trial(
        lambda p: AdamW(p, lr=1e-3), parameters_of(), transposed_gradient, max_sampled=1000
    ),
    "sampled, bfloat16, another layout": Trial(
        lambda p: AdamW(p, lr=1e-3),
        parameters_of(torch.bfloat16),
        transposed_gradient,
        max_sampled=1000,
    ),
    "sampled, RMSprop, momentum": Trial(
        lambda p: RMSprop(p, lr=1e-3, momentum=0.9),
        parameters_of(),
        random_gradients,
        max_sampled=1000,
    ),
    "RMSprop, momentum": Trial(
        lambda p: RMSprop(p, lr=1e-3, momentum=0.9), parameters_of(), random_gradients
    ),
    "Adadelta": Trial(Adadelta, parameters_of(), random_gradients),
}
