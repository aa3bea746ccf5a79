"""Fixtures that block the writer's thread or do without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from writer_thread_steps import Gate

from tb_adam_plugin import schema
from tb_adam_plugin.callback.write import run_folder_writer


@pytest.fixture
def packing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """A gate in front of the packing of histograms."""
    gate = Gate()
    pack = schema.histogram_tensors

    def wait_and_pack(*arguments: Any) -> list[schema.TaggedTensor]:
        gate.pass_through()
        return pack(*arguments)

    monkeypatch.setattr(schema, "histogram_tensors", wait_and_pack)
    yield gate
    gate.is_open.set()


@pytest.fixture
def on_this_thread(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """When called, everything is packed and written by the training thread."""
    return lambda: monkeypatch.setattr(run_folder_writer, "_SMALL_BYTES", 1 << 40)
