"""A step's tensors by quantity: what can be read of every parameter."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from tb_adam_plugin import schema

from ..optimizer_state.group_settings import GroupSettings
from ..optimizer_state.parameter_state import ParameterState, Source
from ..optimizer_state.storage import Storage, StoredState
from ..read.real_numbers import real_source

# One per parameter, or None.
Sources = Sequence[Source | None]
# By quantity.
Tensors = Mapping[str, Sources]


class States(NamedTuple):
    """The optimizer's state of ``K`` parameters.

    Attributes:
        of: Each parameter's state, or None before its first step.
        storage: How the states are stored.
    """

    of: list[ParameterState | None]
    storage: tuple[Storage | None, ...]


@dataclass(frozen=True, slots=True)
class StepTensors:
    """The tensors of ``K`` parameters after a step.

    Attributes:
        weights: This process's part of the parameters.
        gradients: The gradients that the step consumed, in the form in which they are read: dense,
            or sparse and coalesced; or a :class:`.kept_gradients.KeptGradient`.
        states: The states after the step.
        groups: The group of each parameter.
        stored: How the states are stored.
        by_quantity: All of these tensors in the form in which they are read, complex ones as real
            numbers.
        others: Keys of additional state tensors that have histograms.
        masks: Keys of the states' masks.
        with_histograms: Whether to count histograms.
        step: The step number, which predicts step counts that are on a device.
    """

    weights: Sequence[Tensor]
    gradients: Sources
    states: Sequence[ParameterState | None]
    groups: Sequence[GroupSettings]
    stored: StoredState
    by_quantity: Tensors
    others: Sequence[str]
    masks: Sequence[str]
    with_histograms: bool
    step: int


def masks_of(states: Sequence[ParameterState | None]) -> list[str]:
    """Return the keys of all masks of some states."""
    return sorted({key for s in states if s is not None and s.masks for key in s.masks})


def by_quantity(
    weights: Sequence[Tensor],
    gradients: Sources,
    states: Sequence[ParameterState | None],
    others: Sequence[str],
    is_complex: Sequence[bool],
) -> Tensors:
    """Return a step's tensors by quantity; state tensors by "exp_avg", key or mask.

    Args:
        weights: The parameters.
        gradients: Real-valued gradients.
        states: The states after the step.
        others: Keys of additional state tensors.
        is_complex: Which parameters are complex.
    """
    tensors: dict[str, Sources] = {
        "weight": weights,
        "exp_avg": moments(states, "exp_avg"),
        "exp_avg_sq": moments(states, "exp_avg_sq"),
        **{
            # By the quantity's name: an unknown optimizer may have a key "exp_avg", too.
            schema.state_quantity(key).name: [
                None if s is None else s.others.get(key) for s in states
            ]
            for key in others
        },
    }
    for key in masks_of(states):
        tensors[key] = [None if s is None else s.masks.get(key) for s in states]
    found = {quantity: as_read(sources, is_complex) for quantity, sources in tensors.items()}
    found["gradient"] = gradients
    return found


def as_read(sources: Sources, is_complex: Sequence[bool]) -> Sources:
    """Return sources of the real numbers that tensors store."""
    if not any(is_complex):
        return sources
    return [real_source(t, c) for t, c in zip(sources, is_complex, strict=True)]


def moments(states: Sequence[ParameterState | None], name: str) -> list[Source | None]:
    """Return "exp_avg" or "exp_avg_sq" of some states."""
    moment = operator.attrgetter(name)
    return [None if state is None else moment(state) for state in states]


def present(values: Sequence[object]) -> npt.NDArray[np.bool_]:
    """Return which of some values are not None."""
    is_there = map(operator.is_not, values, itertools.repeat(None))
    return np.fromiter(is_there, np.bool_, len(values))
