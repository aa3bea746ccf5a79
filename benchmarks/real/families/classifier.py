"""Classifiers: a residual network with batch normalization, and small ones for any optimizer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from real.families.pictures import Pictures, pictures_of
from real.recipe.learner import Start
from real.recipe.settings import Half, Settings

# A batch that was not divided by 255.
_NOT_NORMALIZED = 255.0


def sgd_settings(half: Half) -> Settings:
    """Return settings of residual networks on CIFAR: SGD, momentum, cosine or one cycle."""
    settings = Settings(
        steps=400, batch_size=128, learning_rate=0.1, optimizer="sgd", weight_decay=5e-4,
        schedule="torch cosine", final_share=0.0,
    )  # fmt: skip
    if half == "tuning":
        return settings
    return Settings(**{**settings.as_json(), "schedule": "onecycle"})


def adamw_settings(half: Half) -> Settings:
    """Return the settings of fast.ai and timm: AdamW with one cycle, or with warm-up and cosine."""
    settings = Settings(
        steps=400, batch_size=64, learning_rate=1e-3, weight_decay=0.05, schedule="onecycle"
    )
    if half == "tuning":
        return settings
    schedule = {"schedule": "torch cosine", "warm_up_steps": 40, "final_share": 0.0}
    return Settings(**{**settings.as_json(), **schedule})


def plain_settings(half: Half) -> Settings:
    """Return the settings of the small networks, whose learning rate each optimizer replaces."""
    return Settings(steps=300, batch_size=64, learning_rate=1e-3)


class Residual(nn.Module):
    """Two convolutions with a skip connection."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        """Make the layers.

        Args:
            width_in: Input channels.
            width: Output channels.
            stride: Stride of the first convolution.
        """
        super().__init__()
        self.conv_1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.bn_1 = nn.BatchNorm2d(width)
        self.conv_2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn_2 = nn.BatchNorm2d(width)
        self.around: nn.Module = nn.Identity()
        if stride != 1 or width_in != width:
            self.around = nn.Sequential(
                nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return float ``[pictures, width, side, side]``."""
        out = self.bn_2(self.conv_2(functional.relu(self.bn_1(self.conv_1(x)))))
        return functional.relu(out + self.around(x))


def residual_network(half: Half, classes: int) -> nn.Sequential:
    """Make a residual network of three stages; the reporting half's is wider and shallower."""
    widths = (16, 32, 64) if half == "tuning" else (24, 48)
    blocks = [
        Residual(before, width, 1 if i == 0 else 2)
        for i, (before, width) in enumerate(zip((widths[0], *widths), widths, strict=False))
    ]
    return nn.Sequential(
        nn.Conv2d(1, widths[0], 3, 1, 1, bias=False),
        nn.BatchNorm2d(widths[0]),
        nn.ReLU(),
        *blocks,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(widths[-1], classes),
    )


def plain_network(half: Half, pictures: Pictures) -> nn.Sequential:
    """Make an MLP of three layers, or a small convolutional network."""
    if half == "tuning":
        return nn.Sequential(
            nn.Flatten(), nn.Linear(pictures.side**2, 128), nn.ReLU(), nn.Linear(128, 128),
            nn.ReLU(), nn.Linear(128, pictures.classes),
        )  # fmt: skip
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1), nn.GroupNorm(4, 16), nn.GELU(), nn.Conv2d(16, 32, 3, 2, 1),
        nn.GroupNorm(4, 32), nn.GELU(), nn.Flatten(),
        nn.Linear(32 * ((pictures.side + 3) // 4) ** 2, pictures.classes),
    )  # fmt: skip


class PictureLearner:
    """A classifier and its pictures.

    Attributes:
        model: The model to train.
    """

    def __init__(self, start: Start, model: nn.Module, pictures: Pictures) -> None:
        """Set what to train.

        Args:
            start: Start of the run.
            model: Returns logits.
            pictures: The training data.
        """
        self.model, self._pictures, self._start = model, pictures, start

    def loss(self, *, bad: bool) -> Tensor:
        """Return the cross-entropy of a batch; a corrupt one is not normalized."""
        size = self._start.settings.batch_size
        inputs, targets = self._pictures.batch(self._start.generator, size)
        return functional.cross_entropy(self._logits(inputs, bad=bad), targets)

    def judge(self) -> float:
        """Return the accuracy on held-out pictures."""
        with torch.no_grad():
            found = self._logits(self._pictures.held_out).argmax(1)
        return float((found == self._pictures.held_out_targets).float().mean())

    def _logits(self, inputs: Tensor, *, bad: bool = False) -> Tensor:
        weight = next(self.model.parameters())
        logits: Tensor = self.model((inputs * (_NOT_NORMALIZED if bad else 1)).to(weight.dtype))
        return logits.float()


def make(start: Start) -> PictureLearner:
    """Make the residual network of a half."""
    pictures = pictures_of(start.half)
    return PictureLearner(start, residual_network(start.half, pictures.classes), pictures)


def make_plain(start: Start) -> PictureLearner:
    """Make the small network of a half."""
    pictures = pictures_of(start.half)
    return PictureLearner(start, plain_network(start.half, pictures), pictures)
