"""The types in which an optimizer stores its state, and their range."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tb_adam_plugin.arrays import Flags

from .parameter_state import ParameterState, Source

_WIDE = (torch.float32, torch.float64, torch.complex64, torch.complex128)
_HALF = (torch.bfloat16, torch.float16)
_MADE = "made"
_Kind = torch.dtype | str | None


class Storage(NamedTuple):
    """How the state of one parameter is stored. Equal if nothing about that has changed.

    Tensors are represented by their type, computed ones by "made", missing ones by None.

    Attributes:
        exp_avg: The first moment.
        exp_avg_sq: The second moment.
        others: Other tensors by key.
        named: Types named by the adapter, because the tensors do not show them: see
            :attr:`.parameter_state.ParameterState.dtypes`.
    """

    exp_avg: _Kind
    exp_avg_sq: _Kind
    others: tuple[tuple[str, _Kind], ...]
    named: tuple[tuple[str, str], ...]


def storage_of(states: Sequence[ParameterState | None]) -> tuple[Storage | None, ...]:
    """Look at the states of some parameters; None before the first step."""
    found: list[Storage | None] = []
    # Thousands of states are stored alike: cached by the types of their moments, if there are no
    # others.
    known: dict[tuple[torch.dtype, torch.dtype], Storage] = {}
    for s in states:
        first, second = (None, None) if s is None else (s.exp_avg, s.exp_avg_sq)
        if s is None or s.others or s.dtypes or not isinstance(first, Tensor):
            found.append(None if s is None else _storage_of(s))
        elif not isinstance(second, Tensor):
            found.append(_storage_of(s))
        else:
            types = first.dtype, second.dtype
            storage = known.get(types)
            if storage is None:
                storage = known[types] = _storage_of(s)
            found.append(storage)
    return tuple(found)


def _storage_of(s: ParameterState) -> Storage:
    first, second = _kind(s.exp_avg), _kind(s.exp_avg_sq)
    if not s.others and not s.dtypes:
        return _moments_alone(first, second)
    others = tuple([(key, _kind(source)) for key, source in s.others.items()])
    return Storage(first, second, others, tuple(s.dtypes.items()))


@functools.lru_cache(maxsize=64)
def _moments_alone(exp_avg: _Kind, exp_avg_sq: _Kind) -> Storage:
    """There are few different ones, so comparing many compares identities."""
    return Storage(exp_avg, exp_avg_sq, (), ())


class StoredState:
    """The types of the moments of ``K`` parameters.

    Attributes:
        rounds_exp_avg: Whether exp_avg is stored in less than float32, bool ``[K]``.
        rounds_exp_avg_sq: The same for exp_avg_sq, bool ``[K]``.
        makes_exp_avg: Whether exp_avg is computed from what is stored, bool ``[K]``.
        makes_exp_avg_sq: The same for exp_avg_sq, bool ``[K]``.
        halves_exp_avg_sq: Whether exp_avg_sq is stored in a half-precision type, bool ``[K]``.
        smallest_normal: Smallest normal number of the type of exp_avg_sq, float64 ``[K]``.
    """

    def __init__(self, storage: Sequence[Storage | None]) -> None:
        """Look at the results of :func:`storage_of`."""
        first = [None if s is None else s.exp_avg for s in storage]
        second = [None if s is None else s.exp_avg_sq for s in storage]
        self._second = second
        self.rounds_exp_avg = np.array([_rounds(kind) for kind in first])
        self.rounds_exp_avg_sq = np.array([_rounds(kind) for kind in second])
        self.makes_exp_avg = np.array([kind == _MADE for kind in first])
        self.makes_exp_avg_sq = np.array([kind == _MADE for kind in second])
        self.halves_exp_avg_sq = np.array([kind in _HALF for kind in second])
        self.smallest_normal = np.array([_smallest_normal(kind) for kind in second])

    def stores_exp_avg_sq_as(self, dtype: torch.dtype) -> Flags:
        """Which parameters store exp_avg_sq in a type, bool ``[K]``."""
        return np.array([kind == dtype for kind in self._second])


@functools.lru_cache(maxsize=16)
def stored_state(storage: tuple[Storage | None, ...]) -> StoredState:
    """Return the types of the moments, cached by storage."""
    return StoredState(storage)


def storage_types(storage: Iterable[Storage | None]) -> Mapping[str, str]:
    """Return how each tensor of some states is stored: by its name, types joined by commas."""
    types: dict[str, set[str]] = {}
    for s in set(storage) - {None}:
        assert s is not None
        named = dict(s.named)
        for name, kind in (("exp_avg", s.exp_avg), ("exp_avg_sq", s.exp_avg_sq), *s.others):
            if name in named:
                types.setdefault(name, set()).add(named[name])
            elif isinstance(kind, torch.dtype):
                types.setdefault(name, set()).add(_dtype_name(kind))
    return _joined(types)


def joined_types(several: Sequence[Mapping[str, str]]) -> Mapping[str, str]:
    """Join the results of :func:`storage_types` for one group from several processes."""
    types: dict[str, set[str]] = {}
    for of_one in several:
        for name, listed in of_one.items():
            types.setdefault(name, set()).update(listed.split(", "))
    return _joined(types)


def types_by_key(states: Iterable[Mapping[str, Any]]) -> Mapping[str, str]:
    """Return the types in which an optimizer's or a checkpoint's state is stored, by its keys.

    Args:
        states: States of the parameters.
    """
    types: dict[str, set[str]] = {}
    for state in states:
        for key, value in state.items():
            if isinstance(value, Tensor):
                types.setdefault(key, set()).add(type_name(value))
    return _joined(types)


def type_name(tensor: Tensor) -> str:
    """Return the name of a tensor's type, such as ``float32``."""
    return _dtype_name(tensor.dtype)


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _joined(types: Mapping[str, set[str]]) -> Mapping[str, str]:
    return {key: ", ".join(sorted(found)) for key, found in sorted(types.items())}


def _kind(source: Source | None) -> _Kind:
    if isinstance(source, Tensor):
        return source.dtype
    return None if source is None else _MADE


def _rounds(kind: _Kind) -> bool:
    return kind is not None and kind not in _WIDE  # also True for any other form


def _smallest_normal(kind: _Kind) -> float:
    return torch.finfo(kind if isinstance(kind, torch.dtype) else torch.float32).tiny
