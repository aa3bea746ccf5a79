"""A variational autoencoder: Kingma and Welling's on digits, a convolutional one on shapes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from real.families.pictures import pictures_of
from real.recipe.learner import Start
from real.recipe.settings import Half, Settings

_LATENT, _NOT_NORMALIZED = 16, 255.0


def settings_of(half: Half) -> Settings:
    """Return Adam at 1e-3 and batches of 128, as in pytorch/examples."""
    return Settings(
        steps=500, batch_size=128, learning_rate=1e-3, optimizer="adam"
    ) if half == "tuning" else Settings(
        steps=500, batch_size=64, learning_rate=1e-3, optimizer="adamw", weight_decay=0.01,
        schedule="torch cosine", final_share=0.0,
    )  # fmt: skip


class Autoencoder(nn.Module):
    """Encoder, latent normal variables, decoder."""

    def __init__(self, half: Half, side: int) -> None:
        """Make the layers.

        Args:
            half: Half of the laboratory: fully connected, or convolutional.
            side: Side length of a picture in pixels; a multiple of 4.
        """
        super().__init__()
        pixels, small = side**2, side // 4
        if half == "tuning":
            self.encoder = nn.Sequential(
                nn.Flatten(), nn.Linear(pixels, 256), nn.ReLU(), nn.Linear(256, 2 * _LATENT)
            )
            self.decoder = nn.Sequential(
                nn.Linear(_LATENT, 256), nn.ReLU(), nn.Linear(256, pixels),
                nn.Unflatten(1, (1, side, side)),
            )  # fmt: skip
            return
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1),
            nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten(), nn.Linear(32 * small**2, 2 * _LATENT),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Linear(_LATENT, 32 * small**2), nn.Unflatten(1, (32, small, small)), nn.ReLU(),
            nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.BatchNorm2d(16), nn.ReLU(),
            nn.ConvTranspose2d(16, 1, 4, 2, 1),
        )  # fmt: skip

    def forward(self, inputs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits of the pixels, and mean and log variance of the latent variables.

        Args:
            inputs: float ``[pictures, 1, side, side]``.
            noise: float ``[pictures, latent]``, standard normal.
        """
        mean, log_variance = self.encoder(inputs).chunk(2, 1)
        logits: Tensor = self.decoder(mean + noise * (log_variance / 2).exp())
        return logits, mean, log_variance


class VaeLearner:
    """The autoencoder and its pictures.

    Attributes:
        model: The model to train.
    """

    def __init__(self, start: Start) -> None:
        """Make the model."""
        self._pictures, self._start = pictures_of(start.half), start
        self.model: nn.Module = Autoencoder(start.half, self._pictures.side)

    def loss(self, *, bad: bool) -> Tensor:
        """Return minus a batch's bound, in nats per picture; a corrupt one is not normalized."""
        size, generator = self._start.settings.batch_size, self._start.generator
        inputs, _ = self._pictures.batch(generator, size)
        noise = torch.randn(size, _LATENT, generator=generator)
        return self._bound(inputs * (_NOT_NORMALIZED if bad else 1), noise)

    def judge(self) -> float:
        """Return minus the bound of held-out pictures, in nats per picture."""
        inputs = self._pictures.held_out
        noise = torch.randn(len(inputs), _LATENT, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            return self._bound(inputs, noise).item()

    def _bound(self, inputs: Tensor, noise: Tensor) -> Tensor:
        of_weights = next(self.model.parameters()).dtype
        outputs = self.model(inputs.to(of_weights), noise.to(of_weights))
        logits, mean, log_variance = (part.float() for part in outputs)
        pixels = functional.binary_cross_entropy_with_logits(logits, inputs, reduction="sum")
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum() / 2
        bound: Tensor = (pixels + divergence) / len(inputs)
        return bound
