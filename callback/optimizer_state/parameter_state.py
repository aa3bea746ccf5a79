"""What an optimizer stores for one parameter, under any names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from torch import Tensor

# A tensor, or a function that returns one: a quantized state is only unpacked on reading.
Source = Tensor | Callable[[], Tensor]

NOTHING: Mapping[str, Any] = MappingProxyType({})


def _nothing() -> Mapping[str, Any]:
    """One empty mapping for all: a record has thousands of states with four of them."""
    return NOTHING


@dataclass(slots=True)  # frozen would take three times as long to create, and there are many
class ParameterState:
    """What an optimizer stores for one parameter, after a step. Every tensor has its shape.

    Attributes:
        exp_avg: The first moment, not bias-corrected; None if the family has none.
        exp_avg_sq: The tensor in the denominator, not bias-corrected; None if the family has none.
        others: Other tensors, by the optimizer's own key.
        masks: Nonzero for elements that the step moves, if it leaves some alone whatever the
            formula says; may be sparse. Not part of the optimizer's state; :class:`.base.Rows` has
            them, dense, among the others.
        step: Steps taken by this parameter; a 0-dim tensor may be on any device. NaN if the
            optimizer does not count.
        numbers: Numbers other than the step that the formula needs, by the optimizer's own key.
        dtypes: Storage types that :attr:`exp_avg` and the other tensors do not show, such as
            ``uint8`` for a quantized one: by "exp_avg", "exp_avg_sq" or key.
    """

    exp_avg: Source | None = None
    exp_avg_sq: Source | None = None
    others: Mapping[str, Source] = field(default_factory=_nothing)
    masks: Mapping[str, Source] = field(default_factory=_nothing)
    step: Tensor | float = 0
    numbers: Mapping[str, Tensor | float] = field(default_factory=_nothing)
    dtypes: Mapping[str, str] = field(default_factory=_nothing)


def read(source: Source) -> Tensor:
    """Return the tensor of a source."""
    return source if isinstance(source, Tensor) else source()
