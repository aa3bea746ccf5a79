"""The parts of a step, each tested separately."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tb_adam_plugin import schema
from tb_adam_plugin.callback import AdamDebugCallback, adam_debug_callback
from tb_adam_plugin.callback.optimizer_state.registry import adapter_for
from tb_adam_plugin.callback.ranks.placement import Placement
from tb_adam_plugin.callback.shards.shards import WholeShard
from tb_adam_plugin.callback.steps.agenda import StepCount
from tb_adam_plugin.callback.steps.followed_parameters import FollowedParameters
from tb_adam_plugin.callback.steps.notices import Notices
from tb_adam_plugin.callback.steps.parameter_records import ParameterRecords


def whole(_: str, parameter: Tensor) -> WholeShard:
    return WholeShard(parameter.shape, True)


def test_gradient_norms_are_those_of_the_step_after_less_is_read_of_shared_parameters() -> None:
    weight = nn.Parameter(torch.zeros(64, 64))
    optimizer = torch.optim.AdamW([weight])
    state, placement = adapter_for(optimizer), Placement(shard_of=whole)
    records = ParameterRecords(
        [("weight", weight)], optimizer, state, 1024, schema.QUANTITIES, placement
    )
    parameters = FollowedParameters(optimizer, state, records, placement, None, Notices())
    weight.grad = torch.ones(64, 64)
    assert parameters.norms.squares()[0].tolist() == [4096]
    assert parameters.shrink()
    kept = weakref.ref(weight.grad)
    parameters.forget_gradients()
    weight.grad = torch.full((64, 64), 2.0)
    gc.collect()
    assert kept() is None
    assert parameters.norms.squares()[0].tolist() == [4 * 4096]


def test_a_process_that_records_nothing_keeps_no_model_once_it_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adam_debug_callback, "find_placement", lambda *_: Placement(is_silent=True))
    model = nn.Linear(3, 3)
    optimizer = torch.optim.AdamW(model.parameters())
    debug = AdamDebugCallback(model, optimizer, log_dir=tmp_path / "run")
    for _ in range(2):
        model(torch.ones(1, 3)).sum().backward()
        debug.record(loss=1.0)
        optimizer.step()
    debug.flush()
    assert debug.step == 2
    debug.close()
    debug.close()
    assert debug.step == 2
    assert not (tmp_path / "run").exists()
    kept = weakref.ref(model), weakref.ref(optimizer)
    del model, optimizer
    gc.collect()
    assert [reference() for reference in kept] == [None, None]


def test_a_count_is_the_optimizers_until_the_user_sets_another() -> None:
    weight = nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.Adam([weight])
    count = StepCount(adapter_for(optimizer), None)
    for _ in range(2):
        weight.grad = torch.ones(3)
        optimizer.step()
    assert count.read(goes_on=True) == 2
    optimizer.step()
    assert count.read(goes_on=True) == 2  # whoever goes on with it adds to it
    count.read_anew()
    assert count.read(goes_on=False) == 3
    optimizer.step()
    assert count.read(goes_on=False) == 4
    count.set(7)
    count.read_anew()
    optimizer.step()
    assert count.read(goes_on=False) == 7
    assert not count.follows_optimizer
