"""Shortens the wait for the GIL of a thread that reads while another one computes.

Calls of the operating system or of NumPy release the GIL, and a thread that computes in Python then
keeps it for five milliseconds. While TensorBoard's own loader checks what it reads in a Python
loop, thousands of such calls would take minutes.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_SECONDS = 3e-5

_lock = threading.Lock()
_usual: list[float] = []  # the original interval, once for each reading thread


@contextmanager
def quick_turns() -> Iterator[None]:
    """Make threads of this process switch more often while any thread is in here."""
    with _lock:
        _usual.append(_usual[0] if _usual else sys.getswitchinterval())
        sys.setswitchinterval(min(_SECONDS, _usual[0]))
    try:
        yield
    finally:
        with _lock:
            usual = _usual.pop()
            if not _usual:
                sys.setswitchinterval(usual)
