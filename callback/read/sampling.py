"""Which elements of a large parameter are read: lines, one drawn in each of equal strata.

They are drawn by the parameter's name: the same in every process, after a restart and in every run,
and other ones for another parameter of the same size.
"""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .rows import LINE

_SEED = 0x5EED


def chosen_elements(name: str, elements: int, most: int | None) -> npt.NDArray[np.int64] | None:
    """Return the indices of the elements to read of a parameter, ascending; None for all.

    Args:
        name: Name of the parameter.
        elements: Number of elements of the parameter.
        most: Largest number of elements to read; None for all.
    """
    lines = choose_lines(name, elements, most)
    if lines is None:
        return None
    indices = (lines[:, None] * LINE + torch.arange(LINE, device="cpu")).flatten()
    return indices[indices < elements].numpy()


def choose_lines(name: str, elements: int, most: int | None) -> Tensor | None:
    """Return the indices of the lines to read, ascending; None for all elements.

    The arguments are those of :func:`chosen_elements`.
    """
    if most is None or elements <= most:
        return None
    lines = -(-elements // LINE)
    wanted = max(1, most // LINE)
    # Our own generator: training must see the same random numbers with and without the callback.
    seed = _SEED ^ zlib.crc32(name.encode("utf-8", "surrogatepass"))
    generator = torch.Generator("cpu").manual_seed(seed)
    jitter = torch.rand(wanted, generator=generator, dtype=torch.float64, device="cpu")
    order = torch.arange(wanted, device="cpu")
    chosen = ((order + jitter) * (lines / wanted)).long()
    # If two neighbours drew the same line, the second takes the next free one.
    chosen = torch.cummax(chosen - order, 0).values + order
    return torch.minimum(chosen, lines - wanted + order)


def elements_of(lines: Tensor, elements: int) -> int:
    """Return how many elements some lines hold: a tensor's last line may be shorter."""
    short = bool(lines[-1] >= elements // LINE)
    return len(lines) * LINE - (LINE - elements % LINE if short else 0)
