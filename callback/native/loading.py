"""Finds the kernel in C, where it was built and is wanted.

It is built with the package where there is a compiler, and comes with the wheels. Without it
torch's operations do the same, and give the same numbers.
"""

from __future__ import annotations

import functools
import importlib
import logging
import operator
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

# Set to 0 to leave the kernel alone; read whenever something is made that could use it.
VARIABLE = "ADAM_DEBUG_NATIVE"
# The same as in kernel.h: a kernel that was built from other sources is left alone.
INTERFACE = 3
# More elements than this are left to torch's operations where these run on several threads: then
# memory is gone through faster by all of them than by the one thread of the kernel.
ELEMENTS_FOR_ONE_THREAD = 1 << 24

_LOG = logging.getLogger(__name__)
_CLASSES = {Tensor, nn.Parameter}
# The types that the kernel reads, as it numbers them.
TYPES = (torch.float32, torch.bfloat16, torch.float16)
_NUMBER: Mapping[torch.dtype, int] = {dtype: i for i, dtype in enumerate(TYPES)}
_IS_CPU, _DTYPE = operator.attrgetter("is_cpu"), operator.attrgetter("dtype")


class Kernel(Protocol):
    """The module in C. ``kernel.h`` says what it is told.

    Attributes:
        LEVELS: Names of the instruction sets that this processor has, the best one last.
        ROW_VALUES: Names of the row values in the order in which they are put.
        NUMBERS: Names of the numbers of the formula, likewise.
        TYPES: Names of the types that it reads, as :data:`TYPES`.
        COLUMNS: Names of what is known of a parameter.
        SUMS: Names of the sums over all elements.
        FLAGS: Names of the bits.
        QUANTITIES: Names of those that can be counted.
        ARGUMENTS: Names of the arguments.
        BITMAP: Bytes of the bitmap of a histogram.
    """

    LEVELS: tuple[str, ...]
    ROW_VALUES: tuple[str, ...]
    NUMBERS: tuple[str, ...]
    TYPES: tuple[str, ...]
    COLUMNS: tuple[str, ...]
    SUMS: tuple[str, ...]
    FLAGS: tuple[str, ...]
    QUANTITIES: tuple[str, ...]
    ARGUMENTS: tuple[str, ...]
    BITMAP: int

    def keep(self, arguments: int, first: int, last: int) -> None:
        """Copy what a step is about to change of the parameters from ``first`` to ``last``."""

    def reduce(self, arguments: int, first: int, last: int) -> int:
        """Reduce their step; return how many counts of histograms were put."""

    def squares(
        self, level: int, addresses: int, types: int, elements: int, count: int, out: int
    ) -> None:
        """Add up the squares of whole tensors."""


class Places(NamedTuple):
    """Where some tensors are.

    Attributes:
        addresses: Of their first elements.
        types: Indices into :data:`TYPES`; one number where all are of one type.
    """

    addresses: list[int]
    types: int | list[int]


def find_kernel() -> Kernel | None:
    """Return the kernel, or None where it was not built, does not fit or is not wanted."""
    if os.environ.get(VARIABLE, "").strip() == "0":
        return None
    return _loaded()


def has_more_threads_to_use(elements: int) -> bool:
    """Whether torch would be faster, on several threads, than the kernel on one."""
    return elements > ELEMENTS_FOR_ONE_THREAD and torch.get_num_threads() > 1


def address(array: npt.NDArray[Any]) -> int:
    """Return where the elements of a contiguous array are, which somebody has to keep alive."""
    assert array.flags.c_contiguous
    return array.ctypes.data


def addresses_of(tensors: Sequence[Tensor]) -> Places | None:
    """Return where the elements of tensors are, or None if one is not for the kernel.

    It reads :data:`TYPES` of the CPU, of no class of its own, as they stand in memory. How far the
    elements reach, and in which order, the caller has to look up. Of thousands of small tensors
    these are the calls that take the time, so that each question is asked of all at once.
    """
    dtypes = list(map(_DTYPE, tensors))
    found = set(dtypes)
    if not (
        _NUMBER.keys() >= found
        and _CLASSES.issuperset(map(type, tensors))
        and all(map(_IS_CPU, tensors))
        and not any(map(Tensor.is_neg, tensors))
    ):
        return None
    try:
        addresses = list(map(Tensor.data_ptr, tensors))
    except RuntimeError:  # a layout without strides
        return None
    if 0 in addresses and any(
        not where and tensor.numel() for where, tensor in zip(addresses, tensors, strict=True)
    ):
        return None  # its memory was let go of, as that of a parameter which is gathered on demand
    if len(found) > 1:
        return Places(addresses, [_NUMBER[dtype] for dtype in dtypes])
    return Places(addresses, _NUMBER[found.pop()] if found else 0)


class Arguments:
    """What a call of the kernel is told, by name.

    Attributes:
        address: Of all of it.
    """

    def __init__(self, names: tuple[str, ...], **values: int) -> None:
        """Put values where the kernel looks for them; the others are 0."""
        self._index: Mapping[str, int] = {name: i for i, name in enumerate(names)}
        self._values = np.zeros(len(names), np.int64)
        self.address = address(self._values)
        self.put(**values)

    def put(self, **values: int) -> None:
        """Change some values."""
        for name, value in values.items():
            self._values[self._index[name]] = value


@functools.cache
def _loaded() -> Kernel | None:
    try:
        kernel: Any = importlib.import_module(f"{__package__}._kernel")
        types = tuple([str(dtype).removeprefix("torch.") for dtype in TYPES])
        if kernel.INTERFACE != INTERFACE or types != kernel.TYPES:
            raise ImportError("it was built from other sources; reinstall the package")
    except (ImportError, AttributeError) as error:
        _LOG.info(
            "Adam Debug: there is no native kernel; torch's operations record the same numbers, "
            "more slowly (%s)",
            error,
        )
        return None
    found: Kernel = kernel
    return found
