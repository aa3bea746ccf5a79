"""Calls that are not steps, loaded checkpoints, and copies of an optimizer."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo
from hooked_training import loss_of, make_model, take_step, watch
from recorded_run import read_run
from torch import nn


@pytest.mark.parametrize("lr", [1e-2, torch.tensor(1e-2)])
def test_the_step_of_a_distributed_checkpoint_is_none(tmp_path: Path, lr: Any) -> None:
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    with watch(model, optimizer, tmp_path) as debug:
        get_optimizer_state_dict(model, optimizer)
        assert optimizer.state[next(model.parameters())]["step"] == 1  # it really made a step
        assert debug.step == 0
        loss_of(model).backward()
        optimizer.step()
        assert debug.step == 1
    run = read_run(tmp_path)
    assert sorted(run.steps) == sorted(run.statistics) == [1]
    assert run.of(1, "0.weight")["gradient_rms"] > 0


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.filterwarnings("ignore:Adam Debug. SparseAdam")
def test_a_first_step_at_learning_rate_zero_is_one(tmp_path: Path, sparse: bool) -> None:
    model: nn.Module = nn.Embedding(9, 2, sparse=True) if sparse else make_model()
    make: Any = torch.optim.SparseAdam if sparse else torch.optim.AdamW
    optimizer = make(model.parameters(), lr=0.1)
    # A warm-up that starts at 0.
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: step / 2)
    with watch(model, optimizer, tmp_path):
        for _ in range(3):
            optimizer.zero_grad()
            (model(torch.tensor([1, 4])).sum() if sparse else loss_of(model)).backward()
            optimizer.step()
            scheduler.step()
    run = read_run(tmp_path)
    assert [run.steps[s]["lr"] for s in (1, 2, 3)] == [0.0, 0.05, 0.1]
    name = run.layouts[run.layout_at[1]].parameters[0].name
    assert run.of(1, name)["update_rms"] == 0
    assert run.of(2, name)["update_rms"] > 0


def test_a_first_step_with_gradients_of_zero_is_one(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.ones(4))
    optimizer = torch.optim.AdamW([weight], lr=0.1, weight_decay=0.5)
    with watch([("w", weight)], optimizer, tmp_path):
        take_step(weight, optimizer, 0.0)
    assert read_run(tmp_path).of(1, "w")["update_rms"] == pytest.approx(0.05)


def test_a_checkpoint_that_becomes_half_precision_is_noticed(tmp_path: Path) -> None:
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(3):
        loss_of(model).backward()
        optimizer.step()
    checkpoint = copy.deepcopy(optimizer.state_dict())
    resumed_model = make_model().bfloat16()
    resumed = torch.optim.AdamW(resumed_model.parameters())
    message = r"changed the type of exp_avg(_sq)? from float32 to bfloat16"
    with watch(resumed_model, resumed, tmp_path) as debug:
        with pytest.warns(UserWarning, match=message) as caught:
            resumed.load_state_dict(checkpoint)
        assert len(caught) == 2
        for _ in range(2):
            for parameter in resumed_model.parameters():
                parameter.grad = torch.ones_like(parameter)
            resumed.step()
        assert debug.step == 5
    run = read_run(tmp_path)
    assert sorted(run.steps) == [4, 5]
    assert run.layout.groups[0].storage["exp_avg"] == "bfloat16"
    assert run.layout.groups[0].storage["exp_avg_sq"] == "bfloat16"


def test_a_checkpoint_in_mid_run_sets_the_count_and_starts_a_layout(tmp_path: Path) -> None:
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters())
    # The half-precision state of another run.
    donor_model = make_model().bfloat16()
    donor = torch.optim.AdamW(donor_model.parameters())

    def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()

    for _ in range(45):
        step(donor_model, donor)
    with watch(model, optimizer, tmp_path, every_n_steps=1000) as debug:
        step(model, optimizer)
        model.bfloat16()
        with pytest.warns(UserWarning, match="changed the type") as caught:
            optimizer.load_state_dict(optimizer.state_dict())
        assert len(caught) == 2
        optimizer.load_state_dict(donor.state_dict())
        step(model, optimizer)
        assert debug.step == 46
    run = read_run(tmp_path)
    # The first step after a resume is recorded regardless of the schedule.
    assert sorted(run.statistics) == sorted(run.histograms) == [1, 46]
    storage = [layout.groups[0].storage["exp_avg"] for layout in run.layouts.values()]
    assert storage == ["float32", "bfloat16"]


def test_copies_of_a_watched_optimizer_are_not_watched_and_it_still_is(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.ones(4))
    optimizer = torch.optim.Adam([weight])
    with watch([("w", weight)], optimizer, tmp_path):
        take_step(weight, optimizer)
        copies = [copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))]
        for twin in copies:
            assert twin.state_dict()["state"][0]["step"] == 1
            (own,) = twin.param_groups[0]["params"]
            take_step(own, twin, 100.0)
        take_step(weight, optimizer)
        # Another callback can be attached to a copy.
        (own,) = copies[0].param_groups[0]["params"]
        with watch([("w", own)], copies[0], tmp_path / "copy"):
            take_step(own, copies[0], 100.0)
    run = read_run(tmp_path)
    assert sorted(run.steps) == [1, 2]
    assert run.of(2, "w")["gradient_rms"] == 1
    assert sorted(read_run(tmp_path / "copy").steps) == [3]
