"""Parameters of all shapes for the C kernel."""

from __future__ import annotations

import torch
from torch import nn

SHAPES: tuple[tuple[int, ...], ...] = (
    (), (0, 4), (1,), (255,), (256,), (300, 17), (7, 9, 3), (3, 2050), (120, 150), (20_011,),
    (70, 30, 3, 3), (2, 70_000), (20_000, 1),
)  # fmt: skip


def parameters_of(shapes: tuple[tuple[int, ...], ...] = SHAPES) -> list[nn.Parameter]:
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(shape)) for shape in shapes]
