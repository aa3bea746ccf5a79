"""The interpreter back soon, for a thread that reads beside one that computes.

A call of the operating system or of NumPy gives the interpreter away, and a thread that computes
in Python keeps it for five milliseconds. Beside TensorBoard's own loader, which checks in a Python
loop what it reads, thousands of such calls would take minutes.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_SECONDS = 3e-5

_lock = threading.Lock()
_usual: list[float] = []  # the interval as it was, once for each thread that reads


@contextmanager
def quick_turns() -> Iterator[None]:
    """Let threads of this process change more often, as long as somebody is in here."""
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
