"""Saves and restores the state of the global random number generators."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor


class RandomState(NamedTuple):
    """The state of the global generators of torch, NumPy and Python.

    Attributes:
        of_torch: State of the CPU generator.
        of_devices: States by device.
        of_numpy: State of ``numpy.random``.
        of_python: State of ``random``.
    """

    of_torch: Tensor
    of_devices: dict[torch.device, Tensor]
    of_numpy: Any
    of_python: Any

    @classmethod
    def now(cls, devices: Iterable[torch.device]) -> RandomState:
        """Read the generators of the CPU and of some devices. Waits for no device."""
        return cls(
            torch.get_rng_state(),
            {d: _module_of(d).get_rng_state(*_index(d)) for d in set(devices) if d.type != "cpu"},
            np.random.get_state(),
            random.getstate(),
        )

    def leads_to(self, end: RandomState, now: RandomState) -> bool:
        """Whether drawing from here to ``end`` accounts for everything drawn from here to ``now``.

        Generators that are unused on the way to ``end`` do not count.
        """
        generators = zip(self._generators(), end._generators(), now._generators(), strict=True)
        return all(_same(e, start) or _same(e, n) for start, e, n in generators)

    def _generators(self) -> list[Any]:
        devices = sorted(self.of_devices, key=str)
        return [
            self.of_torch,
            *(self.of_devices[d] for d in devices),
            self.of_numpy,
            self.of_python,
        ]

    def restore(self) -> None:
        """Restore the generators."""
        torch.set_rng_state(self.of_torch)
        for device, state in self.of_devices.items():
            _module_of(device).set_rng_state(state, *_index(device))
        np.random.set_state(self.of_numpy)
        random.setstate(self.of_python)


def _same(state: Any, other: Any) -> bool:
    """Whether two states of one generator are equal: tensors, or numbers and arrays of them."""
    if isinstance(state, Tensor):
        return torch.equal(state, other)
    if isinstance(state, dict):  # NumPy with a non-default generator
        return state.keys() == other.keys() and all(_same(state[k], other[k]) for k in state)
    if not isinstance(state, tuple):
        return np.array_equal(state, other)
    return len(state) == len(other) and all(map(np.array_equal, state, other))


def _module_of(device: torch.device) -> Any:
    return torch.get_device_module(device)


def _index(device: torch.device) -> tuple[torch.device, ...]:
    return () if device.type == "mps" else (device,)  # there is only one MPS device
