"""Pictures available without a network: scikit-learn's digits, and synthetic shapes."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from real.recipe.settings import Half
from tb_adam_plugin.arrays import Flags, Float64s

_DIGITS_HELD_OUT, _SHAPES, _SHAPES_HELD_OUT, _SIDE = 500, 3000, 1000, 12
_NOISE = 0.25
SHAPES = ("disc", "ring", "square", "frame", "cross", "stripes")


@dataclass(frozen=True)
class Pictures:
    """Pictures and their classes.

    Attributes:
        inputs: float32 ``[pictures, 1, side, side]``, from 0 to about 1.
        targets: int64 ``[pictures]``.
        held_out: As ``inputs``, other pictures.
        held_out_targets: As ``targets``.
        classes: Number of classes.
    """

    inputs: Tensor
    targets: Tensor
    held_out: Tensor
    held_out_targets: Tensor
    classes: int

    @property
    def side(self) -> int:
        """Side length of a picture, in pixels."""
        return self.inputs.shape[-1]

    def batch(self, generator: torch.Generator, size: int) -> tuple[Tensor, Tensor]:
        """Return random pictures and their classes."""
        chosen = torch.randint(len(self.inputs), (size,), generator=generator)
        return self.inputs[chosen], self.targets[chosen]


@functools.cache
def pictures_of(half: Half) -> Pictures:
    """Return a half's pictures: 1,797 digits of 8 x 8 pixels, or synthetic shapes of 12 x 12."""
    return _digits() if half == "tuning" else _shapes()


def _digits() -> Pictures:
    from sklearn.datasets import load_digits

    inputs, targets = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(inputs))
    images = torch.from_numpy(inputs[order].astype(np.float32) / 16).view(-1, 1, 8, 8)
    return _split(images, torch.from_numpy(targets[order].astype(np.int64)), _DIGITS_HELD_OUT, 10)


def _shapes() -> Pictures:
    rng = np.random.default_rng(0)
    count = _SHAPES + _SHAPES_HELD_OUT
    kinds = rng.integers(len(SHAPES), size=count)
    y, x = np.mgrid[:_SIDE, :_SIDE]
    centres = rng.uniform(4, _SIDE - 5, (count, 2))
    radii = rng.uniform(2.0, 4.0, count)
    images = np.empty((count, _SIDE, _SIDE), np.float32)
    for i, (kind, (cy, cx), radius) in enumerate(zip(kinds, centres, radii, strict=True)):
        images[i] = _drawn(SHAPES[kind], y - cy, x - cx, radius)
    images *= rng.uniform(0.5, 1.0, (count, 1, 1)).astype(np.float32)
    images += rng.normal(0, _NOISE, images.shape).astype(np.float32)
    inputs = torch.from_numpy(images.clip(0, 1))[:, None]
    return _split(inputs, torch.from_numpy(kinds), _SHAPES_HELD_OUT, len(SHAPES))


def _drawn(shape: str, y: Float64s, x: Float64s, radius: float) -> Flags:
    distance, largest = np.hypot(y, x), np.maximum(abs(y), abs(x))
    inside: dict[str, Flags] = {
        "disc": distance < radius,
        "ring": abs(distance - radius) < 0.8,
        "square": largest < radius,
        "frame": abs(largest - radius) < 0.8,
        "cross": (np.minimum(abs(y), abs(x)) < 0.8) & (largest < radius),
        "stripes": (largest < radius) & (np.round(y).astype(int) % 2 == 0),
    }
    return inside[shape]


def _split(inputs: Tensor, targets: Tensor, held_out: int, classes: int) -> Pictures:
    return Pictures(
        inputs[:-held_out], targets[:-held_out], inputs[-held_out:], targets[-held_out:], classes
    )
