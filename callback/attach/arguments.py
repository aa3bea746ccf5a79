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
    """The user's arguments, as documented in the callback's constructor.

    Attributes:
        model: The first argument.
        given: The second argument: an optimizer, or its wrapper.

    The other attributes have the names of the arguments.
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
        """Convert NumPy integers to Python's; the checks reject everything else."""
        for name in _COUNTS:
            value = getattr(self, name)
            if not isinstance(value, bool | Tensor):
                with contextlib.suppress(TypeError):
                    object.__setattr__(self, name, operator.index(value))

    def checked_optimizer(self) -> Optimizer:
        """Check all arguments; return the torch optimizer that takes the steps.

        Raises:
            TypeError: If an argument has the wrong type.
            ValueError: If an argument has a wrong value, or two contradict each other.
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
        """The model, or its pairs in a list, because an iterator can only be read once.

        A wrong type is reported when the names are read.
        """
        if isinstance(self.model, nn.Module) or not isinstance(self.model, Iterable):
            return self.model
        return list(self.model)

    @property
    def overhead_limit(self) -> float | None:
        """``max_overhead``, or its default if the callback chooses the interval."""
        if self.max_overhead is None and self.every_n_steps is None:
            return _DEFAULT_MAX_OVERHEAD
        return self.max_overhead

    @property
    def most_elements(self) -> int | None:
        """Largest number of elements read of a parameter; None for all."""
        return None if self.exact else self.max_sampled_elements
