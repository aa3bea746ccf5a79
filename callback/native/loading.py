"""Finds the C kernel, if it was built and is enabled.

It is built with the package if there is a compiler, and comes with the wheels. Without it, torch's
operations do the same and give the same numbers.
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

# Set to 0 to disable the kernel; read whenever something is created that could use it.
VARIABLE = "ADAM_DEBUG_NATIVE"
# Same as in kernel.h: a kernel built from other sources is ignored.
INTERFACE = 4
# With more elements than this, torch's operations are used if they run on several threads: these
# read memory faster than the kernel's single thread.
ELEMENTS_FOR_ONE_THREAD = 1 << 24

_LOG = logging.getLogger(__name__)
_CLASSES = {Tensor, nn.Parameter}
# The types that the kernel reads, in its numbering.
TYPES = (torch.float32, torch.bfloat16, torch.float16)
_NUMBER: Mapping[torch.dtype, int] = {dtype: i for i, dtype in enumerate(TYPES)}
_IS_CPU, _DTYPE = operator.attrgetter("is_cpu"), operator.attrgetter("dtype")


class Kernel(Protocol):
    """The C module. ``kernel.h`` documents its arguments.

    Attributes:
        LEVELS: Names of the instruction sets that this processor supports, the best one last.
        ROW_VALUES: Names of the row values in the order in which they are written.
        NUMBERS: Names of the formula's numbers, in order.
        TYPES: Names of the types that it reads, as :data:`TYPES`.
        COLUMNS: Names of the columns of a parameter.
        SUMS: Names of the sums over all elements.
        FLAGS: Names of the bits.
        QUANTITIES: Names of the quantities that it can count.
        ARGUMENTS: Names of the arguments.
        BITMAP: Size of a histogram's bitmap in bytes.
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
        """Reduce their step; return how many histogram counts were written."""

    def squares(
        self, level: int, addresses: int, types: int, elements: int, count: int, out: int
    ) -> None:
        """Add up the squares of whole tensors."""


class Places(NamedTuple):
    """Where some tensors are.

    Attributes:
        addresses: Addresses of their first elements.
        types: Indices into :data:`TYPES`; one number if all have the same type.
    """

    addresses: list[int]
    types: int | list[int]


def find_kernel() -> Kernel | None:
    """Return the kernel, or None if it was not built, does not fit or is disabled."""
    if os.environ.get(VARIABLE, "").strip() == "0":
        return None
    return _loaded()


def has_more_threads_to_use(elements: int) -> bool:
    """Whether torch, on several threads, would be faster than the kernel on one."""
    return elements > ELEMENTS_FOR_ONE_THREAD and torch.get_num_threads() > 1


def address(array: npt.NDArray[Any]) -> int:
    """Return the address of a contiguous array, which the caller must keep alive."""
    assert array.flags.c_contiguous
    return array.ctypes.data


def addresses_of(tensors: Sequence[Tensor]) -> Places | None:
    """Return the addresses of tensors, or None if the kernel cannot read one of them.

    It reads :data:`TYPES` on the CPU, without subclasses, as they are in memory. The caller must
    check their extent and order. For thousands of small tensors these calls dominate the cost, so
    each property is checked for all at once.
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
        return None  # its memory was freed, as for a parameter that is gathered on demand
    if len(found) > 1:
        return Places(addresses, [_NUMBER[dtype] for dtype in dtypes])
    return Places(addresses, _NUMBER[found.pop()] if found else 0)


class Arguments:
    """The arguments of a call of the kernel, by name.

    Attributes:
        address: Address of the arguments.
    """

    def __init__(self, names: tuple[str, ...], **values: int) -> None:
        """Store values where the kernel looks for them; the others are 0."""
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
