"""Checks the callback's arguments: each message names the argument, the value and the remedy."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeGuard

from torch import nn
from torch.optim import LBFGS, Optimizer


def check_count(name: str, value: object, *, least: int = 1, optional: bool = True) -> None:
    """Check an integer.

    Raises:
        TypeError: If it is not an integer.
        ValueError: If it is below ``least``.
    """
    if value is None and optional:
        return
    or_none = " or None" if optional else ""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}={value!r}: expected an int of at least {least}{or_none}")
    if value < least:
        raise ValueError(f"{name}={value}: expected at least {least}{or_none}")


def check_share(name: str, value: object) -> None:
    """Check a number above 0 and up to 1, or None.

    Raises:
        TypeError: If it is not a number.
        ValueError: If it is out of range.
    """
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}={value!r}: expected a number above 0 and up to 1, or None")
    if not 0 < value <= 1:
        raise ValueError(f"{name}={value}: expected a number above 0 and up to 1, or None")


def check_flag(name: str, value: object) -> None:
    """Check a bool.

    Raises:
        TypeError: If it is not a bool.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name}={value!r}: expected True or False")


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Check a keyword.

    Raises:
        ValueError: If it is not one of ``choices``.
    """
    if value not in choices:
        raise ValueError(f"{name}={value!r}: expected one of {', '.join(map(repr, choices))}")


def check_reaction(name: str, value: object) -> None:
    """Check a reaction: "warn", a function, or None.

    Raises:
        TypeError: If it is anything else.
        ValueError: If it is another string.
    """
    if isinstance(value, str):
        check_choice(name, value, ("warn",))
    elif value is not None and not callable(value):
        raise TypeError(f'{name}={value!r}: expected "warn", a function or None')


def check_loss_closure(closure: object, model: object, optimizer: object) -> None:
    """Check that the loss can be evaluated around a step.

    Raises:
        TypeError: If ``closure`` is not a function, or ``model`` is not a module.
        ValueError: If the optimizer does not use a single gradient per step.
    """
    if closure is None:
        return
    if not callable(closure):
        raise TypeError(f"loss_closure={closure!r}: expected a function that returns the loss")
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"loss_closure needs a module as model, to restore its buffers, got "
            f"{type(model).__name__}"
        )
    if isinstance(optimizer, LBFGS):
        raise ValueError(
            "loss_closure cannot be used with LBFGS: it computes several gradients per step, and "
            "the last one does not belong to the weights before it"
        )


def check_destination(log_dir: object, writer: object) -> None:
    """Check that there is exactly one output folder.

    Raises:
        TypeError: If ``log_dir`` is not a path.
        ValueError: If both or neither are given.
    """
    if (log_dir is None) == (writer is None):
        given = "neither" if log_dir is None else "both"
        raise ValueError(
            f"exactly one of log_dir and writer is needed, got {given}: pass "
            'log_dir="runs/name", or writer= a SummaryWriter to share its event file'
        )
    if log_dir is not None and not isinstance(log_dir, str | os.PathLike):
        example = str(Path("runs", "name"))
        raise TypeError(f"log_dir={log_dir!r}: expected a path such as {example!r}")
    if log_dir is not None and not os.fspath(log_dir):
        raise ValueError("log_dir is empty: expected a path such as 'runs/name'")


def torch_optimizer(optimizer: object) -> Optimizer:
    """Return the torch optimizer that takes the steps, unwrapped.

    Accelerate, Lightning and DeepSpeed keep it as ``.optimizer``, ZeroRedundancyOptimizer as
    ``.optim``, and containers as the only one of ``.optimizers``.

    Raises:
        TypeError: If there is no such optimizer, or more than one.
    """
    several = optimizer if _is_list(optimizer) else getattr(optimizer, "optimizers", None)
    if _is_list(several) and len(several) > 1:
        raise TypeError(
            f"optimizer is a {type(optimizer).__name__} of {len(several)} optimizers: give each "
            "of them its own AdamDebugCallback and log_dir"
        )
    only = several[0] if _is_list(several) and several else None
    for inner in (only, getattr(optimizer, "optimizer", None), getattr(optimizer, "optim", None)):
        if hasattr(inner, "step") and inner is not optimizer:
            return torch_optimizer(inner)
    # A wrapper may inherit from Optimizer without working as one.
    if not isinstance(optimizer, Optimizer) or not hasattr(optimizer, "param_groups"):
        raise TypeError(
            f"optimizer is a {type(optimizer).__name__}: expected a torch.optim.Optimizer"
        )
    return optimizer


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, list | tuple)
