"""Adds and removes hooks of optimizers while something may be iterating over them.

torch iterates over an optimizer's hooks and raises if one is added or removed meanwhile. A callback
created or closed within a hook, for example by a function for findings, would end the training. So
a removed hook becomes a no-op at once and is deleted later; an added one waits until a hook of
another kind is called.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks
from torch.utils.hooks import RemovableHandle

# The code object of the functions that iterate over an optimizer's hooks, and over global ones.
_HOOKED_STEP = Optimizer.profile_hook_step(lambda self: None).__code__
_FILE = _HOOKED_STEP.co_filename

# Names of an optimizer's dictionaries of hooks.
_BEFORE_STEP, _AFTER_STEP = "_optimizer_step_pre_hooks", "_optimizer_step_post_hooks"
_BEFORE_LOAD = "_optimizer_load_state_dict_pre_hooks"
_AFTER_LOAD = "_optimizer_load_state_dict_post_hooks"

# Disabled hooks that are still to be deleted.
_waiting: list[RemovableHandle] = []


class OptimizerHooks:
    """Hooks of one optimizer; each is added as soon as nothing iterates over its dictionary.

    If this is created between two steps, all are added at once. Within a step, the hooks before it
    may have to wait for those after it, or the other way round; one of the two is always added at
    once.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        before_step: Callable[..., Any],
        after_step: Callable[..., Any],
        before_load: Callable[..., Any],
        after_load: Callable[..., Any],
    ) -> None:
        """Add the hooks that can be added now.

        Args:
            optimizer: The optimizer to hook.
            before_step: Called before each step.
            after_step: Called after each step, before other hooks.
            before_load: Called before a checkpoint is loaded.
            after_load: Called after a checkpoint is loaded.
        """
        take_away()
        self._optimizer: Optimizer | None = optimizer
        # Compiling an optimizer's step must not compile the callback into it.
        self._to_put_on: dict[str, Callable[..., Any]] = {
            _AFTER_STEP: torch.compiler.disable(after_step),
            _BEFORE_STEP: torch.compiler.disable(before_step),
            _BEFORE_LOAD: before_load,
            _AFTER_LOAD: after_load,
        }
        self._handles: list[RemovableHandle] = []
        self.put_on()

    @property
    def is_attached(self) -> bool:
        """Whether the hooks have not been removed."""
        return self._optimizer is not None

    def put_on(self) -> None:
        """Add the hooks that had to wait, if nothing iterates over their dictionaries now."""
        optimizer = self._optimizer
        if optimizer is None or not self._to_put_on:
            return
        register: dict[str, Callable[..., RemovableHandle]] = {
            _BEFORE_STEP: optimizer.register_step_pre_hook,
            _AFTER_STEP: optimizer.register_step_post_hook,
            _BEFORE_LOAD: optimizer.register_load_state_dict_pre_hook,
            _AFTER_LOAD: optimizer.register_load_state_dict_post_hook,
        }
        busy = _busy()
        for name, hook in list(self._to_put_on.items()):
            if id(getattr(optimizer, name, None)) in busy:
                continue
            del self._to_put_on[name]
            handle = register[name](hook)
            self._handles.append(handle)
            if name == _AFTER_STEP:
                # Changes by other hooks to weights and settings after a step are not part of the
                # step.
                with contextlib.suppress(AttributeError, KeyError):
                    getattr(optimizer, name).move_to_end(handle.id, last=False)

    def take_off(self) -> None:
        """Remove all hooks; drop those that still wait."""
        for handle in self._handles:
            detach(handle)
        self._handles, self._to_put_on, self._optimizer = [], {}, None
        take_away()


def can_follow_all() -> bool:
    """Whether a global hook, after the steps of all optimizers, can be added now."""
    return id(_global_optimizer_post_hooks) not in _busy()


def detach(handle: RemovableHandle) -> None:
    """Disable a hook, and delete it as soon as nothing iterates over its dictionary.

    Args:
        handle: Handle of a hook of an optimizer, or of a global one.
    """
    hooks = handle.hooks_dict_ref()
    if hooks is not None and handle.id in hooks:
        hooks[handle.id] = _nothing  # replacing a value does not disturb an iteration
        _waiting.append(handle)
    take_away()


def take_away() -> None:
    """Delete the hooks that could not be deleted before, unless something iterates over them."""
    if not _waiting:
        return
    busy = _busy()
    for handle in list(_waiting):
        if id(handle.hooks_dict_ref()) not in busy:
            with contextlib.suppress(ValueError):  # another thread may do the same
                _waiting.remove(handle)
                handle.remove()


def _busy() -> set[int]:
    """Return the ids of the hook dictionaries that may be iterated over now."""
    busy: set[int] = set()
    for frame in sys._current_frames().values():
        inner: FrameType | None = frame
        stepping: set[int] = set()
        while inner is not None:
            if inner.f_code.co_filename == _FILE:
                busy.update(map(id, _gone_through(inner, stepping)))
            inner = inner.f_back
    return busy


def _gone_through(frame: FrameType, stepping: set[int]) -> list[object]:
    """Return the hook dictionaries that a call may be iterating over.

    Args:
        frame: Frame of a function of torch/optim/optimizer.py.
        stepping: Ids of optimizers whose hooks an inner call iterates over; added to.
    """
    names = frame.f_locals
    optimizer = names.get("self")
    if not isinstance(optimizer, Optimizer):
        return []
    if frame.f_code is not _HOOKED_STEP:
        if frame.f_code.co_name != "load_state_dict":
            return []
        return [getattr(optimizer, name, None) for name in (_BEFORE_LOAD, _AFTER_LOAD)]
    if id(optimizer) in stepping:  # a base class's step is running: this call is between its hooks
        return []
    stepping.add(id(optimizer))
    if "post_hook" in names or "out" in names:
        return [_global_optimizer_post_hooks, getattr(optimizer, _AFTER_STEP, None)]
    return [_global_optimizer_pre_hooks, getattr(optimizer, _BEFORE_STEP, None)]


def _nothing(*_: object) -> None:
    return None
