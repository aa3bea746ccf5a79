"""Environments: a pole on a cart, and a point that should reach a target."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor


class World(Protocol):
    """Several copies of an environment, stepped together; one that has ended is reset.

    Attributes:
        observations: Number of observed values.
        actions: Number of actions.
        longest: Number of steps after which an episode is cut.
    """

    observations: int
    actions: int
    longest: int

    def observe(self) -> Tensor:
        """Return the observations, float32 ``[copies, observations]``."""

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Act.

        Args:
            actions: int64 ``[copies]``.

        Returns:
            Rewards, float32, and whether an episode has ended, bool, ``[copies]`` each.
        """


class CartPole:
    """Barto, Sutton and Anderson's: a reward of 1 for each step in which the pole stands."""

    observations, actions = 4, 2

    def __init__(self, copies: int, generator: torch.Generator, longest: int = 500) -> None:
        """Reset all copies.

        Args:
            copies: Number of copies.
            generator: Draws the initial states.
            longest: Maximum steps of an episode.
        """
        self._generator, self.longest = generator, longest
        self._state = self._begin(copies)
        self._age = torch.zeros(copies)

    def observe(self) -> Tensor:
        """Return position and velocity, angle and its velocity, float32 ``[copies, 4]``."""
        return self._state.clone()

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Push the cart to the left (0) or right (1) for a 50th of a second."""
        gravity, cart, pole, half_length, force, seconds = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02
        x, v, angle, spin = self._state.unbind(1)
        push = torch.where(actions == 1, force, -force)
        sine, cosine, mass = angle.sin(), angle.cos(), cart + pole
        inner = (push + pole * half_length * spin**2 * sine) / mass
        turned = (gravity * sine - cosine * inner) / (
            half_length * (4 / 3 - pole * cosine**2 / mass)
        )
        moved = inner - pole * half_length * turned * cosine / mass
        self._state = torch.stack(
            [x + seconds * v, v + seconds * moved, angle + seconds * spin, spin + seconds * turned],
            1,
        )
        self._age += 1
        fallen = (self._state[:, 0].abs() > 2.4) | (self._state[:, 2].abs() > math.radians(12))
        ended = fallen | (self._age >= self.longest)
        self._state[ended] = self._begin(int(ended.sum()))
        self._age[ended] = 0
        return torch.ones(len(actions)), ended

    def _begin(self, copies: int) -> Tensor:
        return torch.rand(copies, 4, generator=self._generator) * 0.1 - 0.05


class PointMass:
    """A point is pushed to a target; the reward falls with the distance."""

    observations, actions, longest = 6, 5, 50

    _PUSHES = torch.tensor([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])

    def __init__(self, copies: int, generator: torch.Generator) -> None:
        """Reset all copies.

        Args:
            copies: Number of copies.
            generator: Draws the initial states.
        """
        self._generator = generator
        self._state = self._begin(copies)
        self._age = torch.zeros(copies)

    def observe(self) -> Tensor:
        """Return position, velocity, and vector to the target, float32 ``[copies, 6]``."""
        place, speed, wanted = self._state.split(2, 1)
        return torch.cat([place, speed, wanted - place], 1)

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Push the point in one of four directions (1 to 4), or let it move on (0)."""
        place, speed, wanted = self._state.split(2, 1)
        speed = 0.9 * speed + 0.05 * self._PUSHES[actions]
        place = (place + speed).clamp(-1, 1)
        self._state = torch.cat([place, speed, wanted], 1)
        rewards = torch.exp(-3 * (wanted - place).norm(dim=1))
        self._age += 1
        ended = self._age >= self.longest
        self._state[ended] = self._begin(int(ended.sum()))
        self._age[ended] = 0
        return rewards, ended

    def _begin(self, copies: int) -> Tensor:
        state = torch.rand(copies, 6, generator=self._generator) * 2 - 1
        state[:, 2:4] = 0
        return state
