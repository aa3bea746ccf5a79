"""Memory that was freed, given back to the operating system."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any


def give_back() -> None:
    """Give back what the C library keeps of freed memory; does nothing where it is not glibc.

    It keeps what lies between allocations that live, in a pool for each thread: after the diagnosis
    of a large run more than all that is still in use.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
