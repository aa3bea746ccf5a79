"""Takes hooks away while somebody may be going through them.

torch goes through the hooks of an optimizer one by one, and raises where one of them disappears
meanwhile. A callback that is closed by a hook, as by a function for findings, would so end the
training. Such a hook does nothing from then on, and is taken away later.
"""

from __future__ import annotations

import contextlib
import sys
from types import FrameType

from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

# Whose functions go through the hooks of optimizers.
_FILE = Optimizer.profile_hook_step(lambda self: None).__code__.co_filename

# Hooks that do nothing any more and are to be taken away.
_waiting: list[RemovableHandle] = []


def detach(handle: RemovableHandle) -> None:
    """Let a hook do nothing from now on, and take it away as soon as nobody can notice that.

    Args:
        handle: Of a hook of an optimizer, or of all of them.
    """
    hooks = handle.hooks_dict_ref()
    if hooks is not None and handle.id in hooks:
        hooks[handle.id] = _nothing  # another value disturbs nobody who goes through them
        _waiting.append(handle)
    take_away()


def take_away() -> None:
    """Take away what could not be taken away before, unless an optimizer is at work."""
    if not _waiting or any(map(_goes_through_hooks, sys._current_frames().values())):
        return
    with contextlib.suppress(IndexError):  # another thread does the same
        while _waiting:
            _waiting.pop().remove()


def _goes_through_hooks(frame: FrameType | None) -> bool:
    """Whether a call on a stack is in a function that calls hooks."""
    while frame is not None:
        if frame.f_code.co_filename == _FILE:
            return True
        frame = frame.f_back
    return False


def _nothing(*_: object) -> None:
    return None
