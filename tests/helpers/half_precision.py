"""Tensors in half precision, in the types that optimizers use for storage."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tb_adam_plugin.callback.native import loading

SHAPES: tuple[tuple[int, ...], ...] = (
    (), (0, 4), (1,), (255,), (256,), (300, 17), (7, 9, 3), (3, 2050), (120, 150), (20_011,),
    (70, 30, 3, 3), (2, 70_000), (20_000, 1),
)  # fmt: skip
HALVES = (torch.bfloat16, torch.float16)
# The types of weight and gradient, and the storage types of the two moments.
Types = tuple[torch.dtype, torch.dtype, torch.dtype]
TYPES: dict[str, Types] = {
    "bfloat16": (torch.bfloat16,) * 3,
    "float16": (torch.float16,) * 3,
    "bfloat16 by float32": (torch.bfloat16, torch.float32, torch.float32),
    "float16 by float32": (torch.float16, torch.float32, torch.float32),
    "float32 by bfloat16": (torch.float32, torch.bfloat16, torch.bfloat16),
    "float32, exp_avg in bfloat16": (torch.float32, torch.bfloat16, torch.float32),
    "float32, exp_avg_sq in float16": (torch.float32, torch.float32, torch.float16),
    "all of them": (torch.bfloat16, torch.float32, torch.float16),
}


def levels() -> range:
    """Indices of all instruction sets of this processor; just one if there is no kernel."""
    kernel = loading.find_kernel()
    return range(1 if kernel is None else len(kernel.LEVELS))


every_level = pytest.mark.parametrize("level", levels())


def parameters_of(types: Types, shapes: tuple[tuple[int, ...], ...] = SHAPES) -> list[nn.Parameter]:
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(shape).to(types[0])) for shape in shapes]
