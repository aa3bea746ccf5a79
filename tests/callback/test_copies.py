"""A model that holds its callback can be copied, averaged, pickled and saved."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.run_data import load_runs


class Network(nn.Module):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.optimizer = torch.optim.Adam(self.layer.parameters())
        self.debug = AdamDebugCallback(self, self.optimizer, log_dir=folder, total_steps=20)

    def learn(self) -> None:
        self.optimizer.zero_grad()
        self.layer(torch.randn(8, 4)).square().mean().backward()
        self.debug.record(loss=1.0)
        self.debug.keep_batch(1)
        self.optimizer.step()


def saved(model: Network) -> Any:
    memory = io.BytesIO()
    torch.save(model, memory)
    memory.seek(0)
    return torch.load(memory, weights_only=False)


COPIES: dict[str, Callable[[Network], Any]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "torch.save": saved,
    "average": lambda model: torch.optim.swa_utils.AveragedModel(model).module,
}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_a_copy_records_nothing_and_is_not_in_the_way(
    tmp_path: Path, copied: Callable[[Network], Any]
) -> None:
    model = Network(tmp_path)
    other = copied(model)  # before the first step
    assert other.debug.step == 0
    for _ in range(5):
        model.learn()
    other = copied(model)
    assert isinstance(other.debug, AdamDebugCallback)
    assert other.debug.step == 5
    for _ in range(3):
        other.learn()
    with other.debug as debug:
        debug.flush()
        debug.step = 9
    again = copied(other)
    assert again.debug.step == 9
    for _ in range(5):
        model.learn()
    model.debug.close()
    copied(model)
    (run,) = load_runs(tmp_path)
    assert run.steps.tolist() == list(range(1, 11))
