"""Data of the fourth series: texts of installed packages, and synthetic data.

Everything is drawn from separate generators, so it is the same in every run.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import math
import unicodedata
import zlib

import torch
from torch import Tensor

from faults.tasks.data import Examples

_SOURCES = (
    "ast", "calendar", "cmd", "configparser", "copy", "dis", "doctest", "ftplib", "gzip", "imaplib",
    "ipaddress", "locale", "optparse", "pdb", "plistlib", "pprint", "selectors", "smtplib",
    "tokenize", "uuid",
)  # fmt: skip
_SCIPY = (
    "fft", "integrate", "interpolate", "linalg", "ndimage", "optimize", "signal", "sparse",
    "spatial", "special", "stats",
)  # fmt: skip
_PICTURE = 16
_SHAPES = 8


@functools.cache
def signals() -> Examples:
    """4,096 noisy signals ``[1, 64]`` and which of five waves they are."""
    generator = torch.Generator().manual_seed(0)
    kinds = torch.randint(5, (4096,), generator=generator)
    periods = 2 + 4 * torch.rand(4096, 1, generator=generator)
    time = torch.linspace(0, 1, 64)
    turns = periods * time + torch.rand(4096, 1, generator=generator)
    sine = torch.sin(2 * math.pi * turns)
    chirp = torch.sin(2 * math.pi * (turns + periods * time**2))
    waves = [sine, sine.sign(), 2 * (turns % 1) - 1, 4 * (turns % 1 - 0.5).abs() - 1, chirp]
    chosen = torch.stack(waves, dim=1)[torch.arange(4096), kinds]
    noise = torch.randn(4096, 64, generator=generator)
    return Examples((chosen + 0.3 * noise)[:, None], kinds, 5)


def _distance_to_outline(kind: int, x: Tensor, y: Tensor) -> Tensor:
    """Return the distance of points from the outline of a shape of radius 1, negative inside."""
    disc, square = (x**2 + y**2).sqrt() - 1, torch.maximum(x.abs(), y.abs()) - 0.9
    cross = torch.minimum(x.abs(), y.abs()) - 0.35
    return (
        disc,
        square,
        torch.maximum(cross, square),
        (disc + 0.25).abs() - 0.25,
        torch.maximum(1.9 * x.abs() + y - 0.9, -y - 0.9),
        x.abs() + y.abs() - 1,
        (square + 0.25).abs() - 0.25,
        torch.maximum(torch.minimum((x - y).abs(), (x + y).abs()) - 0.45, disc),
    )[kind]


@functools.cache
def _shapes() -> tuple[Tensor, Tensor]:
    """Draw 4,096 shapes ``[16, 16]``, of brightness 0 to 1, each one of eight kinds."""
    generator = torch.Generator().manual_seed(1)
    kinds = torch.randint(_SHAPES, (4096,), generator=generator)
    radii = 3.5 + 3 * torch.rand(4096, 1, 1, generator=generator)
    centres = 5.5 + 5 * torch.rand(2, 4096, 1, 1, generator=generator)
    pixels = torch.arange(_PICTURE).float()
    x, y = (
        (pixels[None, None, :] - centres[0]) / radii,
        (pixels[None, :, None] - centres[1]) / radii,
    )
    x, y = x.expand(-1, _PICTURE, -1), y.expand(-1, -1, _PICTURE)
    outlines = torch.stack([_distance_to_outline(kind, x, y) for kind in range(_SHAPES)], dim=1)
    chosen = outlines[torch.arange(4096), kinds]
    return torch.sigmoid(-3 * radii * chosen), kinds


@functools.cache
def pictures_of_shapes(first: int) -> Examples:
    """About 2,048 noisy pictures ``[3, 16, 16]`` and which of four shapes they show.

    Args:
        first: 0 for a disc, a square, a cross or a ring; 4 for a triangle, a diamond, a frame or a
            saltire.
    """
    shapes, kinds = _shapes()
    shown = (kinds >= first) & (kinds < first + 4)
    shapes, kinds = shapes[shown], kinds[shown] - first
    generator = torch.Generator().manual_seed(2 + first)
    colours = torch.randn(2, len(shapes), 3, 1, 1, generator=generator)
    pictures = colours[0] * shapes[:, None] + 0.5 * colours[1] * (1 - shapes[:, None])
    noise = torch.randn(pictures.shape, generator=generator)
    return Examples(pictures + 0.2 * noise, kinds, 4)


@functools.cache
def pictures_to_clean() -> Examples:
    """4,096 noisy pictures ``[1, 16, 16]`` of shapes, and the same without noise."""
    shapes = 2 * _shapes()[0][:, None] - 1
    noise = torch.randn(shapes.shape, generator=torch.Generator().manual_seed(3))
    return Examples(shapes + 0.7 * noise, shapes, 0)


@functools.cache
def sets_to_describe() -> Examples:
    """4,096 sets of 12 points ``[12, 3]``; their spread, their extent and a mean product."""
    generator = torch.Generator().manual_seed(4)
    scales = 0.5 + torch.rand(4096, 1, 3, generator=generator)
    points = scales * torch.randn(4096, 12, 3, generator=generator)
    spread = points.std(dim=1).mean(dim=1)
    extent = points.norm(dim=2).amax(dim=1)
    product = (points[..., 0] * points[..., 1]).mean(dim=1)
    return Examples(points, _standardised(torch.stack([spread, extent, product], dim=1)), 0)


@functools.cache
def ratings(users: int, items: int) -> Examples:
    """20,000 pairs of a user and an item, and the user's rating of the item, ``[1]``."""
    generator = torch.Generator().manual_seed(5)
    pairs = torch.stack(
        [torch.randint(n, (20_000,), generator=generator) for n in (users, items)], dim=1
    )
    tastes, traits = (torch.randn(n, 4, generator=generator) for n in (users, items))
    liked = torch.randn(items, 1, generator=generator)
    scores = (tastes[pairs[:, 0]] * traits[pairs[:, 1]]).sum(1, keepdim=True) + liked[pairs[:, 1]]
    noise = 0.3 * torch.randn(scores.shape, generator=generator)
    return Examples(pairs, _standardised(scores + noise), 0)


@functools.cache
def robot_arm() -> Examples:
    """4,096 positions of four joints ``[4]``, and the resulting position of the hand, ``[2]``."""
    generator = torch.Generator().manual_seed(6)
    angles = 2 * torch.rand(4096, 4, generator=generator) - 1
    directions = (1.2 * angles).cumsum(dim=1)
    lengths = torch.tensor([1.0, 0.8, 0.6, 0.4])
    hand = torch.stack([(lengths * f(directions)).sum(1) for f in (torch.cos, torch.sin)], dim=1)
    return Examples(angles / angles.std(), _standardised(hand), 0)


@functools.cache
def spirals() -> Examples:
    """3,000 points ``[2]`` and which of three arms of a spiral they are on."""
    generator = torch.Generator().manual_seed(7)
    arms = torch.randint(3, (3000,), generator=generator)
    radii = torch.rand(3000, generator=generator).sqrt()
    angles = 2 * math.pi * (arms / 3 + 0.7 * radii)
    points = radii[:, None] * torch.stack([angles.cos(), angles.sin()], dim=1)
    noise = 0.04 * torch.randn(points.shape, generator=generator)
    return Examples(2 * (points + noise), arms, 3)


@functools.cache
def graphs(nodes: int = 14) -> Examples:
    """2,048 adjacency matrices ``[nodes, nodes]`` and which of four ways they were drawn in."""
    generator = torch.Generator().manual_seed(8)
    count = 2048
    kinds = torch.randint(4, (count,), generator=generator)
    place = torch.arange(nodes)
    apart = (place[:, None] - place[None, :]).abs()
    near = (torch.minimum(apart, nodes - apart) <= 2).float()
    halves = (place % 2 == place[:, None] % 2).float()
    hubs = (torch.minimum(place[:, None], place[None, :]) < 2).float()
    # All have the same mean degree, about 4.
    density = 4 / (nodes - 1)
    chances = torch.stack(
        [torch.full_like(near, density), 0.85 * near + 0.05, 0.55 * halves + 0.05, 0.8 * hubs + 0.1]
    )
    drawn = torch.rand(count, nodes, nodes, generator=generator) < chances[kinds]
    upper = drawn.float().triu(diagonal=1)
    edges = upper + upper.transpose(1, 2)
    # In random order.
    order = torch.rand(count, nodes, generator=generator).argsort(dim=1)
    edges = edges.gather(1, order[:, :, None].expand(-1, -1, nodes))
    return Examples(edges.gather(2, order[:, None, :].expand(-1, nodes, -1)), kinds, 4)


@functools.cache
def names_of_characters() -> str:
    """The names of Unicode's characters that belong to alphabets: 300,000 characters."""
    names = (unicodedata.name(chr(number), "") for number in range(0x20, 0x3000))
    return "\n".join(name.lower() for name in names if name)


@functools.cache
def numpy_docstrings() -> str:
    """NumPy's docstrings of functions and classes: several hundred thousand characters."""
    return "\n".join(_docstrings_of("numpy") + _docstrings_of("numpy.linalg"))


@functools.cache
def other_sources() -> str:
    """The source of modules of Python's standard library that no other task has."""
    return "\n".join(inspect.getsource(importlib.import_module(name)) for name in _SOURCES)


@functools.cache
def scipy_parts_to_name(length: int, buckets: int) -> Examples:
    """Pieces of SciPy's docstrings as ids of their trigrams, and the part they are from.

    Args:
        length: Characters per piece.
        buckets: Number of distinct trigram ids; several trigrams may share an id.
    """
    pieces, names = [], []
    for part, name in enumerate(_SCIPY):
        lines = "\n".join(_docstrings_of(f"scipy.{name}")).lower().split("\n")
        # SciPy generates some of its examples randomly in every process, and marks them.
        lasting = "\n".join(line for line in lines if "# may vary" not in line)
        text = " ".join(lasting.split())[:60_000]
        numbers = torch.tensor(
            [zlib.crc32(text[i : i + 3].encode()) % buckets for i in range(len(text) - 2)]
        )
        pieces.append(numbers.unfold(0, length, length))
        names.append(torch.full((len(pieces[-1]),), part))
    return Examples(torch.cat(pieces), torch.cat(names), len(_SCIPY))


def _docstrings_of(module_name: str) -> list[str]:
    module = importlib.import_module(module_name)
    members = [value for _, value in sorted(vars(module).items()) if callable(value)]
    # Each once, in the order of their names.
    return list(dict.fromkeys(inspect.getdoc(member) or "" for member in members))


def _standardised(values: Tensor) -> Tensor:
    return (values - values.mean(0)) / values.std(0)
