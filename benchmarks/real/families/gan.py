"""A GAN: two networks, each with its own optimizer and callback."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from real.families.pictures import Pictures, pictures_of
from real.recipe.learner import Learner, Start
from real.recipe.loop import Part
from real.recipe.settings import Half, Settings

_LATENT, _JUDGED, _LEAK = 32, 1000, 0.2


def settings_of(half: Half) -> Settings:
    """Return DCGAN's settings: Adam, 2e-4, beta1 0.5."""
    return Settings(
        steps=800,
        batch_size=64 if half == "tuning" else 128,
        learning_rate=2e-4,
        optimizer="adam",
        beta1=0.5,
    )


def _generator(half: Half, side: int) -> nn.Sequential:
    small, width = side // 4, 32 if half == "tuning" else 48
    return nn.Sequential(
        nn.Linear(_LATENT, 2 * width * small**2, bias=False),
        nn.BatchNorm1d(2 * width * small**2), nn.ReLU(), nn.Unflatten(1, (2 * width, small, small)),
        nn.ConvTranspose2d(2 * width, width, 4, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        nn.ConvTranspose2d(width, 1, 4, 2, 1), nn.Sigmoid(),
    )  # fmt: skip


def _discriminator(half: Half, side: int) -> nn.Sequential:
    width = 32 if half == "tuning" else 48
    return nn.Sequential(
        nn.Conv2d(1, width, 4, 2, 1), nn.LeakyReLU(_LEAK),
        nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False), nn.BatchNorm2d(2 * width),
        nn.LeakyReLU(_LEAK), nn.Flatten(), nn.Linear(2 * width * (side // 4) ** 2, 1),
    )  # fmt: skip


class GanLearner:
    """Both networks and the pictures.

    Attributes:
        model: ``generator`` and ``discriminator``.
        generator: Makes pictures from noise.
        discriminator: Returns the logit of a picture being real.
        settings: Settings of the run.
    """

    def __init__(self, start: Start) -> None:
        """Make the networks."""
        self._pictures, self._random = pictures_of(start.half), start.generator
        self.generator = _generator(start.half, self._pictures.side)
        self.discriminator = _discriminator(start.half, self._pictures.side)
        both = {"generator": self.generator, "discriminator": self.discriminator}
        self.model: nn.Module = nn.ModuleDict(both)
        for parameter in self.model.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, 0.0, 0.02)
        self.settings = start.settings

    def real(self) -> Tensor:
        """Return a batch of real pictures."""
        return self._pictures.batch(self._random, self.settings.batch_size)[0]

    def made(self) -> Tensor:
        """Return a batch of generated pictures."""
        noise = torch.randn(self.settings.batch_size, _LATENT, generator=self._random)
        pictures: Tensor = self.generator(noise)
        return pictures

    def loss(self, *, bad: bool) -> Tensor:
        """Return the generator's loss; :func:`train` computes both."""
        return _told_real(self.discriminator(self.made()), real=True)

    def judge(self) -> float:
        """Return the Fréchet distance between generated and held-out pictures."""
        noise = torch.randn(_JUDGED, _LATENT, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            made = self.generator(noise).flatten(1).double()
        return frechet_distance(made, _held_out(self._pictures))


def _held_out(pictures: Pictures) -> Tensor:
    return pictures.held_out.flatten(1).double()


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """Return that of two samples' normal distributions, float64 ``[samples, features]``."""
    means = (first.mean(0) - second.mean(0)).square().sum()
    one, other = first.T.cov(), second.T.cov()
    values, vectors = torch.linalg.eigh(one)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    shared = torch.linalg.eigvalsh(root @ other @ root).clamp_min(0).sqrt().sum()
    return float(means + one.trace() + other.trace() - 2 * shared)


def _told_real(logits: Tensor, *, real: bool) -> Tensor:
    targets = torch.ones_like(logits) if real else torch.zeros_like(logits)
    return functional.binary_cross_entropy_with_logits(logits, targets)


def train(learner: Learner, settings: Settings, log_dir: Path) -> float:
    """Train both networks alternately, as DCGAN's script does.

    With ``keeps_gradients`` the discriminator clears its gradients after its own step, and what the
    generator's loss leaves in it goes into the next one.

    Args:
        learner: The networks.
        settings: How to train.
        log_dir: Folder of the recordings, with a subfolder for each network.

    Returns:
        The generator's loss at the last step.
    """
    assert isinstance(learner, GanLearner)
    faster = dataclasses.replace(
        settings, learning_rate=settings.learning_rate * settings.discriminator_factor
    )
    first = _part(faster, learner.discriminator, log_dir / "discriminator")
    second = _part(settings, learner.generator, log_dir / "generator")
    loss = torch.zeros(())
    for _ in range(settings.steps):
        if not settings.keeps_gradients:
            first.zero_grad()
        made = learner.made()
        of_both = _told_real(learner.discriminator(learner.real()), real=True) + _told_real(
            learner.discriminator(made.detach()), real=False
        )
        of_both.backward()
        first.debug.record(loss=of_both)
        first.step()
        if settings.keeps_gradients:
            first.zero_grad()
        second.zero_grad()
        loss = _told_real(learner.discriminator(made), real=True)
        loss.backward()
        second.debug.record(loss=loss)
        second.step()
    first.debug.close()
    second.debug.close()
    return loss.item()


def _part(settings: Settings, network: nn.Module, log_dir: Path) -> Part:
    optimizer = torch.optim.Adam(
        network.parameters(),
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        eps=settings.epsilon,
    )
    return Part(settings, network, optimizer, log_dir)
