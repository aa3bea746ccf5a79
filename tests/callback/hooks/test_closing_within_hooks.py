"""Any function may call close() at any time: training continues, and nothing is left behind."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from hooked_training import loss_of, make_model
from torch.optim.optimizer import (
    _global_optimizer_post_hooks,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.run_data import load_runs

STEPS = 6
Close = Callable[..., None]
Attach = Callable[[torch.optim.Optimizer, Close], object]

WAYS: dict[str, Attach] = {
    "pre-hook": lambda o, close: o.register_step_pre_hook(close),
    "post-hook": lambda o, close: o.register_step_post_hook(close),
    "pre-hook of all": lambda _, close: register_optimizer_step_pre_hook(close),
    "post-hook of all": lambda _, close: register_optimizer_step_post_hook(close),
    "before loading": lambda o, close: o.register_load_state_dict_pre_hook(close),
    "after loading": lambda o, close: o.register_load_state_dict_post_hook(close),
    "loss_closure": lambda _, close: None,
    "on_finding": lambda _, close: None,
    "closure of the step": lambda _, close: None,
}


@pytest.fixture(autouse=True)
def nothing_of_all_optimizers_is_left() -> Iterator[None]:
    before = dict(_global_optimizer_post_hooks)
    yield
    assert dict(_global_optimizer_post_hooks) == before


def hooks_of(optimizer: Any) -> list[Any]:
    return [
        *optimizer._optimizer_step_pre_hooks.values(),
        *optimizer._optimizer_step_post_hooks.values(),
        *optimizer._optimizer_load_state_dict_pre_hooks.values(),
        *optimizer._optimizer_load_state_dict_post_hooks.values(),
    ]


def nothing(*_: object) -> None:
    return None


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.SGD])
@pytest.mark.parametrize("others", ["before", "after"])
def test_a_callback_can_be_closed_from_everywhere(
    way: str, kind: Any, others: str, tmp_path: Path
) -> None:
    model = make_model()
    options = {"nesterov": True, "momentum": 0.9} if kind is torch.optim.SGD else {}
    optimizer = kind(model.parameters(), lr=10.0, foreach=True, **options)
    calls, closes = [], {"now": False}

    def close(*_: object) -> None:
        if closes["now"]:
            debug.close()

    def attach_others() -> None:
        for register in (
            optimizer.register_step_pre_hook, optimizer.register_step_post_hook,
            optimizer.register_load_state_dict_pre_hook,
            optimizer.register_load_state_dict_post_hook,
        ):  # fmt: skip
            register(lambda *_: calls.append(0))

    def loss() -> float:
        if way == "loss_closure":
            close()
        return float(loss_of(model))

    def closure() -> float:
        optimizer.zero_grad()
        found = loss_of(model)
        found.backward()
        if way == "closure of the step":
            close()
        return found.item()

    with ExitStack() as stack, warnings.catch_warnings():
        warnings.simplefilter("error")
        if others == "before":
            attach_others()
        debug = AdamDebugCallback(
            model, optimizer, log_dir=tmp_path, total_steps=STEPS, loss_closure=loss,
            on_finding=close if way == "on_finding" else nothing, on_error="raise",
        )  # fmt: skip
        handle: Any = WAYS[way](optimizer, close)
        if handle is not None:
            stack.callback(handle.remove)
        if others == "after":
            attach_others()
        for step in range(1, STEPS + 1):
            closes["now"] = step >= 3
            before = len(calls)
            optimizer.step(closure)
            assert len(calls) == before + 2
            if way.endswith("loading"):
                optimizer.load_state_dict(optimizer.state_dict())
        if way != "on_finding":
            assert debug._is_closed
        debug.close()
    assert len(hooks_of(optimizer)) == 4  # of the others
    (run,) = load_runs(tmp_path)
    assert len(run.steps) >= 2


def test_the_callback_for_findings_may_close_beside_other_hooks(tmp_path: Path) -> None:
    """The steps before it are kept, the ones after it are not recorded."""
    model = torch.nn.Linear(10, 1)
    optimizer = torch.optim.Adam(model.parameters(), 10.0)
    later = []
    optimizer.register_step_post_hook(lambda *_: later.append(0))
    found = []

    def stop(finding: object) -> None:
        found.append(finding)
        debug.close()

    debug = AdamDebugCallback(model, optimizer, log_dir=tmp_path, total_steps=200, on_finding=stop)
    for _ in range(200):
        optimizer.zero_grad()
        loss = (model(torch.randn(8, 10)) - 1).square().mean()
        loss.backward()
        debug.record(loss=loss)
        optimizer.step()
    assert len(later) == 200
    assert found
    debug.close()
    assert len(hooks_of(optimizer)) == 1
    (run,) = load_runs(tmp_path)
    assert 0 < run.steps[-1] < 200
