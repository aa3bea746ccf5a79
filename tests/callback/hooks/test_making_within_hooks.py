"""Any function may create a callback at any time: training continues, and later steps are there."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from hooked_training import loss_of, make_model
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.probes import detaching
from tb_adam_plugin.run_data import load_runs

STEPS, CHANGE = 8, 3
Attach = Callable[[Any, Callable[..., None]], Any]
WAYS: dict[str, Attach] = {
    "pre-hook": lambda o, make: o.register_step_pre_hook(make),
    "post-hook": lambda o, make: o.register_step_post_hook(make),
    "pre-hook of all": lambda _, make: register_optimizer_step_pre_hook(make),
    "post-hook of all": lambda _, make: register_optimizer_step_post_hook(make),
    "before loading": lambda o, make: o.register_load_state_dict_pre_hook(make),
    "after loading": lambda o, make: o.register_load_state_dict_post_hook(make),
    "closure of the step": lambda _, make: None,
    "gradient": lambda o, make: o.param_groups[0]["params"][0].register_hook(make),
    "outside": lambda _, make: None,
}


class Nested(torch.optim.Adam):
    """Has hooks on its own step and on that of its base class."""

    def step(self, closure: Any = None) -> Any:
        return super().step(closure)


def hooks_of(optimizer: Any) -> list[Any]:
    return [
        *optimizer._optimizer_step_pre_hooks.values(),
        *optimizer._optimizer_step_post_hooks.values(),
        *optimizer._optimizer_load_state_dict_pre_hooks.values(),
        *optimizer._optimizer_load_state_dict_post_hooks.values(),
    ]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [torch.optim.Adam, Nested])
@pytest.mark.parametrize("first", [False, True], ids=["anew", "for the first time"])
def test_a_callback_can_be_made_everywhere(
    first: bool, kind: Any, way: str, tmp_path: Path
) -> None:
    """Of a step or of loading, closing the one before, where there is one."""
    model, plain = make_model(), make_model()
    optimizer, other = kind(model.parameters(), 0.1), torch.optim.Adam(plain.parameters(), 0.1)
    callbacks: list[AdamDebugCallback] = []
    now = {"change": False}

    def make(*_: object) -> None:
        if now["change"]:
            now["change"] = False
            for before in callbacks:
                before.close()
            folder = tmp_path / str(len(callbacks))
            callbacks.append(
                AdamDebugCallback(
                    model, optimizer, log_dir=folder, every_n_steps=1, on_error="raise"
                )
            )

    def closure() -> float:
        optimizer.zero_grad()
        torch.manual_seed(step)
        found = loss_of(model)
        found.backward()
        if way == "closure of the step":
            make()
        return found.item()

    def of_plain() -> float:
        other.zero_grad()
        torch.manual_seed(step)
        found = loss_of(plain)
        found.backward()
        return found.item()

    with ExitStack() as stack, warnings.catch_warnings():
        warnings.simplefilter("error")
        if not first:
            now["change"] = True
            make()
        handle = WAYS[way](optimizer, make)
        if handle is not None:
            stack.callback(handle.remove)
        called: list[int] = []
        optimizer.register_step_post_hook(lambda *_: called.append(0))
        optimizer.register_step_pre_hook(lambda *_: called.append(0))
        for step in range(1, STEPS + 1):
            now["change"] = step == CHANGE
            if way == "outside":
                make()
            optimizer.step(closure)
            other.step(of_plain)
            if way.endswith("loading"):
                optimizer.load_state_dict(optimizer.state_dict())
    for one, same in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one, same)
    assert len(called) == STEPS * 2 * (2 if kind is Nested else 1)
    assert len(callbacks) == 2 - first
    assert callbacks[-1].step == STEPS
    callbacks[-1].close()
    assert len(hooks_of(optimizer)) == 2  # of the others
    (run,) = load_runs(tmp_path / str(len(callbacks) - 1))
    assert {*range(CHANGE + 1, STEPS + 1)} <= {*run.steps.tolist()} <= {*range(CHANGE, STEPS + 1)}
    assert (run.statistic("update_rms") > 0).all()


def test_the_function_for_findings_may_begin_anew(tmp_path: Path) -> None:
    """A folder for each phase of a training."""
    model = torch.nn.Linear(10, 1)
    optimizer = torch.optim.Adam(model.parameters(), 10.0)
    folders = [tmp_path / "0"]

    def watch() -> AdamDebugCallback:
        return AdamDebugCallback(model, optimizer, log_dir=folders[-1], on_finding=begin_anew)

    def begin_anew(_: object) -> None:
        callbacks[-1].close()
        folders.append(tmp_path / str(len(folders)))
        callbacks.append(watch())

    callbacks = [watch()]
    for _ in range(80):
        optimizer.zero_grad()
        loss = (model(torch.randn(8, 10)) - 1).square().mean()
        loss.backward()
        callbacks[-1].record(loss=loss)
        optimizer.step()
    callbacks[-1].close()
    assert len(folders) > 1
    runs = [run for folder in folders for run in load_runs(folder)]
    assert [step for run in runs for step in run.steps] == [*range(1, 81)]
    assert not hooks_of(optimizer)


def test_a_step_of_another_thread_is_no_obstacle(tmp_path: Path) -> None:
    """It stands within a hook while the callback is made, and goes on afterwards."""
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters())
    is_within, may_go_on = threading.Event(), threading.Event()
    failures: list[BaseException] = []

    def wait(*_: object) -> None:
        is_within.set()
        assert may_go_on.wait(60)

    def step() -> None:
        try:
            optimizer.step()
        except BaseException as error:
            failures.append(error)

    handle = optimizer.register_step_post_hook(wait)
    optimizer.register_step_post_hook(lambda *_: None)
    loss_of(model).backward()
    thread = threading.Thread(target=step)
    thread.start()
    assert is_within.wait(60)
    debug = AdamDebugCallback(model, optimizer, log_dir=tmp_path, every_n_steps=1)
    may_go_on.set()
    thread.join(60)
    handle.remove()
    assert not failures
    loss_of(model).backward()
    optimizer.step()
    debug.close()
    (run,) = load_runs(tmp_path)
    assert run.steps.tolist() == [2]


def test_nothing_waits_between_steps(tmp_path: Path) -> None:
    """Also where a hook that raises has ended the step in which a callback was made and closed."""
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters())

    def fail(*_: object) -> None:
        AdamDebugCallback(model, optimizer, log_dir=tmp_path).close()
        raise KeyError("user's")

    handle = optimizer.register_step_post_hook(fail)
    loss_of(model).backward()
    with pytest.raises(KeyError, match="user's"):
        optimizer.step()
    handle.remove()
    detaching.take_away()
    assert not detaching._waiting
    assert not hooks_of(optimizer)
