"""Steps of an optimizer, with the adapter's results before and after them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from adapter_rows import states_and_table
from optimizer_cases import OptimizerCase
from torch import Tensor, nn

from tb_adam_plugin.callback.optimizer_state.base import OptimizerState
from tb_adam_plugin.callback.optimizer_state.coefficients import COEFFICIENTS
from tb_adam_plugin.callback.optimizer_state.parameter_state import ParameterState, read
from tb_adam_plugin.callback.optimizer_state.registry import adapter_for

Array = npt.NDArray[np.float64]
STEPS = 8
# RAdam is not rectified before its sixth step.
assert STEPS > 6
NO_GRADIENT = (1, 3)  # parameter and step
NEW_LR = 5  # the step before which every learning rate is halved


@dataclass(frozen=True)
class Taken:
    """One step of all parameters."""

    step: int
    adapter: OptimizerState
    before: list[Tensor]
    after: list[Tensor]
    gradients: list[Tensor | None]
    states_before: list[ParameterState | None]  # copies
    states: list[ParameterState | None]


def make_parameters(case: OptimizerCase, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    tensors = [0.02 * torch.randn(shape, dtype=torch.float64) for shape in case.shapes]
    return [nn.Parameter(tensor.to(dtype), requires_grad=case.requires_grad) for tensor in tensors]


def train(case: OptimizerCase, dtype: torch.dtype = torch.float64) -> Iterator[Taken]:
    """Take steps with gradients of many sizes, some of them 0 or missing."""
    torch.manual_seed(0)
    parameters = make_parameters(case, dtype)
    optimizer = case.build(parameters)
    adapter = adapter_for(optimizer)
    for step in range(1, STEPS + 1):
        for group in optimizer.param_groups:
            if step == NEW_LR:
                group["lr"] = group["lr"] * 0.5
        for i, parameter in enumerate(parameters):
            parameter.grad = None
            if (i, step) != NO_GRADIENT:
                parameter.grad = make_gradient(parameter, case.gradients == "sparse", step == 6)
        gradients = [None if p.grad is None else p.grad.clone() for p in parameters]
        before = [p.detach().clone() for p in parameters]
        states_before = [copied(state) for state in states_of(adapter)]
        adapter.before_step()
        if case.needs_closure:
            optimizer.step(lambda: quadratic_loss(parameters))
        else:
            optimizer.step()
        after = [p.detach().clone() for p in parameters]
        states = states_of(adapter)
        yield Taken(step, adapter, before, after, gradients, states_before, states)


def make_gradient(parameter: Tensor, sparse: bool, empty: bool) -> Tensor:
    scale = 10.0 ** torch.randint(-4, 2, parameter.shape)
    gradient = torch.randn(parameter.shape, dtype=torch.float64) * scale
    gradient = (gradient * (torch.rand(parameter.shape) > 0.2)).to(parameter.dtype)
    if not sparse:
        return gradient
    # With repeated indices, values of 0, and at one step no index at all.
    indices = torch.randint(0, len(parameter), (1, 0 if empty else 4))
    return torch.sparse_coo_tensor(
        indices, gradient[indices[0]], parameter.shape, check_invariants=True
    )


def quadratic_loss(parameters: list[Tensor]) -> float:
    for parameter in parameters:
        parameter.grad = None
    loss = torch.stack([((p - 0.3) ** 2).sum() for p in parameters]).sum()
    loss.backward()
    return loss.item()


def states_of(adapter: OptimizerState) -> list[ParameterState | None]:
    return [state for _, state in states_and_table(adapter)[0]]


def copied(state: ParameterState | None) -> ParameterState | None:
    if state is None:
        return None
    first, second = (
        None if source is None else read(source).clone()
        for source in (state.exp_avg, state.exp_avg_sq)
    )
    return ParameterState(first, second)


def coefficients_of(adapter: OptimizerState) -> dict[str, Array]:
    _, table = states_and_table(adapter)
    c = adapter.coefficients(table)
    return {name: getattr(c, name).numpy() for name in COEFFICIENTS}


def group_of(adapter: OptimizerState, index: int) -> Mapping[str, Any]:
    counts = [len(group["params"]) for group in adapter.optimizer.param_groups]
    group = int(np.searchsorted(np.cumsum(counts), index, side="right"))
    return adapter.optimizer.param_groups[group]
