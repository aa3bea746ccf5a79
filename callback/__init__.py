"""The training side of Adam Debug: records an optimizer's steps into a TensorBoard event file.

Users only need :class:`AdamDebugCallback`::

    from tb_adam_plugin.callback import AdamDebugCallback

    debug = AdamDebugCallback(model, optimizer, log_dir="runs/first")
    ...  # train as usual
    debug.close()

The folders follow the path of a step: ``attach`` and ``optimizer_state`` (what there is) →
``schedule`` (whether to record it) → ``read`` (what to read) → ``measure`` (what to compute) →
``steps`` (what becomes a record) → ``write`` (what is written).
"""

from __future__ import annotations

from . import inert_copy  # noqa: F401 - defines how a callback is copied
from .adam_debug_callback import AdamDebugCallback

__all__ = ["AdamDebugCallback"]
