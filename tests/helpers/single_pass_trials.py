"""Steps measured by torch's operations and by the Triton kernel, side by side, in its interpreter.

Triton decides on import whether kernels are interpreted, so :func:`main` runs in a separate
process. tests/callback/test_triton_pass.py starts it and checks the pickled results.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from single_pass_cases import QUANTITIES, TRIALS, Step, Trial
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode

from tb_adam_plugin.callback.attach.watched_parameters import Watched
from tb_adam_plugin.callback.measure import row_ages
from tb_adam_plugin.callback.measure.gpu import launches, single_pass, tensor_table
from tb_adam_plugin.callback.measure.measurement import Measurement
from tb_adam_plugin.callback.measure.reduced import Reduced
from tb_adam_plugin.callback.measure.tensors import StepTensors
from tb_adam_plugin.callback.memory import to_host
from tb_adam_plugin.callback.native import loading
from tb_adam_plugin.callback.optimizer_state.registry import adapter_for

# Small, so a tensor of a few thousand elements has several chunks of several tiles.
TILE, TILES = 2048, 2


class Recording(Measurement):
    """Keeps what was reduced."""

    found: Reduced

    def _reduced(self, step: StepTensors) -> Reduced:
        self.found = super()._reduced(step)
        return self.found


class Launches(TorchDispatchMode):
    """Notes what would be launches and copies if the tensors were on a device."""

    _ARE_NONE = ("view", "slice", "empty", "detach")

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.noted: list[str] = []
        self._paused = False

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = function.overloadpacket.__name__
        if not self._paused and not name.startswith(self._ARE_NONE):
            self.noted.append(name)
        return function(*args, **kwargs or {})

    def as_one(self, function: Callable[..., Any], *names: str) -> Callable[..., Any]:
        """Note a call under a name, or not at all, regardless of its content."""

        def call(*arguments: Any, **named: Any) -> Any:
            self.noted += names
            self._paused = True
            try:
                return function(*arguments, **named)
            finally:
                self._paused = False

        return call

    def follow(self, way: Any, kernels: launches.Kernels) -> None:
        """Note the actions of a :class:`SinglePass`."""
        way._formula = self.as_one(type(way)._formula.__get__(way))  # on the host
        way._launches._kernels = launches.Kernels(
            keep=_Kernel(lambda grid: self.as_one(kernels.keep[grid], "keep")),
            reduce=_Kernel(lambda grid: self.as_one(kernels.reduce[grid], "reduce")),
            totals=_Kernel(lambda grid: self.as_one(kernels.totals[grid], "totals")),
            written=kernels.written,
        )
        sends: Any = tensor_table
        sends.to_device = self.as_one(to_host.to_device, "to device")
        copies: Any = launches
        copies.copy_to_host = self.as_one(to_host.copy_to_host, "to host")


class _Kernel:
    def __init__(self, launcher: Callable[[tuple[int, ...]], Callable[..., Any]]) -> None:
        self._launcher = launcher

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., Any]:
        return self._launcher(grid)


def make_measurements(
    parameters: list[nn.Parameter], optimizer: Optimizer, max_sampled: int | None = None
) -> tuple[Recording, Recording]:
    """Return one that uses torch's operations, and one that should use the kernel."""
    state = adapter_for(optimizer)
    groups = [g for g, group in enumerate(optimizer.param_groups) for _ in group["params"]]
    watched = [
        Watched(f"p{i}", p, g) for i, (p, g) in enumerate(zip(parameters, groups, strict=True))
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(loading.VARIABLE, "0")  # use torch's operations for the comparison
        plain = Recording(watched, state, max_sampled, QUANTITIES)
        patch.setattr(single_pass, "DEVICES", ("cpu",))
        return plain, Recording(watched, state, max_sampled, QUANTITIES)


def run(trial: Trial, kernels: launches.Kernels | None = None) -> list[Step]:
    """Take the steps of a trial and measure each in both ways."""
    torch.manual_seed(0)
    sends: Any = tensor_table
    sends.to_device = to_host.to_device  # what an earlier trial noted is its own
    parameters = [nn.Parameter(value) for value in trial.parameters()]
    optimizer = trial.optimizer(parameters)
    plain, kernel = make_measurements(parameters, optimizer, trial.max_sampled)
    way = kernel._reduction
    assert isinstance(way, single_pass.SinglePass)
    steps = []
    for number in range(1, trial.steps + 1):
        gradients = trial.gradients(parameters, number)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        noting = Launches()
        if kernels is not None:
            noting.follow(way, kernels)
        with torch.no_grad():
            plain.before_step()
            with noting:
                kernel.before_step()
            trial.take_step(optimizer)
            states = plain.states()
            others = sorted({key for s in states.of if s is not None for key in s.others})
            with_histograms = number != 2 or trial.steps < 3
            number_of_callback = trial.first_step - 1 + number
            arguments = (with_histograms, others, states, 0.5, number_of_callback)
            by_torch = plain.after_step(*arguments)
            with noting:
                by_kernel = kernel.after_step(*arguments)
        assert way._kept._memory is None  # with exact=True as large as the model
        # Their histograms are in memory that the next step reuses.
        both = (copy.deepcopy(by_torch), copy.deepcopy(by_kernel))
        steps.append(Step(both, (plain.found, kernel.found), way.refusal, noting.noted))
    return steps


def prepare() -> launches.Kernels:
    """Make tiles and chunks small enough for the interpreter; return the kernels."""
    import triton.language as tl

    from tb_adam_plugin.callback.measure.gpu import kernel_layout, kernel_parts, kernel_totals
    from tb_adam_plugin.callback.measure.gpu import kernels as gpu_kernels

    layout: Any = kernel_layout
    sizes = {
        "TILE": TILE, "CHUNK": TILE * TILES, "WHOLE_TILE": TILE // 2, "WHOLE_CHUNK": TILE
    }  # fmt: skip
    for name, size in sizes.items():
        setattr(layout, name, size)
        for module in (gpu_kernels, kernel_parts, kernel_totals):
            if hasattr(module, name):
                setattr(module, name, tl.constexpr(size))
    # Rows without a gradient at two steps are idle.
    row_ages.LEAST_STEPS = row_ages.LEAST_RECORDS = 2
    patch_language_once()
    return launches.Kernels.loaded()


def main(results: Path) -> None:
    """Run all trials in Triton's interpreter."""
    kernels = prepare()
    modules: tuple[Any, ...] = (single_pass, tensor_table)
    is_on_device = tensor_table.is_on_device
    found = {}
    for name, trial in TRIALS.items():
        for module in modules:
            if trial.counts_on_device:
                module.is_on_device = lambda number: isinstance(number, Tensor)
        found[name] = run(trial, kernels)
        for module in modules:
            module.is_on_device = is_on_device
    results.write_bytes(pickle.dumps(found))


def patch_language_once() -> None:
    """Make the interpreter patch Triton's functions once, not at every call: 3 times as fast."""
    from triton.runtime import interpreter

    patch, done = interpreter._patch_lang, {}

    def patch_once(function: Any) -> Any:
        if function.__module__ not in done:
            done[function.__module__] = patch(function)
            done[function.__module__].restore = lambda: None
        return done[function.__module__]

    interpreter._patch_lang = patch_once
