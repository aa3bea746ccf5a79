"""PPO and REINFORCE, with the settings of CleanRL and of pytorch/examples."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from real.families.worlds import CartPole, PointMass, World
from real.recipe.learner import Start
from real.recipe.settings import Half, Settings

_COPIES, _MINIBATCHES = 4, 4
# As in CartPole's first version; the second one has 500, which takes long with an episode per step.
_LONGEST_EPISODE = 200
_DISCOUNT, _LAMBDA, _CLIP, _ENTROPY, _VALUE = 0.99, 0.95, 0.2, 0.01, 0.5
# A batch whose rewards were logged in another unit.
_WRONG_UNIT = 1000.0


def ppo_settings(half: Half) -> Settings:
    """Return CleanRL's: 4 epochs over 512 steps in 4 parts, with the learning rate falling to 0."""
    return Settings(
        steps=3200, batch_size=512, learning_rate=2.5e-4, optimizer="adam", epsilon=1e-5,
        schedule="linear", schedule_every=16, schedule_steps=200, clip_norm=0.5, epochs=4,
    )  # fmt: skip


def reinforce_settings(half: Half) -> Settings:
    """Return the settings of pytorch/examples: Adam at 1e-2, an episode per step."""
    return Settings(steps=400, batch_size=1, learning_rate=1e-2, optimizer="adam")


def _world(half: Half, copies: int, generator: torch.Generator, longest: int = 500) -> World:
    if half == "tuning":
        return CartPole(copies, generator, longest)
    return PointMass(copies, generator)


class Returns:
    """The returns of finished episodes, in some copies of a world."""

    def __init__(self, copies: int) -> None:
        """Start empty."""
        self._running = torch.zeros(copies)
        self._ended: list[float] = []

    def add(self, rewards: Tensor, ended: Tensor) -> None:
        """Add the results of a step, as returned by :meth:`World.step`."""
        self._running += rewards
        self._ended += self._running[ended].tolist()
        self._running[ended] = 0

    def late_mean(self) -> float:
        """Return the mean of the last quarter; NaN without any."""
        late = self._ended[-max(1, len(self._ended) // 4) :]
        return sum(late) / len(late) if late else math.nan


def _head(width_in: int, width_out: int, gain: float) -> nn.Linear:
    layer = nn.Linear(width_in, width_out)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


class Agent(nn.Module):
    """Chooses actions, and estimates their value."""

    def __init__(self, world: World) -> None:
        """Make both networks, with the usual initial weights for PPO."""
        super().__init__()
        root = math.sqrt(2)
        self.actor = nn.Sequential(
            _head(world.observations, 64, root), nn.Tanh(), _head(64, 64, root), nn.Tanh(),
            _head(64, world.actions, 0.01),
        )  # fmt: skip
        self.critic = nn.Sequential(
            _head(world.observations, 64, root), nn.Tanh(), _head(64, 64, root), nn.Tanh(),
            _head(64, 1, 1.0),
        )  # fmt: skip

    def forward(self, seen: Tensor) -> Tensor:
        """Return logits of the actions, float ``[..., actions]``."""
        logits: Tensor = self.actor(seen)
        return logits


def _choose(logits: Tensor, generator: torch.Generator) -> Tensor:
    return torch.multinomial(logits.float().softmax(-1), 1, generator=generator)[:, 0]


class PpoLearner:
    """Acts for a while, then learns from that several times.

    Attributes:
        model: The agent.
    """

    def __init__(self, start: Start) -> None:
        """Make the agent and its world."""
        self._start, self._random = start, start.generator
        self._world = _world(start.half, _COPIES, self._random)
        self.agent = Agent(self._world)
        self.model: nn.Module = self.agent
        self._parts: Iterator[tuple[Tensor, ...]] = iter(())
        self._returns = Returns(_COPIES)

    def loss(self, *, bad: bool) -> Tensor:
        """Return the clipped loss of the next part; a corrupt one has 1,000 times the rewards."""
        part = next(self._parts, None)
        if part is None:
            self._parts = self._minibatches()
            part = next(self._parts)
        seen, actions, was, advantages, returns, values = part
        if bad:
            returns = returns * _WRONG_UNIT
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        logs = self.agent(seen).float().log_softmax(-1)
        chosen = logs.gather(1, actions[:, None])[:, 0]
        ratio = (chosen - was).exp()
        gain = torch.minimum(ratio * advantages, ratio.clamp(1 - _CLIP, 1 + _CLIP) * advantages)
        now = self.agent.critic(seen)[:, 0].float()
        near = values + (now - values).clamp(-_CLIP, _CLIP)
        errors = torch.maximum((now - returns).square(), (near - returns).square())
        entropy = -(logs.exp() * logs).sum(-1).mean()
        loss: Tensor = -gain.mean() + _VALUE * errors.mean() / 2 - _ENTROPY * entropy
        return loss

    def judge(self) -> float:
        """Return the mean return of the last quarter of the training episodes."""
        return self._returns.late_mean()

    @torch.no_grad()
    def _minibatches(self) -> Iterator[tuple[Tensor, ...]]:
        length = self._start.settings.batch_size // _COPIES
        dtype = next(self.agent.parameters()).dtype
        kept: list[tuple[Tensor, ...]] = []
        for _ in range(length):
            seen = self._world.observe().to(dtype)
            logits = self.agent(seen).float()
            actions = _choose(logits.nan_to_num(), self._random)
            was = logits.log_softmax(-1).gather(1, actions[:, None])[:, 0]
            value = self.agent.critic(seen)[:, 0].float()
            came = self._world.step(actions)
            self._returns.add(*came)
            kept.append((seen, actions, was, value, *came))
        seen, actions, was, values, rewards, ended = (
            torch.stack(parts) for parts in zip(*kept, strict=True)
        )
        last = self.agent.critic(self._world.observe().to(dtype))[:, 0].float()
        advantages = _advantages(values, rewards, ended, last)
        whole = [
            part.flatten(0, 1)
            for part in (seen, actions, was, advantages, advantages + values, values)
        ]
        return self._shuffled(whole)

    def _shuffled(self, whole: list[Tensor]) -> Iterator[tuple[Tensor, ...]]:
        for _ in range(self._start.settings.epochs):
            order = torch.randperm(len(whole[0]), generator=self._random)
            for chosen in order.chunk(_MINIBATCHES):
                yield tuple(part[chosen] for part in whole)


def _advantages(values: Tensor, rewards: Tensor, ended: Tensor, last: Tensor) -> Tensor:
    """Generalized advantages, float ``[steps, copies]``."""
    found = torch.zeros_like(values)
    ahead, following = torch.zeros_like(last), last
    for i in range(len(values) - 1, -1, -1):
        goes_on = (~ended[i]).float()
        error = rewards[i] + _DISCOUNT * following * goes_on - values[i]
        ahead = error + _DISCOUNT * _LAMBDA * goes_on * ahead
        found[i], following = ahead, values[i]
    return found


class ReinforceLearner:
    """Acts for an episode and learns from it once.

    Attributes:
        model: The policy.
    """

    def __init__(self, start: Start) -> None:
        """Make the policy and its world."""
        self._start, self._random = start, start.generator
        self._world = _world(start.half, 1, self._random, _LONGEST_EPISODE)
        self._returns = Returns(1)
        self.model: nn.Module = nn.Sequential(
            nn.Linear(self._world.observations, 128), nn.ReLU(),
            nn.Linear(128, self._world.actions),
        )  # fmt: skip

    def loss(self, *, bad: bool) -> Tensor:
        """Return minus the log-likelihood of the actions, times their returns."""
        dtype = next(self.model.parameters()).dtype
        kept, ended = [], torch.tensor([False])
        while not ended:
            seen = self._world.observe().to(dtype)
            with torch.no_grad():
                actions = _choose(self.model(seen).float().nan_to_num(), self._random)
            rewards, ended = self._world.step(actions)
            self._returns.add(rewards, ended)
            kept.append((seen, actions, rewards))
        seen, actions, rewards = (torch.cat(parts) for parts in zip(*kept, strict=True))
        returns, ahead = torch.zeros_like(rewards), 0.0
        for i in range(len(rewards) - 1, -1, -1):
            ahead = float(rewards[i]) + _DISCOUNT * ahead
            returns[i] = ahead
        returns = (returns - returns.mean()) / (returns.std(correction=0) + 1e-6)
        if bad:
            returns = returns * _WRONG_UNIT
        costs = functional.cross_entropy(self.model(seen).float(), actions, reduction="none")
        return (costs * returns).sum()

    def judge(self) -> float:
        """Return the mean return of the last quarter of the training episodes."""
        return self._returns.late_mean()
