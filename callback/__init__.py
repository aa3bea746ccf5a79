"""The training side of Adam Debug: records an optimizer's steps into a TensorBoard event file.

Users need :class:`AdamDebugCallback` alone::

    from tb_adam_plugin.callback import AdamDebugCallback

    debug = AdamDebugCallback(model, optimizer, log_dir="runs/first")
    ...  # train as ever
    debug.close()

The folders are the way of a step: ``attach`` and ``optimizer_state`` (what there is) →
``schedule`` (whether it is recorded) → ``read`` (what is read) → ``measure`` (what is computed) →
``steps`` (what becomes a record) → ``write`` (what is written).
"""

from __future__ import annotations

from . import inert_copy  # noqa: F401 - says how a callback is copied
from .adam_debug_callback import AdamDebugCallback

__all__ = ["AdamDebugCallback"]
