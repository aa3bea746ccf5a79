"""Trainings with one fault each, from ``adam-debug demo``, to show real findings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tab_runs import HEALTHY, ILL, wait_for_runs
from tensorboard_process import TensorBoard, running_tensorboard

from tb_adam_plugin.callback.demo.demonstrations import DEMONSTRATIONS
from tb_adam_plugin.callback.demo.training import train


@pytest.fixture(scope="module")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs with different faults, and a healthy one."""
    folder = tmp_path_factory.mktemp("demo")
    faults = {d.name: d for d in DEMONSTRATIONS}
    for name in ILL:
        train(faults[name].fault, folder / name)
    train(faults["dead_units"].fix, folder / HEALTHY)
    return folder


@pytest.fixture(scope="module")
def demo_board(demo_folder: Path) -> Iterator[TensorBoard]:
    """TensorBoard on these runs."""
    with running_tensorboard(demo_folder) as process:
        wait_for_runs(process, len(ILL) + 1)
        yield process
