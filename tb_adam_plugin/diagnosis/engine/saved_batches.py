"""Which batches were saved, so that a finding can name the file."""

from __future__ import annotations

from tb_adam_plugin.schema import batch_file

from .signals import Signals


def where_saved(signals: Signals, step: float) -> str:
    """Say where the batch of a step is, as one sentence after others; "" if it was not saved."""
    if not (signals.column("saved_batch") == step).any():
        return ""
    return f" It is saved in {batch_file(int(step))}, beside the event file."
