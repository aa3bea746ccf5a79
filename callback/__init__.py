"""The training side of Adam Debug: records an optimizer's steps into a TensorBoard event file.

Users need :class:`AdamDebugCallback` alone::

    from tb_adam_plugin.callback import AdamDebugCallback

    debug = AdamDebugCallback(model, optimizer, log_dir="runs/first")
    ...  # train as ever
    debug.close()

The way of the data: ``watched_parameters`` and ``optimizer_state`` (what there is) → ``capture``
(what is read) → ``statistics`` and ``histograms`` (what is computed; ``measurement`` calls them) →
``recorder`` and ``event_log`` (what is written).
"""

from __future__ import annotations

from .adam_debug_callback import AdamDebugCallback

__all__ = ["AdamDebugCallback"]
