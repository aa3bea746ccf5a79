"""An adapter's result for a step, element by element, without the callback."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields

import torch
from torch import Tensor

from tb_adam_plugin.callback.optimizer_state.base import OptimizerState, Rows
from tb_adam_plugin.callback.optimizer_state.coefficients import (
    COEFFICIENTS,
    Coefficients,
    StepTable,
)
from tb_adam_plugin.callback.optimizer_state.group_settings import GroupSettings
from tb_adam_plugin.callback.optimizer_state.parameter_state import ParameterState, Source, read


def states_and_table(
    adapter: OptimizerState,
) -> tuple[list[tuple[Tensor, ParameterState | None]], StepTable]:
    """Every parameter with its state, and the table of all of them."""
    owners: list[GroupSettings] = []
    pairs: list[tuple[Tensor, ParameterState | None]] = []
    for group in adapter.optimizer.param_groups:
        for parameter in group["params"]:
            owners.append(group)
            pairs.append((parameter, adapter.state_of(parameter, group)))
    steps = torch.tensor([0.0 if s is None else float(s.step) for _, s in pairs]).double()
    return pairs, StepTable(owners, [s for _, s in pairs], steps)


def requested_updates(
    adapter: OptimizerState,
    before: Sequence[Tensor],
    gradients: Sequence[Tensor | None] | None = None,
    moments_before: Mapping[str, Sequence[Tensor | None]] | None = None,
) -> list[Tensor | None]:
    """The update of each parameter by the adapter's formula, float64, in the optimizer's order.

    Args:
        adapter: The adapter after the step; its ``before_step`` was called before it.
        before: The weights before the step.
        gradients: The gradients that the step consumed; by default the parameters' current ones.
        moments_before: exp_avg and exp_avg_sq before the step, for an adapter that rounds them
            after it; None for a parameter's first step.

    Returns:
        None for a parameter without a state or a gradient.
    """
    pairs, table = states_and_table(adapter)
    coefficients = adapter.coefficients(table)
    if gradients is None:
        gradients = [parameter.grad for parameter, _ in pairs]
    updates: list[Tensor | None] = []
    for i, ((parameter, state), b, g) in enumerate(zip(pairs, before, gradients, strict=True)):
        if state is None or g is None:
            updates.append(None)
            continue
        cells = {name: _cell(getattr(coefficients, name), i) for name in COEFFICIENTS}
        own = {name: _cell(value, i) for name, value in coefficients.own.items()}
        c = Coefficients(**cells, own=own, constants=coefficients.constants)
        b_row = _row(b)
        gradient = _row(g.to_dense()) * c.gradient_sign + b_row * c.coupled_weight_decay
        moments: dict[str, Tensor | None] = {}
        for name, added in (("exp_avg", gradient), ("exp_avg_sq", gradient**2)):
            source: Source | None = getattr(state, name)
            moments[name] = None if source is None else _row(read(source))
            if moments_before and adapter.rounds_after_step and callable(source):
                old = moments_before[name][i]
                decay, weight = getattr(c, f"{name}_decay"), getattr(c, f"{name}_weight")
                moments[name] = weight * added + (0 if old is None else decay * _row(old))
        second = moments["exp_avg_sq"]
        if second is not None and adapter.exp_avg_sq_is_root:
            second = second**2
        rows = Rows(
            before=b_row,
            gradient=gradient,
            exp_avg=moments["exp_avg"],
            exp_avg_sq=second,
            others={
                key: _row(read(source).to_dense())
                for key, source in {**state.others, **state.masks}.items()
            },
        )
        root = None if second is None else adapter.root(rows, c, torch.empty_like(b_row))
        direction = adapter.direction(rows, c, root, torch.empty_like(b_row))
        update = -c.step_size * (direction + c.weight_decay * b_row)
        updates.append(update.view(parameter.shape))
    return updates


def _row(tensor: Tensor) -> Tensor:
    return tensor.detach().double().reshape(1, -1)


def _cell(column: Tensor, index: int) -> Tensor:
    return column[index].reshape(1, 1)


assert {f.name for f in fields(Coefficients)} == {*COEFFICIENTS, "own", "constants"}
