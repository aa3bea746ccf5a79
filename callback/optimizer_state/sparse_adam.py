"""torch.optim.SparseAdam, with every flag."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from tb_adam_plugin import schema

from .adam import AdamState, adam_moments
from .base import Rows
from .coefficients import Coefficients, StepTable
from .group_settings import GroupSettings
from .parameter_state import ParameterState

_NAN = float("nan")


class SparseAdamState(AdamState):
    """State of SparseAdam, as torch/optim/_functional.py updates it.

    A step only changes what the sparse gradient indexes: elsewhere neither the weight moves nor do
    the moments decay. The bias correction uses the steps of the whole parameter.
    """

    meanings: Mapping[str, str] = {
        "exp_avg": "decays only where the sparse gradient has indices",
        "exp_avg_sq": "decays only where the sparse gradient has indices",
    }
    lacks: tuple[schema.Need, ...] = ("exp_avg decay", "exp_avg_sq decay")

    def state_of(self, parameter: Tensor, group: GroupSettings) -> ParameterState | None:
        """The parameter's state, or None before its first step."""
        found = super().state_of(parameter, group)
        gradient = parameter.grad
        if found is None or gradient is None or not gradient.is_sparse:
            return found
        return replace(found, masks={"touched": partial(_touched, parameter, gradient)})

    def coefficients(self, table: StepTable) -> Coefficients:
        """Kingma & Ba 2015, section 2, with eps added to √v instead of √v̂."""
        moments = adam_moments(table)
        eps = table.number("eps") * table.bias_correction(table.number("beta2")).rsqrt()
        return Coefficients.of(
            table,
            **{
                **moments,
                "exp_avg_decay": _NAN,
                "exp_avg_weight": _NAN,
                "exp_avg_sq_decay": _NAN,
                "exp_avg_sq_weight": _NAN,
                "eps": eps,
                "denominator_constant": eps,
            },
            gradient_sign=table.gradient_sign(),
            step_size=table.number("lr"),
        )

    def direction(self, rows: Rows, c: Coefficients, root: Tensor | None, out: Tensor) -> Tensor:
        """Adam's direction where the gradient has indices, else 0."""
        direction = super().direction(rows, c, root, out)
        return direction.masked_fill_(rows.others["touched"] == 0, 0.0)


def _touched(parameter: Tensor, gradient: Tensor) -> Tensor:
    """Return a sparse tensor, nonzero where a gradient has indices, even if its value is 0."""
    ones = torch.ones_like(gradient._values())
    return torch.sparse_coo_tensor(
        gradient._indices(),
        ones,
        parameter.shape,
        device=gradient.device,
        check_invariants=False,
    ).coalesce()
