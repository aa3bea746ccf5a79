"""What the callback needs to know about an optimizer: the interface that every adapter implements.

An adapter describes the state of one family of optimizers in terms of one formula, element by
element. With ``b`` the weight before the step, ``g`` the gradient as the step consumed it, ``m``
and ``v`` the moments after the step:

    g'        = gradient_sign · g + coupled_weight_decay · b
    m̂         = exp_avg_scale · m                                (bias-corrected)
    s         = exp_avg_sq_scale · √v                            (√v̂)
    direction = (numerator_exp_avg · m + numerator_gradient · g')
                / (denominator_root · s + denominator_constant)
    update    = -step_size · (direction + weight_decay · b)

:class:`.coefficients.Coefficients` holds the numbers, one of each per parameter. A family that does
not fit overrides :meth:`OptimizerState.root` or :meth:`OptimizerState.direction`; one whose update
of an element depends on other elements sets ``update_is_known`` to False.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from tb_adam_plugin import schema

from . import undefined
from .coefficients import Coefficients, StepTable
from .group_settings import GroupSettings, hyperparameter, names_of_numbers
from .parameter_state import ParameterState

# Keys that a schedule writes into a group and does not change afterwards.
_SCHEDULED = ("initial_lr", "max_lr", "min_lr")


@dataclass(frozen=True, slots=True)
class Rows:
    """Elements of many parameters, each tensor ``[rows, n]`` with zeros for padding.

    Attributes:
        before: Weight before the step.
        gradient: g' of the formula: signed, with coupled weight decay.
        exp_avg: m, or None.
        exp_avg_sq: v, or None.
        others: Other tensors of the state and its masks, by key. Zeros for a parameter without
            them.
    """

    before: Tensor
    gradient: Tensor
    exp_avg: Tensor | None
    exp_avg_sq: Tensor | None
    others: Mapping[str, Tensor]


class OptimizerState(ABC):
    """Reads one optimizer, without changing it.

    Attributes:
        meanings: What exp_avg, exp_avg_sq and the other state tensors are, if their names are
            misleading.
        lacks: The needs of statistics that this family does not meet; see :meth:`lacks_in`.
        notice: What a user should know about the support of this optimizer, or None.
        update_is_known: Whether :meth:`direction` gives the update of each element.
        reads_as: Name of the base class whose formula is used for a subclass; "" otherwise.
        exp_avg_sq_is_root: Whether the optimizer stores √v instead of v; the tensor is then squared
            on reading.
        rounds_after_step: Whether a step uses the moments before rounding them for storage. Then
            :class:`Rows` needs ``decay · before + weight · g'``, from the moments before the step,
            for each moment that is computed on demand rather than stored as a tensor.
        hyperparameter_names: Columns of the hyperparameters, the standard ones first.
        replaced: For each group, the settings that loading a checkpoint has replaced, with the old
            and the new value; empty before a checkpoint is loaded.
    """

    meanings: Mapping[str, str] = {}
    lacks: tuple[schema.Need, ...] = ()
    notice: str | None = None
    update_is_known = True
    reads_as = ""
    exp_avg_sq_is_root = False
    rounds_after_step = False

    def __init__(self, optimizer: Optimizer) -> None:
        """Read the state of ``optimizer``; its own numbers become hyperparameter columns."""
        self.optimizer = optimizer
        self.replaced: Sequence[Mapping[str, tuple[float, float]]] = ()
        standard = schema.HYPERPARAMETERS.names
        numbers = [
            name
            for key, value in optimizer.defaults.items()
            for name in names_of_numbers(key, value)
        ]
        own = [name for name in numbers if name not in standard]
        self.hyperparameter_names: tuple[str, ...] = (*standard, *own)

    def options(self, group: GroupSettings) -> dict[str, schema.Option]:
        """Settings of a group that are not numbers over time, such as ``amsgrad``.

        Includes the learning rates that torch's schedulers write into the group as their end
        points. Tensors are left out, because reading them would wait for the device.
        """
        defaults = self.optimizer.defaults
        options: dict[str, schema.Option] = {
            name: value
            for name, value in group.items()
            if name in defaults and isinstance(value, bool | str | None)
        }
        for name in _SCHEDULED:
            value = group.get(name)
            if isinstance(value, int | float) and math.isfinite(value):
                options[name] = float(value)
        return options

    def hyperparameters(self, group: GroupSettings) -> list[float]:
        """Values of :attr:`hyperparameter_names` for a step taken now; NaN if unknown."""
        return [hyperparameter(group, name) for name in self.hyperparameter_names]

    def lacks_in(self, group: GroupSettings) -> tuple[schema.Need, ...]:
        """The needs that a group's parameters do not meet: :attr:`lacks`, more with some flags."""
        return self.lacks

    def undefined_in(self, group: GroupSettings) -> tuple[str, ...]:
        """Statistics and quantities that are undefined for a group's parameters."""
        lacks = self.lacks_in(group)
        return undefined.without(lacks if self.update_is_known else (*lacks, "update"))

    def keeps_maximum(self, group: GroupSettings) -> bool:
        """Whether exp_avg_sq is the running maximum of the average (amsgrad)."""
        return False

    def overwrites_gradient(self, group: GroupSettings) -> bool:
        """Whether ``step()`` changes ``.grad`` in place, so it must be read before."""
        return False

    def before_step(self) -> None:  # noqa: B027 - most have nothing to save
        """Save numbers that the step will overwrite; called before a recorded step."""

    @abstractmethod
    def state_of(self, parameter: Tensor, group: GroupSettings) -> ParameterState | None:
        """The state of a parameter, or None before its first step."""

    @abstractmethod
    def coefficients(self, table: StepTable) -> Coefficients:
        """The numbers of the formula for the step that was just taken."""

    def root(self, rows: Rows, c: Coefficients, out: Tensor) -> Tensor:
        """Return √v̂ of each element, in ``out``; needs exp_avg_sq."""
        assert rows.exp_avg_sq is not None
        if out.device.type == "cpu":
            # NumPy's is correctly rounded. torch may use MKL's, whose last bit is often wrong.
            with np.errstate(all="ignore"):
                np.sqrt(rows.exp_avg_sq.numpy(), out=out.numpy())
        else:
            torch.sqrt(rows.exp_avg_sq, out=out)
        return out.mul_(c.exp_avg_sq_scale)

    def direction(self, rows: Rows, c: Coefficients, root: Tensor | None, out: Tensor) -> Tensor:
        """Return the direction of each element, in ``out``.

        Args:
            rows: The elements read.
            c: The numbers, ``[rows, 1]``.
            root: From :meth:`root`; None without exp_avg_sq.
            out: ``[rows, n]``, neither ``root`` nor one of ``rows``.
        """
        if (
            rows.exp_avg is not None
            and root is not None
            and c.constants.get("numerator_gradient") == 0
            and c.constants.get("denominator_root") == 1
        ):
            torch.add(root, c.denominator_constant, out=out)
            return torch.div(rows.exp_avg, out, out=out).mul_(c.numerator_exp_avg)
        denominator = c.denominator_constant
        if root is not None:
            denominator = torch.mul(root, c.denominator_root).add_(c.denominator_constant)
        torch.mul(rows.gradient, c.numerator_gradient, out=out)
        if rows.exp_avg is not None:
            out.addcmul_(rows.exp_avg, c.numerator_exp_avg)
        return out.div_(denominator)

    def follows_formula(self) -> bool:
        """Whether :meth:`root` and :meth:`direction` are those of the formula.

        At least for a parameter whose state has no other tensors.
        """
        own = type(self)
        return own.root is OptimizerState.root and own.direction is OptimizerState.direction

    def steps_taken(self) -> int | None:
        """The optimizer's own step count, or None if it keeps none. Reads from the device."""
        state = self.optimizer.state
        counts = [entry["step"] for entry in state.values() if "step" in entry]
        return max((int(count) for count in counts), default=None)
