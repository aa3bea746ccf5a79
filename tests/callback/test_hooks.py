"""What the hooks meet in real training loops: whatever happens around ``step()``, rows are true."""

from __future__ import annotations

import contextlib
import copy
import gc
import pickle
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch._dynamo
from recorded_run import RecordedRun, read_run
from torch import Tensor, nn
from torch._dynamo.utils import counters

from tb_adam_plugin import schema
from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.probes import uncounted_steps
from tb_adam_plugin.run_data import load_runs

Optimizers = Callable[..., torch.optim.Optimizer]


def make_model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2))


def loss_of(model: Callable[[Tensor], Tensor]) -> Tensor:
    return model(torch.randn(8, 6)).square().mean()


def watch(
    model: nn.Module | Any, optimizer: Any, folder: Path, **options: Any
) -> AdamDebugCallback:
    options = {"every_n_steps": 1, "on_error": "raise", **options}
    return AdamDebugCallback(model, optimizer, log_dir=folder, **options)


def rms(tensor: Tensor) -> float:
    return tensor.detach().double().square().mean().sqrt().item()


class Weights:
    """The weights of a model, to see what a step really changed."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._before = self._copy()

    def _copy(self) -> dict[str, Tensor]:
        return {name: p.detach().clone() for name, p in self._model.named_parameters()}

    def check_update(self, run: RecordedRun, step: int) -> None:
        """Compare what was recorded with what changed since the last call."""
        before, self._before = self._before, self._copy()
        for name, weight in self._before.items():
            expected = rms(weight - before[name])
            assert expected > 0
            assert run.of(step, name)["update_rms"] == pytest.approx(expected, rel=1e-5), name


def take_step(weight: nn.Parameter, optimizer: torch.optim.Optimizer, value: float = 1.0) -> None:
    weight.grad = torch.full_like(weight, value)
    optimizer.step()


# --- closures ---


@pytest.mark.filterwarnings("ignore:Adam Debug. LBFGS")
def test_a_step_that_calls_its_closure_often_is_one_step(tmp_path: Path) -> None:
    model = make_model()
    data = torch.randn(16, 6)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=4)
    calls = 0

    def closure() -> Tensor:
        nonlocal calls
        calls += 1
        optimizer.zero_grad()
        loss: Tensor = (model(data) - 1).square().mean()
        loss.backward()
        return loss

    weights = Weights(model)
    for step in (1, 2, 3):
        with watch(model, optimizer, tmp_path / str(step), initial_step=step - 1):
            optimizer.step(closure)  # type: ignore[arg-type]
        run = read_run(tmp_path / str(step))
        assert sorted(run.steps) == [step]
        weights.check_update(run, step)
        gradient = rms(model[0].weight.grad)  # type: ignore[arg-type]
        assert run.of(step, "0.weight")["gradient_rms"] == pytest.approx(gradient, rel=1e-5)
    assert calls > 6


@pytest.mark.parametrize("scaled", [False, True])
def test_a_trainer_that_runs_backward_in_the_closure(tmp_path: Path, scaled: bool) -> None:
    """Lightning calls ``optimizer.step(closure=closure)``; with a scaler it calls both in turn."""
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, enabled=scaled)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = loss_of(model)
        scaler.scale(loss).backward()
        return loss

    weights = Weights(model)
    for step in (1, 2, 3):
        with watch(model, optimizer, tmp_path / str(step)):
            if scaled:
                closure()
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(model.parameters(), 0.01)
                scaler.step(optimizer)
                scaler.update()
            else:
                optimizer.step(closure=closure)  # type: ignore[arg-type]
        run = read_run(tmp_path / str(step))
        assert sorted(run.steps) == [step]
        weights.check_update(run, step)
        gradients = [p.grad.norm() for p in model.parameters() if p.grad is not None]
        norm = torch.stack(gradients).norm().item()
        assert run.steps[step]["gradient_norm"] == pytest.approx(norm, rel=1e-5)


# --- gradient scaler ---


def train_with_scaler(
    folder: Path, skipped: set[int], steps: int, read_step: bool = True, **options: Any
) -> tuple[RecordedRun, list[int], list[float]]:
    """Train one weight with a fused optimizer; in some iterations the gradient is infinite.

    Returns:
        The run; ``debug.step`` after each iteration; the gradient norm of each step taken.
    """
    weight = nn.Parameter(torch.ones(6))
    optimizer = torch.optim.Adam([weight], fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=10_000)
    counts, norms = [], []
    with watch([("w", weight)], optimizer, folder, **options) as debug:
        for iteration in range(1, steps + 1):
            optimizer.zero_grad()
            factor = torch.inf if iteration in skipped else iteration
            debug.record(iteration=iteration)
            scaler.scale((weight * factor).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
            if iteration not in skipped:
                norms.append(iteration * 6**0.5)
            if read_step:
                counts.append(debug.step)
    return read_run(folder), counts, norms


def test_steps_that_a_fused_optimizer_skips_are_counted_as_such(tmp_path: Path) -> None:
    # Step 3 waits to be written while another one is skipped.
    run, counts, norms = train_with_scaler(tmp_path, {1, 4, 6}, 8, every_n_steps=25)
    assert counts == [0, 1, 2, 2, 3, 3, 4, 5]
    assert [run.steps[s]["skipped_steps"] for s in (1, 2, 3, 4, 5)] == [1, 1, 2, 3, 3]
    assert [run.steps[s]["gradient_norm"] for s in (1, 2, 3, 4, 5)] == pytest.approx(norms)
    assert [run.steps[s]["iteration"] for s in (1, 2, 3, 4, 5)] == [2, 3, 5, 7, 8]
    # The hooks see scaled gradients before the step; the step consumed the others.
    assert run.of(4, "w")["gradient_rms"] == pytest.approx(7)


def test_steps_that_are_all_skipped_are_warned_of(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="has skipped 25 steps in a row") as warned:
        train_with_scaler(tmp_path, set(range(1, 60)), 60)
    assert len(warned) == 1


def test_the_loss_scale_tells_what_an_optimizer_skips_that_is_not_fused(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.ones(6))
    optimizer = torch.optim.Adam([weight], fused=False)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**60, growth_interval=10_000)
    with watch([("w", weight)], optimizer, tmp_path) as debug:
        for iteration in range(1, 161):
            optimizer.zero_grad()
            factor = torch.inf if iteration > 80 and iteration % 2 else 1
            debug.record(loss_scale=scaler.get_scale())
            scaler.scale((weight * factor).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
    (run,) = load_runs(tmp_path)
    (finding,) = (f for f in run.findings() if f.rule == "steps_skipped")
    assert finding.value == pytest.approx(40 / 90)


def test_steps_that_only_the_device_knows_to_be_skipped_are_renumbered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uncounted_steps, "is_on_host", lambda flag: False)
    # Of these 9 and 35 fall on steps that are due to be recorded: then the device is asked.
    skips = {2, 8, 9, 35, 41}
    run, counts, norms = train_with_scaler(tmp_path, skips, 60, every_n_steps=25)
    taken = range(1, 56)
    iterations = [i for i in range(1, 61) if i not in skips]
    assert sorted(run.steps) == list(taken)
    assert [run.steps[s]["gradient_norm"] for s in taken] == pytest.approx(norms)
    assert [run.steps[s]["iteration"] for s in taken] == iterations
    skipped = [0] + [1] * 5 + [3] * 25 + [4] * 5 + [5] * 19
    assert [run.steps[s]["skipped_steps"] for s in taken] == skipped
    # What was taken for step 8 is written as step 7, and what comes next is step 8 after all.
    assert counts[10 - 1 : 12] == [7, 8, 9]
    assert sorted(run.statistics) == [1, 2, 4, 7, 8, 16, 25, 32, 49, 50]
    for step in run.statistics:
        expected = iterations[step - 1]
        assert run.of(step, "w")["gradient_rms"] == pytest.approx(expected)
    # A rejected gradient is no event.
    assert run.gradient_norms == {}


def test_the_norms_around_a_jump_are_numbered_like_the_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uncounted_steps, "is_on_host", lambda flag: False)
    weight = nn.Parameter(torch.ones(6))
    optimizer = torch.optim.Adam([weight], fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=10_000)
    norms = []
    with watch([("w", weight)], optimizer, tmp_path, every_n_steps=1000) as debug:
        for iteration in range(1, 131):
            optimizer.zero_grad()
            value = 1 + iteration / 1000 + (50 if iteration == 130 else 0)
            skip = iteration in (34, 36, 90, 100)  # before, and within, the kept steps
            scaler.scale((weight * (torch.inf if skip else value)).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
            if not skip:
                norms.append(value * 6**0.5)
            if iteration == 95:
                debug.flush()  # from here on the numbers so far are final
        assert debug.step == len(norms) == 126
    run = read_run(tmp_path)
    assert sorted(run.gradient_norms) == list(range(64, 127))  # and one that was skipped
    for step, by_name in run.gradient_norms.items():
        assert by_name["w"] == pytest.approx(norms[step - 1]), step


# --- accumulation and schedulers ---


def test_accumulated_gradients_are_one_step(tmp_path: Path) -> None:
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    with watch(model, optimizer, tmp_path):
        for batch in range(1, 7):
            (loss_of(model) / 3).backward()
            if batch % 3 == 0:
                accumulated = rms(model[0].weight.grad)  # type: ignore[arg-type]
                optimizer.step()
                optimizer.zero_grad()
    run = read_run(tmp_path)
    assert sorted(run.steps) == [1, 2]
    assert run.of(2, "0.weight")["gradient_rms"] == pytest.approx(accumulated, rel=1e-5)


@pytest.mark.parametrize("scheduler_first", [False, True])
def test_a_scheduler_wraps_step_before_or_after_the_callback(
    tmp_path: Path, scheduler_first: bool
) -> None:
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)

    def schedule() -> torch.optim.lr_scheduler.LRScheduler:
        return torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)

    scheduler = schedule() if scheduler_first else None
    with watch(model, optimizer, tmp_path):
        scheduler = scheduler or schedule()
        for _ in range(3):
            optimizer.zero_grad()
            loss_of(model).backward()
            optimizer.step()
            scheduler.step()
    run = read_run(tmp_path)
    assert sorted(run.steps) == [1, 2, 3]
    # Each step's own learning rate, not the one that the scheduler has set since.
    assert [run.steps[s]["lr"] for s in (1, 2, 3)] == [0.1, 0.05, 0.025]
    assert run.hyperparameters[2]["lr"].tolist() == [0.05]


# --- step() within step() ---


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


# --- wrappers ---


def test_a_step_whose_later_hook_raises_is_counted(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.ones(4))
    optimizer = torch.optim.Adam([weight])
    raising = {3, 4}

    def fail(*_: object) -> None:
        if optimizer.state[weight]["step"].item() in raising:
            raise ValueError("the trainer's own")

    optimizer.register_step_post_hook(fail)  # before the callback's, which does not come then
    with AdamDebugCallback(
        [("weight", weight)], optimizer, log_dir=tmp_path, every_n_steps=1, on_error="raise"
    ) as debug:
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
    with pytest.raises(TypeError, match=r"of 2 optimizers: give each of them an AdamDebugCallback"):
        watch(model, wrapped, tmp_path)


def test_a_wrapper_of_nothing_is_refused(tmp_path: Path) -> None:
    wrapper = AccelerateLike(None)  # type: ignore[arg-type]
    for nothing in (wrapper, [], object(), None):
        with pytest.raises(TypeError, match=r"expected a torch\.optim\.Optimizer"):
            watch(make_model(), nothing, tmp_path)


# --- optimizer in backward ---


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


# --- torch.compile ---


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
    # The callback is neither part of a graph nor compiled into ones of its own.
    assert graphs == graphs_without


# --- steps that are none ---


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


# --- checkpoints and copies ---


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
    # The first step after a resume is recorded whatever the schedule says.
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
        # A copy is free for a callback of its own.
        (own,) = copies[0].param_groups[0]["params"]
        with watch([("w", own)], copies[0], tmp_path / "copy"):
            take_step(own, copies[0], 100.0)
    run = read_run(tmp_path)
    assert sorted(run.steps) == [1, 2]
    assert run.of(2, "w")["gradient_rms"] == 1
    assert sorted(read_run(tmp_path / "copy").steps) == [3]


# --- parameters ---


def test_a_new_group_is_recorded_from_its_first_step_on(tmp_path: Path) -> None:
    old, new = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(9))
    optimizer = torch.optim.Adam([old])
    new.requires_grad_(False)
    with watch([("old", old), ("new", new)], optimizer, tmp_path, every_n_steps=1000) as debug:
        for step in range(1, 61):
            if step == 40:
                new.requires_grad_(True)
                optimizer.add_param_group({"params": [new]})
            old.grad = torch.full_like(old, 1.0 if step < 60 else 100.0)
            new.grad = torch.ones_like(new) if step >= 40 else None
            optimizer.step()
        assert debug.step == 60
    run = read_run(tmp_path)
    assert run.steps[39]["gradient_norm"] == pytest.approx(2)
    assert run.steps[40]["gradient_norm"] == pytest.approx(13**0.5)
    assert run.steps[41]["gradient_norm"] == pytest.approx(13**0.5)
    assert sorted(run.statistics) == [1, 2, 4, 8, 16, 32, 40]
    first, second = run.layouts.values()
    assert [p.name for p in first.parameters] == ["old"]
    assert [p.name for p in second.parameters] == ["old", "new"]
    # Of the jump at step 60, what is known of both parameters.
    assert sorted(run.gradient_norms) == list(range(40, 61))
    assert run.gradient_norms[40] == pytest.approx({"step": 40, "old": 2, "new": 3})


def test_a_frozen_parameter_of_the_optimizer_is_followed_when_it_is_unfrozen(
    tmp_path: Path,
) -> None:
    model = make_model()
    model[0].requires_grad_(False)
    optimizer = torch.optim.Adam(model.parameters())
    with watch(model, optimizer, tmp_path):
        for step in (1, 2, 3):
            if step == 3:
                model[0].requires_grad_(True)
            optimizer.zero_grad()
            loss_of(model).backward()
            optimizer.step()
    run = read_run(tmp_path)
    assert np.isnan(run.of(2, "0.weight")["gradient_rms"])
    assert run.of(2, "0.weight")["update_rms"] == 0
    assert run.of(3, "0.weight")["gradient_rms"] > 0
    assert run.of(3, "0.weight")["update_rms"] == pytest.approx(1e-3, rel=1e-2)
    assert np.isnan(run.of(3, "0.weight")["momentum_gradient_cosine"])  # its first step


def test_optimizers_that_take_turns_see_their_own_steps(tmp_path: Path) -> None:
    """As in a GAN: two optimizers, each stepping while the other's gradients lie about."""
    model = make_model()
    optimizers = [torch.optim.AdamW(model[i].parameters(), lr=lr) for i, lr in ((0, 0.1), (2, 0.2))]
    folders = [tmp_path / "generator", tmp_path / "discriminator"]
    debugs = [watch(model, o, f) for o, f in zip(optimizers, folders, strict=True)]
    for turn in range(4):
        loss_of(model).backward()
        optimizers[turn % 2].step()
        if turn == 3:
            optimizers[0].step()
        optimizers[turn % 2].zero_grad()
    for debug in debugs:
        debug.close()
    first, second = map(read_run, folders)
    assert sorted(first.steps) == [1, 2, 3]
    assert sorted(second.steps) == [1, 2]
    assert {row["lr"] for row in first.steps.values()} == {0.1}
    assert {row["lr"] for row in second.steps.values()} == {0.2}
    # What one of them leaves out the other one holds, and nothing is said of it.
    assert {(u.name, u.other_optimizer) for u in first.layout.unoptimized} == {
        ("2.weight", "AdamW"),
        ("2.bias", "AdamW"),
    }
    assert [u.other_optimizer for u in second.layout.unoptimized] == ["AdamW", "AdamW"]


def test_an_optimizer_that_is_made_later_is_found_at_the_first_record(tmp_path: Path) -> None:
    model = make_model()
    model[2].bias.requires_grad_(False)
    optimizer = torch.optim.Adam(model[0].parameters())
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # that no step changes what the other will hold
        debug = watch(model, optimizer, tmp_path)
        other = torch.optim.SGD(model[2].parameters(), lr=0.1)
        loss_of(model).backward()
        optimizer.step()
    other.step()
    debug.close()
    held = {u.name: u.other_optimizer for u in read_run(tmp_path).layout.unoptimized}
    assert held == {"2.weight": "SGD", "2.bias": "SGD"}


def test_what_another_optimizer_trains_is_not_asked_about_while_it_is_frozen(
    tmp_path: Path,
) -> None:
    """A discriminator, while the generator takes its step."""
    model = make_model()
    generator = torch.optim.Adam(model[0].parameters())
    discriminator = torch.optim.Adam(model[2].parameters())
    with watch(model, generator, tmp_path):
        for _ in range(12):
            for optimizer, learns in ((generator, False), (discriminator, True)):
                model[2].requires_grad_(learns)
                optimizer.zero_grad()
                loss_of(model).backward()
                optimizer.step()
    (run,) = load_runs(tmp_path)
    assert not {"frozen", "not_in_optimizer"} & {finding.rule for finding in run.findings()}


def test_an_optimizer_that_was_replaced_holds_nothing_unless_it_steps(tmp_path: Path) -> None:
    model = make_model()
    replaced = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    optimizer = torch.optim.Adam(model[0].parameters())
    said = pytest.warns(UserWarning, match=r"holds 2\.weight, 2\.bias: no step will change")
    with said, watch(model, optimizer, tmp_path / "first"):
        optimizer.step()
    loss_of(model).backward()
    replaced.step()
    with watch(model, optimizer, tmp_path / "second"):
        optimizer.step()
    held = read_run(tmp_path / "second").layout.unoptimized
    assert [u.other_optimizer for u in held] == ["SGD", "SGD"]


def test_an_optimizer_that_is_gone_holds_nothing(tmp_path: Path) -> None:
    model = make_model()
    torch.optim.SGD(model.parameters(), lr=0.1)
    gc.collect()
    optimizer = torch.optim.Adam(model[0].parameters())
    said = pytest.warns(UserWarning, match=r"holds 2\.weight, 2\.bias: no step will change")
    with said, watch(model, optimizer, tmp_path):
        optimizer.step()


def test_tied_weights_are_one_parameter(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Embedding(7, 3), nn.Linear(3, 7, bias=False))
    model[1].weight = model[0].weight
    optimizer = torch.optim.AdamW(model.parameters())
    with watch(model, optimizer, tmp_path):
        model(torch.tensor([1, 2])).sum().backward()
        optimizer.step()
    run = read_run(tmp_path)
    assert [p.name for p in run.layout.parameters] == ["0.weight"]
    (gradient,) = [p.grad for p in model.parameters() if p.grad is not None]
    norm = gradient.norm().item()
    assert run.steps[1]["gradient_norm"] == pytest.approx(norm, rel=1e-6)


class Still(torch.optim.Adam):
    """Takes any gradient, because it reads none."""

    def step(self, closure: Any = None) -> Any:
        return None


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
def test_sparse_parameters_are_left_out_but_count_for_the_norm(
    tmp_path: Path, layout: torch.layout
) -> None:
    dense = nn.Parameter(torch.ones(4))
    sparse = nn.Parameter(torch.eye(3).to_sparse(layout=layout))
    optimizer = Still([dense, sparse])
    with pytest.warns(UserWarning, match=r"only dense floating-point.*not sparse"):
        debug = watch([("dense", dense), ("sparse", sparse)], optimizer, tmp_path)
    with debug:
        dense.grad = torch.ones(4)
        sparse.grad = (torch.eye(3) * 2).to_sparse(layout=layout)
        optimizer.step()
    run = read_run(tmp_path)
    assert [p.name for p in run.layout.parameters] == ["dense"]
    assert run.steps[1]["gradient_norm"] == pytest.approx((4 + 12) ** 0.5)


def test_what_a_step_without_a_gradient_cannot_say_is_nan(tmp_path: Path) -> None:
    weights = {
        "single": nn.Parameter(torch.ones(40)),
        "half": nn.Parameter(torch.ones(40, dtype=torch.bfloat16)),
        "other": nn.Parameter(torch.ones(40)),
    }
    optimizer = torch.optim.AdamW(weights.values(), weight_decay=0.1)
    with watch(weights.items(), optimizer, tmp_path):
        for step in range(1, 5):
            for weight in weights.values():
                weight.grad = torch.full_like(weight, 0.1 * step)
            if step == 3:
                weights["single"].grad = weights["half"].grad = None
            if step == 4:
                for weight in weights.values():
                    weight.grad = None
            optimizer.step()
    run = read_run(tmp_path)
    needs_gradient = {
        "gradient_rms", "gradient_absmax", "gradient_surprise", "rms_t", "lost_update_fraction",
        "update_rounding_error", "update_slope", "normalized_update_rms", "weight_decay_ratio",
        "momentum_gradient_cosine", "gradient_exp_avg_cosine", "zero_gradient_fraction",
        "exp_avg_rounding_error", "exp_avg_sq_rounding_error", "second_moment_underflow_fraction",
    }  # fmt: skip
    assert needs_gradient <= schema.STATISTIC_BY_NAME.keys()
    for name in ("single", "half"):
        row = run.of(3, name)
        assert {key for key in needs_gradient if not np.isnan(row[key])} == set()
        assert row["unchanged_fraction"] == 1
        assert row["exp_avg_rms"] > 0
        assert run.histogram(3, name, "gradient").sum() == 0
    assert run.of(2, "half")["exp_avg_rounding_error"] > 0
    assert run.of(3, "other")["lost_update_fraction"] == 0
    # And without any gradient there is no norm, on recorded steps and on others.
    assert np.isnan(run.steps[4]["gradient_norm"])


def test_without_any_gradient_there_is_no_norm(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.ones(4))
    optimizer = torch.optim.Adam([weight])
    with watch([("w", weight)], optimizer, tmp_path, every_n_steps=4):
        take_step(weight, optimizer)
        weight.grad = None
        for _ in range(4):
            optimizer.step()
    run = read_run(tmp_path)
    assert run.steps[1]["gradient_norm"] == 2
    assert all(np.isnan(run.steps[s]["gradient_norm"]) for s in (2, 3, 4, 5))


def test_a_state_of_another_type_than_the_weights_is_named(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.ones(40, dtype=torch.bfloat16))

    class Wide(torch.optim.AdamW):
        """Keeps moments in float64."""

        @torch.no_grad()
        def step(self, closure: Any = None) -> Any:
            for group in self.param_groups:
                for parameter in group["params"]:
                    state = self.state[parameter]
                    if not state:
                        state["step"] = torch.zeros(())
                        state["exp_avg"] = torch.zeros_like(parameter, dtype=torch.float64)
                        state["exp_avg_sq"] = torch.zeros_like(parameter, dtype=torch.float64)
                    state["step"] += 1
                    gradient = parameter.grad.double()
                    state["exp_avg"].lerp_(gradient, 0.1)
                    state["exp_avg_sq"].lerp_(gradient.square(), 0.001)

    optimizer = Wide([weight])
    with watch([("w", weight)], optimizer, tmp_path):
        for _ in range(2):
            take_step(weight, optimizer, 0.5)
    run = read_run(tmp_path)
    assert run.layout.groups[0].storage == {"exp_avg": "float64", "exp_avg_sq": "float64"}
    assert run.of(2, "w")["exp_avg_rms"] == pytest.approx(0.5)
    assert run.of(2, "w")["exp_avg_sq_root"] == pytest.approx(0.5)
    assert np.isnan(run.of(2, "w")["exp_avg_rounding_error"])  # it is not rounded


def test_parameters_without_memory_are_refused(tmp_path: Path) -> None:
    with torch.device("meta"):
        model = make_model()
    optimizer = torch.optim.AdamW(model.parameters())
    with pytest.raises(ValueError, match=r"0\.weight is on the meta device: materialise the model"):
        watch(model, optimizer, tmp_path)
    assert not (tmp_path / schema.RUN_FOLDER).exists()


def test_the_norm_of_gradients_that_a_step_overwrites_is_that_before_it(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.ones(4))
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9, nesterov=True, foreach=True)
    with AdamDebugCallback(
        [("w", weight)], optimizer, log_dir=tmp_path, every_n_steps=1000, on_error="raise"
    ):
        for _ in range(6):
            weight.grad = torch.ones(4)
            optimizer.step()
    rows = read_run(tmp_path).steps
    assert [rows[step]["gradient_norm"] for step in range(1, 7)] == [2.0] * 6
