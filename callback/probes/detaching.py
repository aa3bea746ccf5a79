"""Hooks of optimizers put on and taken away while somebody may be going through them.

torch goes through the hooks of an optimizer one by one, and raises where one of them appears or
disappears meanwhile. A callback that is made or closed by a hook, as by a function for findings,
would so end the training. A hook that is taken away does nothing from then on, and goes later; one
that is put on waits, until a hook of another kind is called.
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

# Whose functions go through the hooks of optimizers, and that of every step.
_HOOKED_STEP = Optimizer.profile_hook_step(lambda self: None).__code__
_FILE = _HOOKED_STEP.co_filename

# Dictionaries of an optimizer.
_BEFORE_STEP, _AFTER_STEP = "_optimizer_step_pre_hooks", "_optimizer_step_post_hooks"
_BEFORE_LOAD = "_optimizer_load_state_dict_pre_hooks"
_AFTER_LOAD = "_optimizer_load_state_dict_post_hooks"

# Hooks that do nothing any more and are to be taken away.
_waiting: list[RemovableHandle] = []


class OptimizerHooks:
    """Hooks of one optimizer; each is put on as soon as nobody can notice that.

    Between two steps all of them are on when this is made. Within a step those before it may have
    to wait for those after it, and the other way round, so that one of the two is on at once.
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
        """Put on what can be.

        Args:
            optimizer: Whose hooks.
            before_step: Called before each step.
            after_step: After each step, before the hooks that others have put on.
            before_load: Before a checkpoint is loaded.
            after_load: After that.
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
        """Whether they have not been taken away."""
        return self._optimizer is not None

    def put_on(self) -> None:
        """Put on what had to wait, as far as that can be noticed by nobody now."""
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
                # What others do to weights and settings after a step is not what the step did.
                with contextlib.suppress(AttributeError, KeyError):
                    getattr(optimizer, name).move_to_end(handle.id, last=False)

    def take_off(self) -> None:
        """Take all away; what waits is forgotten."""
        for handle in self._handles:
            detach(handle)
        self._handles, self._to_put_on, self._optimizer = [], {}, None
        take_away()


def can_follow_all() -> bool:
    """Whether a hook of all optimizers, after their steps, may be put on now."""
    return id(_global_optimizer_post_hooks) not in _busy()


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
    """Take away what could not be taken away before, unless somebody goes through it."""
    if not _waiting:
        return
    busy = _busy()
    for handle in list(_waiting):
        if id(handle.hooks_dict_ref()) not in busy:
            with contextlib.suppress(ValueError):  # another thread does the same
                _waiting.remove(handle)
                handle.remove()


def _busy() -> set[int]:
    """Return the ids of the dictionaries of hooks that somebody may be going through now."""
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
    """Return the dictionaries of hooks that a call may be going through.

    Args:
        frame: Of a function of torch/optim/optimizer.py.
        stepping: Ids of optimizers whose hooks a call within this one goes through; added to.
    """
    names = frame.f_locals
    optimizer = names.get("self")
    if not isinstance(optimizer, Optimizer):
        return []
    if frame.f_code is not _HOOKED_STEP:
        if frame.f_code.co_name != "load_state_dict":
            return []
        return [getattr(optimizer, name, None) for name in (_BEFORE_LOAD, _AFTER_LOAD)]
    if id(optimizer) in stepping:  # the step of a base class runs: this call is between its hooks
        return []
    stepping.add(id(optimizer))
    if "post_hook" in names or "out" in names:
        return [_global_optimizer_post_hooks, getattr(optimizer, _AFTER_STEP, None)]
    return [_global_optimizer_pre_hooks, getattr(optimizer, _BEFORE_STEP, None)]


def _nothing(*_: object) -> None:
    return None
