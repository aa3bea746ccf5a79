"""What an optimizer keeps for one parameter, whatever it calls it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from torch import Tensor

# A tensor, or what makes one: a quantized state is unpacked only while it is read.
Source = Tensor | Callable[[], Tensor]

NOTHING: Mapping[str, Any] = MappingProxyType({})


def _nothing() -> Mapping[str, Any]:
    """One empty mapping for all: a record has thousands of states with four of them."""
    return NOTHING


@dataclass(slots=True)  # frozen would take three times as long to make, and many are made
class ParameterState:
    """What an optimizer keeps for one parameter, after a step. Every tensor has its shape.

    Attributes:
        exp_avg: The first moment, not bias-corrected; None where the family has none.
        exp_avg_sq: What the denominator is made of, not bias-corrected; None likewise.
        others: Further tensors, by the optimizer's own key.
        masks: Which elements the step moves, where it leaves some alone whatever the formula says:
            not 0, or 0; may be sparse. No state of the optimizer; :class:`.base.Rows` has them,
            dense, among the others.
        step: How many steps this parameter has taken; a 0-dim tensor may live on any device. NaN
            where the optimizer does not count.
        numbers: Numbers beside the step that the formula needs, by the optimizer's own key.
        dtypes: In what each of the tensors is stored where :attr:`exp_avg` and the like do not say
            it themselves, as ``uint8`` for a quantized one: by "exp_avg", "exp_avg_sq" or key.
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
