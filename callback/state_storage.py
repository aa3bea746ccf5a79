"""In what types an optimizer stores its state, and what these types can hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .optimizer_state.base import ParameterState, Source

Flags = npt.NDArray[np.bool_]

_WIDE = (torch.float32, torch.float64)
_HALF = (torch.bfloat16, torch.float16)


class StoredState:
    """The types of the moments of ``K`` parameters.

    Attributes:
        rounds_exp_avg: Whether exp_avg is stored in less than float32, bool ``[K]``.
        rounds_exp_avg_sq: Likewise.
        makes_exp_avg: Whether exp_avg is no tensor but made of what is stored, bool ``[K]``.
        makes_exp_avg_sq: Likewise.
        halves_exp_avg_sq: Whether exp_avg_sq is stored in a half-precision type, bool ``[K]``.
        smallest_normal: Smallest normal number of the type of exp_avg_sq, float64 ``[K]``.
    """

    def __init__(self, states: Sequence[ParameterState | None]) -> None:
        """Look at the states of some parameters; None before the first step."""
        first = [None if s is None else s.exp_avg for s in states]
        second = [None if s is None else s.exp_avg_sq for s in states]
        self._second = second
        self.rounds_exp_avg = np.array([_rounds(source) for source in first])
        self.rounds_exp_avg_sq = np.array([_rounds(source) for source in second])
        self.makes_exp_avg = np.array([callable(source) for source in first])
        self.makes_exp_avg_sq = np.array([callable(source) for source in second])
        self.halves_exp_avg_sq = np.array(
            [isinstance(source, Tensor) and source.dtype in _HALF for source in second]
        )
        self.smallest_normal = np.array([_smallest_normal(source) for source in second])

    def stores_exp_avg_sq_as(self, dtype: torch.dtype) -> Flags:
        """Which parameters have exp_avg_sq in a type, bool ``[K]``."""
        return np.array([isinstance(s, Tensor) and s.dtype == dtype for s in self._second])


def storage_types(states: Sequence[ParameterState | None]) -> Mapping[str, str]:
    """Say how each tensor of some states is stored: by its name, types joined by commas."""
    types: dict[str, set[str]] = {}
    for state in states:
        if state is None:
            continue
        sources = {"exp_avg": state.exp_avg, "exp_avg_sq": state.exp_avg_sq, **state.others}
        for name, source in sources.items():
            if name in state.dtypes:
                types.setdefault(name, set()).add(state.dtypes[name])
            elif isinstance(source, Tensor):
                types.setdefault(name, set()).add(type_name(source))
    return _joined(types)


def types_by_key(states: Iterable[Mapping[str, Any]]) -> Mapping[str, str]:
    """Say in what types an optimizer's own state, or that of a checkpoint, is stored, by its keys.

    Args:
        states: Of the parameters.
    """
    types: dict[str, set[str]] = {}
    for state in states:
        for key, value in state.items():
            if isinstance(value, Tensor):
                types.setdefault(key, set()).add(type_name(value))
    return _joined(types)


def type_name(tensor: Tensor) -> str:
    """Return the name of a tensor's type, as ``float32``."""
    return str(tensor.dtype).removeprefix("torch.")


def _joined(types: Mapping[str, set[str]]) -> Mapping[str, str]:
    return {key: ", ".join(sorted(found)) for key, found in sorted(types.items())}


def _rounds(source: Source | None) -> bool:
    if isinstance(source, Tensor):
        return source.dtype not in _WIDE
    return source is not None  # made on demand, because it is stored in another form


def _smallest_normal(source: Source | None) -> float:
    dtype = source.dtype if isinstance(source, Tensor) else torch.float32
    return torch.finfo(dtype).tiny
