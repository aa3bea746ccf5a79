"""The callback keeps nothing that training frees or replaces."""

from __future__ import annotations

import copy
import gc
import os
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kept_tensors import MODELS, OPTIONS, Made, Storages, Training, plain
from recorded_run import read_run
from torch import Tensor, nn

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.schedule.gradient_history import GradientHistory
from tb_adam_plugin.callback.steps.step import Step


@pytest.fixture(params=MODELS)
def made(request: pytest.FixtureRequest) -> Made:
    torch.manual_seed(0)
    found: Made = MODELS[request.param]()
    return found


@pytest.mark.parametrize("options", OPTIONS)
def test_nothing_survives_a_record(made: Made, options: str, tmp_path: Path) -> None:
    training = Training(made, tmp_path, **OPTIONS[options])
    if options == "between records":
        training.debug.step = 500
    for _ in range(3):
        training.step()
        gradients = Storages(training.gradients())
        assert gradients.alive() == gradients.count > 0
        training.optimizer.zero_grad(set_to_none=True)
        assert gradients.alive() == 0

    state = Storages(training.state())
    assert state.count
    training.optimizer.load_state_dict(copy.deepcopy(training.optimizer.state_dict()))
    assert state.alive() == 0

    weights = Storages(training.model.parameters())
    for parameter in training.model.parameters():
        parameter.data = parameter.data.clone()
    assert weights.alive() == 0
    training.step()
    training.debug.close()


def test_a_parameter_that_takes_anothers_place_is_followed_at_once(tmp_path: Path) -> None:
    """As a new head does in fine-tuning, between two records."""
    head = nn.Linear(70, 3)
    model = nn.Sequential(nn.Linear(6, 70), head)
    optimizer = torch.optim.Adam(model.parameters())
    norms = {}
    with AdamDebugCallback(model, optimizer, log_dir=tmp_path, every_n_steps=50, on_error="raise"):
        for step in range(1, 45):
            optimizer.zero_grad()
            if step == 35:
                old, new = head.weight, nn.Parameter(torch.randn(3, 70))
                group = optimizer.param_groups[0]
                group["params"] = [new if p is old else p for p in group["params"]]
                optimizer.state.pop(old)
                head.weight = new
                reference = weakref.ref(old)
                del old, new, group
            model(torch.randn(4, 6)).square().sum().backward()
            gradients = [p.grad for p in model.parameters() if p.grad is not None]
            norms[step] = float(sum(g.double().square().sum() for g in gradients)) ** 0.5
            del gradients
            optimizer.step()
            if step == 35:
                gc.collect()
                assert reference() is None
    recorded = {step: row["gradient_norm"] for step, row in read_run(tmp_path).steps.items()}
    assert recorded == pytest.approx(norms, rel=1e-5)


@pytest.mark.parametrize("closes", [False, True])
def test_a_model_that_is_deleted_is_freed(closes: bool, tmp_path: Path) -> None:
    training = Training(plain()(), tmp_path, exact=True, loss_closure=True)
    for _ in range(2):
        training.step()
    everything = Storages([*training.model.parameters(), *training.gradients(), *training.state()])
    assert everything.alive() == everything.count
    debug = training.debug
    if closes:
        debug.close()
        assert debug.step == 2
    else:
        del debug
    del training
    assert everything.alive() == 0
    if closes:
        assert debug.step == 2
        debug.record(loss=1.0)
        debug.flush()
        debug.close()


def test_a_closed_callback_keeps_no_memory(tmp_path: Path) -> None:
    training = Training(plain()(), tmp_path, exact=True)
    before = set(_addresses())
    training.step()
    training.optimizer.zero_grad()
    training.debug.close()
    known = {t.untyped_storage().data_ptr() for t in training.state()}
    assert set(_addresses()) - before - known == set()


def _addresses() -> Iterator[int]:
    gc.collect()
    for found in gc.get_objects():
        if type(found) in (Tensor, nn.Parameter) and found.layout == torch.strided:
            yield found.untyped_storage().data_ptr()


@pytest.mark.parametrize("options", ["default", "exact"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_record_that_fails_keeps_nothing(
    options: str, moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = Training(plain()(), tmp_path, on_error="warn", **OPTIONS[options])
    training.step()
    training.optimizer.zero_grad(set_to_none=True)
    measurement = training.debug._parameters.records._measurements[0]

    def fail(*_: Any, **__: Any) -> None:
        kept = [*training.gradients(), *training.state()]
        raise RuntimeError(f"{len(kept)} tensors in this frame")

    if moment == "before":
        monkeypatch.setattr(measurement.panel, "rows_before", fail)
    else:
        monkeypatch.setattr(measurement, "_reduced", fail)
    del measurement
    with pytest.warns(UserWarning, match="tensors in this frame"):
        training.step()
    gradients, state = Storages(training.gradients()), Storages(training.state())
    training.optimizer.zero_grad(set_to_none=True)
    training.optimizer.load_state_dict(copy.deepcopy(training.optimizer.state_dict()))
    assert gradients.alive() == state.alive() == 0
    assert training.debug._parameters.records._measurements == []  # nor memory of our own
    training.debug.close()


def test_a_hook_that_fails_keeps_no_gradient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = Training(plain()(), tmp_path, on_error="warn")
    training.step()

    def fail(tensor: Tensor) -> Tensor:
        raise RuntimeError(f"norm of {len(tensor)}")

    monkeypatch.setattr("tb_adam_plugin.callback.probes.stale_gradients.norm_of", fail)
    training.loss().backward()  # the gradients of the step before are still there
    assert isinstance(training.debug._steps, Step)
    assert training.debug._steps.stale_gradients._error is not None
    gradients = Storages(training.gradients())
    training.optimizer.zero_grad(set_to_none=True)
    assert gradients.alive() == 0
    training.loss().backward()
    with pytest.warns(UserWarning, match="norm of"):
        training.optimizer.step()
    training.debug.close()


def test_the_history_keeps_no_flag_of_a_scaler() -> None:
    history = GradientHistory()
    flag = torch.tensor([1.0])
    history.add(1, np.ones(3), (True,) * 3, flag)
    kept = Storages([flag])
    del flag
    assert kept.alive() == 0


SHARDED = """
import gc, sys, warnings
import torch, torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.multiprocessing.reductions import StorageWeakRef
from tb_adam_plugin.callback import AdamDebugCallback

warnings.simplefilter("ignore")
dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
model = torch.nn.Sequential(torch.nn.Linear(64, 48), torch.nn.ReLU(), torch.nn.Linear(48, 5))
fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
optimizer = torch.optim.AdamW(model.parameters())
debug = AdamDebugCallback(
    model, optimizer, log_dir=sys.argv[1], every_n_steps=int(sys.argv[2]),
    max_sampled_elements=512, on_error="raise",
)
if int(sys.argv[2]) > 1:
    debug.step = 500

def storages(tensors):
    return [StorageWeakRef(t.to_local().untyped_storage()) for t in tensors]

def alive(references):
    gc.collect()
    return sum(not reference.expired() for reference in references)

for _ in range(4):
    model(torch.randn(3, 64)).square().mean().backward()
    optimizer.step()
    assert debug._parameters.records.gradients is not None
    gradients = storages(p.grad for p in model.parameters())
    assert alive(gradients) == 4
    optimizer.zero_grad(set_to_none=True)
    assert alive(gradients) == 0, f"{alive(gradients)} gradients"
state = storages(s[key] for s in optimizer.state.values() for key in ("exp_avg", "exp_avg_sq"))
for s in optimizer.state.values():
    for key in ("exp_avg", "exp_avg_sq"):
        s[key] = s[key].clone()
assert alive(state) == 0, f"{alive(state)} tensors of the state"
debug.close()
dist.destroy_process_group()
"""


@pytest.mark.parametrize("interval", [1, 10**6])
def test_nothing_of_sharded_parameters_is_kept(interval: int, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SHARDED, str(tmp_path), str(interval)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
