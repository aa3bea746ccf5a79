"""All arguments of the callback, checked together."""

from __future__ import annotations

import contextlib
import operator
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn
from torch.optim import Optimizer

from . import options

_DEFAULT_MAX_OVERHEAD = 0.01
_COUNTS = (
    "every_n_steps",
    "histograms_every_n_steps",
    "total_steps",
    "max_sampled_elements",
    "initial_step",
)


@dataclass(frozen=True)
class Arguments:
    """What the user gave, as the constructor of the callback describes it.

    Attributes:
        model: The first argument.
        given: The second one: an optimizer, or what is wrapped around it.

    The other attributes are called as the arguments are.
    """

    model: nn.Module | Iterable[tuple[str, Tensor]]
    given: Optimizer
    log_dir: str | os.PathLike[str] | None
    writer: Any
    every_n_steps: int | None
    histograms_every_n_steps: int | None
    total_steps: int | None
    max_sampled_elements: int
    exact: bool
    normalized_update: bool
    max_overhead: float | None
    gradient_norm: bool
    loss_closure: Callable[[], float | Tensor] | None
    mirror_scalars: bool
    initial_step: int | None
    on_error: Literal["warn", "raise"]
    on_finding: Literal["warn"] | Callable[..., object] | None

    def __post_init__(self) -> None:
        """Turn integers of NumPy into Python's; the checks refuse everything else."""
        for name in _COUNTS:
            value = getattr(self, name)
            if not isinstance(value, bool | Tensor):
                with contextlib.suppress(TypeError):
                    object.__setattr__(self, name, operator.index(value))

    def checked_optimizer(self) -> Optimizer:
        """Check all of them; return the torch optimizer that takes the steps.

        Raises:
            TypeError: If one has the wrong type.
            ValueError: If one has a wrong value, or two contradict each other.
        """
        options.check_destination(self.log_dir, self.writer)
        for name in ("every_n_steps", "histograms_every_n_steps", "total_steps"):
            options.check_count(name, getattr(self, name))
        options.check_count(
            "max_sampled_elements", self.max_sampled_elements, least=16, optional=False
        )
        options.check_flag("exact", self.exact)
        options.check_flag("normalized_update", self.normalized_update)
        options.check_share("max_overhead", self.max_overhead)
        options.check_flag("gradient_norm", self.gradient_norm)
        options.check_flag("mirror_scalars", self.mirror_scalars)
        options.check_count("initial_step", self.initial_step, least=0)
        options.check_choice("on_error", self.on_error, ("warn", "raise"))
        options.check_reaction("on_finding", self.on_finding)
        optimizer = options.torch_optimizer(self.given)
        options.check_loss_closure(self.loss_closure, self.model, optimizer)
        return optimizer

    @property
    def named_parameters(self) -> Any:
        """The model, or its pairs in a list: an iterator would be empty the second time.

        What is neither is reported where the names are read.
        """
        if isinstance(self.model, nn.Module) or not isinstance(self.model, Iterable):
            return self.model
        return list(self.model)

    @property
    def overhead_limit(self) -> float | None:
        """``max_overhead``, or its default where the interval is the callback's choice."""
        if self.max_overhead is None and self.every_n_steps is None:
            return _DEFAULT_MAX_OVERHEAD
        return self.max_overhead

    @property
    def most_elements(self) -> int | None:
        """How many elements of a parameter are read at most; None for all."""
        return None if self.exact else self.max_sampled_elements
