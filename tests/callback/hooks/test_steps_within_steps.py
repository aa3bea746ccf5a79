"""Steps of subclasses, wrappers, hooks in backward and compiled code are counted once."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo
from hooked_training import Weights, loss_of, make_model, rms, take_step, watch
from recorded_run import read_run
from torch import Tensor, nn
from torch._dynamo.utils import counters

from tb_adam_plugin.callback import AdamDebugCallback


@pytest.mark.parametrize("parent_instantiated", [False, True])
def test_all_that_a_subclass_does_around_its_parents_step_is_the_step(
    tmp_path: Path, parent_instantiated: bool
) -> None:
    class Parent(torch.optim.AdamW):
        def step(self, closure: Any = None) -> Any:
            return super().step(closure)

    class Child(Parent):
        def step(self, closure: Any = None) -> Any:
            with torch.no_grad():
                weight.mul_(0.5)
                super().step(closure)
                weight.clamp_(max=0.3)

    weight = nn.Parameter(torch.ones(4))
    if parent_instantiated:  # from then on its step() has hooks of its own
        Parent([nn.Parameter(torch.ones(1))])
    optimizer = Child([weight])
    fired = []
    optimizer.register_step_post_hook(lambda *_: fired.append(1))
    with watch([("w", weight)], optimizer, tmp_path):
        take_step(weight, optimizer)
        weight.data.fill_(1)
        take_step(weight, optimizer)
    assert len(fired) >= 2 * (1 + parent_instantiated)
    run = read_run(tmp_path)
    assert sorted(run.steps) == [1, 2]
    for step in (1, 2):
        assert run.of(step, "w")["update_rms"] == pytest.approx(0.7)


@pytest.mark.parametrize("in_container", [False, True])
def test_a_nested_step_that_raises_leaves_the_next_one_whole(
    tmp_path: Path, in_container: bool
) -> None:
    class Child(torch.optim.Adam):
        def step(self, closure: Any = None) -> Any:
            return super().step(closure)

    def closure() -> float:
        raise KeyError("bad batch")

    torch.optim.Adam([nn.Parameter(torch.ones(1))])
    weight = nn.Parameter(torch.ones(4))
    optimizer = Child([weight])
    outer = Container(optimizer) if in_container else optimizer
    with watch([("w", weight)], optimizer, tmp_path):
        take_step(weight, outer)
        with pytest.raises(KeyError):
            outer.step(closure)
        weight.data.fill_(5)
        take_step(weight, outer)
        take_step(weight, outer)
    run = read_run(tmp_path)
    assert sorted(run.steps) == sorted(run.statistics) == [1, 2, 3]
    assert run.of(2, "w")["weight_rms"] == pytest.approx(5)
    assert run.of(2, "w")["update_rms"] == pytest.approx(1e-3, rel=1e-2)


def test_a_step_whose_later_hook_raises_is_counted(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.ones(4))
    optimizer = torch.optim.Adam([weight])
    raising = {3, 4}

    def fail(*_: object) -> None:
        if optimizer.state[weight]["step"].item() in raising:
            raise ValueError("the trainer's own")

    handle = optimizer.register_step_post_hook(fail)
    with AdamDebugCallback(
        [("weight", weight)], optimizer, log_dir=tmp_path, every_n_steps=1, on_error="raise"
    ) as debug:
        # Before the callback's, which does not come then.
        hooks: Any = optimizer
        hooks._optimizer_step_post_hooks.move_to_end(handle.id, last=False)
        for _ in range(6):
            with contextlib.suppress(ValueError):
                take_step(weight, optimizer)
        assert debug.step == 6
    run = read_run(tmp_path)
    assert {s: run.of(s, "weight")["state_step"] for s in run.statistics} == {
        s: s for s in (1, 2, 5, 6)
    }


class AccelerateLike(torch.optim.Optimizer):
    """Is derived from Optimizer, but never initialised as one."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

    def step(self, closure: Any = None) -> Any:
        return self.optimizer.step(closure)


class ZeroLike(torch.optim.Optimizer):
    """Like ZeroRedundancyOptimizer: hooks of its own, the state in ``.optim``."""

    def __init__(self, parameters: Any) -> None:
        self.optim: torch.optim.Optimizer
        super().__init__(parameters, {})
        self.optim = torch.optim.AdamW(self.param_groups, lr=1e-2)

    def step(self, closure: Any = None) -> Any:
        return self.optim.step(closure)


class Container(torch.optim.Optimizer):
    """Like torchtitan's: one optimizer for each part of a model."""

    def __init__(self, *optimizers: torch.optim.Optimizer) -> None:
        self.optimizers = list(optimizers)
        super().__init__([p for o in optimizers for g in o.param_groups for p in g["params"]], {})

    def step(self, closure: Any = None) -> Any:
        for optimizer in self.optimizers:
            optimizer.step(closure)


@pytest.mark.parametrize("wrapper", ["optimizer", "optim", "optimizers", "list", "two wrappers"])
def test_wrappers_are_looked_into(tmp_path: Path, wrapper: str) -> None:
    model = make_model()
    inner = torch.optim.AdamW(model.parameters(), lr=1e-2)
    wrap: dict[str, Callable[[], Any]] = {
        "optimizer": lambda: AccelerateLike(inner),
        "optim": lambda: ZeroLike(model.parameters()),
        "optimizers": lambda: Container(inner),
        "list": lambda: [inner],
        "two wrappers": lambda: AccelerateLike(Container(inner)),
    }
    wrapped = wrap[wrapper]()
    weights = Weights(model)
    with watch(model, wrapped, tmp_path):
        loss_of(model).backward()
        (inner if wrapper == "list" else wrapped).step()
    run = read_run(tmp_path)
    assert sorted(run.steps) == [1]
    weights.check_update(run, 1)
    assert run.of(1, "0.weight")["exp_avg_rms"] > 0
    assert run.layout.groups[0].optimizer == "AdamW"


@pytest.mark.parametrize("kind", [Container, AccelerateLike, list])
def test_several_optimizers_need_several_callbacks(tmp_path: Path, kind: Any) -> None:
    model = make_model()
    both = [torch.optim.AdamW(model[i].parameters()) for i in (0, 2)]
    wrapped: Any = both
    if kind is not list:
        wrapped = Container(*both)
    if kind is AccelerateLike:
        wrapped = AccelerateLike(wrapped)
    with pytest.raises(
        TypeError, match=r"of 2 optimizers: give each of them its own AdamDebugCallback"
    ):
        watch(model, wrapped, tmp_path)


def test_a_wrapper_of_nothing_is_refused(tmp_path: Path) -> None:
    wrapper = AccelerateLike(None)  # type: ignore[arg-type]
    for nothing in (wrapper, [], object(), None):
        with pytest.raises(TypeError, match=r"expected a torch\.optim\.Optimizer"):
            watch(make_model(), nothing, tmp_path)


@pytest.mark.parametrize("by_torch", [False, True])
def test_optimizers_that_step_in_backward(tmp_path: Path, by_torch: bool) -> None:
    model = make_model()
    named = list(model.named_parameters())
    optimizers: dict[str, torch.optim.Optimizer] = {}
    if by_torch:
        from torch.distributed.optim.apply_optimizer_in_backward import (
            _apply_optimizer_in_backward,
        )

        _apply_optimizer_in_backward(torch.optim.AdamW, model.parameters(), {"lr": 1e-2})
        for name, parameter in named:
            (optimizers[name],) = parameter._in_backward_optimizers  # type: ignore[attr-defined]
    else:

        def step(parameter: Tensor) -> None:
            of[parameter].step()
            parameter.grad = None

        of: dict[Tensor, torch.optim.Optimizer] = {
            parameter: torch.optim.AdamW([parameter], lr=1e-2) for _, parameter in named
        }
        for name, parameter in named:
            optimizers[name] = of[parameter]
            parameter.register_post_accumulate_grad_hook(step)
    debugs = [watch([pair], optimizers[pair[0]], tmp_path / pair[0]) for pair in named]
    reference = copy.deepcopy(model)
    torch.manual_seed(3)
    for _ in range(2):
        weights = Weights(model)
        loss_of(model).backward()
    for debug in debugs:
        debug.close()
    torch.manual_seed(3)
    loss_of(reference).backward()
    for name, parameter in reference.named_parameters():
        run = read_run(tmp_path / name)
        assert sorted(run.steps) == [1, 2]
        assert parameter.grad is not None
        norm = parameter.grad.norm().item()
        assert run.steps[1]["gradient_norm"] == pytest.approx(norm, rel=1e-5)
        assert run.of(1, name)["gradient_rms"] == pytest.approx(rms(parameter.grad), rel=1e-5)
        changed = rms(model.get_parameter(name) - weights._before[name])
        assert run.of(2, name)["update_rms"] == pytest.approx(changed, rel=1e-5)


@pytest.fixture
def fresh_dynamo() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("fresh_dynamo")
def test_a_compiled_model_has_no_graph_break_more(tmp_path: Path) -> None:
    model = make_model()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    with watch(compiled, optimizer, tmp_path):
        for _ in range(3):
            optimizer.zero_grad()
            loss_of(compiled).backward()
            optimizer.step()
    run = read_run(tmp_path)
    assert sorted(run.statistics) == [1, 2, 3]
    assert [p.name for p in run.layout.parameters][:2] == ["0.weight", "0.bias"]
    assert counters["stats"]["unique_graphs"] == 1
    assert sum(counters["graph_break"].values()) == 0


@pytest.mark.usefixtures("fresh_dynamo")
def test_a_compiled_step_runs_the_hooks_as_they_are(tmp_path: Path) -> None:

    def train(folder: Path | None) -> tuple[Weights, int]:
        torch._dynamo.reset()
        counters.clear()
        model = make_model()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        step = torch.compile(optimizer.step, backend="eager")
        with watch(model, optimizer, folder) if folder else contextlib.nullcontext():
            for _ in range(3):
                optimizer.zero_grad()
                loss_of(model).backward()
                weights = Weights(model)
                step()
        return weights, counters["stats"]["unique_graphs"]

    _, graphs_without = train(None)
    weights, graphs = train(tmp_path)
    run = read_run(tmp_path)
    assert sorted(run.steps) == sorted(run.statistics) == [1, 2, 3]
    weights.check_update(run, 3)
    # The callback is neither part of a graph nor compiled separately.
    assert graphs == graphs_without
