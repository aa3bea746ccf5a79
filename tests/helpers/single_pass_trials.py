"""Steps measured by torch's operations and by the Triton kernel, side by side, in its interpreter.

Triton decides at its import whether kernels are interpreted, so :func:`main` runs in a process of
its own. tests/callback/test_triton_pass.py starts it and looks at what it pickles.
"""

from __future__ import annotations

import copy
import pickle
import re
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adadelta, Adam, Adamax, AdamW, NAdam, Optimizer, RMSprop
from torch.utils._python_dispatch import TorchDispatchMode

from tb_adam_plugin import schema
from tb_adam_plugin.callback.attach.watched_parameters import Watched
from tb_adam_plugin.callback.measure.gpu import launches, single_pass, tensor_table
from tb_adam_plugin.callback.measure.measurement import Measured, Measurement
from tb_adam_plugin.callback.measure.reduced import Reduced
from tb_adam_plugin.callback.measure.tensors import StepTensors
from tb_adam_plugin.callback.memory import to_host
from tb_adam_plugin.callback.native import loading
from tb_adam_plugin.callback.optimizer_state.registry import adapter_for

# So that a tensor of a few thousand elements has several chunks of several tiles.
TILE, TILES = 2048, 2
SHAPES: tuple[tuple[int, ...], ...] = ((), (0, 4), (1,), (255,), (300, 17), (7, 9, 3), (3, 2050))
TYPES = ("WEIGHT", "GRADIENT", "EXP_AVG", "EXP_AVG_SQ")
QUANTITIES = (*schema.QUANTITIES, *schema.OPTIONAL_QUANTITIES)

Gradients = Callable[[Sequence[Tensor], int], Sequence[Tensor | None]]


class Trial(NamedTuple):
    """What to train.

    Attributes:
        optimizer: Makes one of parameters.
        parameters: Makes their values before the first step.
        gradients: Those of a step.
        steps: How many to take.
        take_step: Takes one.
        counts_on_device: Whether to take step counts for tensors of a device.
        first_step: Number that the callback has for the first step.
        max_sampled: Largest number of elements to read of one parameter; None for all.
    """

    optimizer: Callable[[list[nn.Parameter]], Optimizer]
    parameters: Callable[[], list[Tensor]]
    gradients: Gradients
    steps: int = 2
    take_step: Callable[[Optimizer], object] = lambda optimizer: optimizer.step()
    counts_on_device: bool = False
    first_step: int = 1
    max_sampled: int | None = None


class Step(NamedTuple):
    """What was found at one step, by torch's operations and then by the kernel.

    Attributes:
        measured: The end results.
        reduced: What they were made of.
        refusal: Why the kernel was not used, or None.
        launches: Of the kernel's way, in order.
    """

    measured: tuple[Measured, Measured]
    reduced: tuple[Reduced, Reduced]
    refusal: str | None
    launches: list[str]


def parameters_of(dtype: torch.dtype = torch.float32) -> Callable[[], list[Tensor]]:
    return lambda: [torch.randn(shape).to(dtype) for shape in SHAPES]


def random_gradients(parameters: Sequence[Tensor], step: int) -> list[Tensor | None]:
    """Some rows and some elements are zero."""
    found: list[Tensor | None] = []
    for parameter in parameters:
        gradient = torch.randn(parameter.shape) * 1e-3 * step
        if gradient.dim() > 1:
            gradient[torch.rand(len(gradient)) < 0.4] = 0
        gradient[torch.rand(gradient.shape) < 0.1] = 0
        found.append(gradient.to(parameter.dtype))
    return found


def several_layouts() -> list[Tensor]:
    return [
        torch.randn(40, 30).t(),
        torch.randn(6, 5, 7).permute(1, 2, 0),
        torch.randn(2, 3, 2100).transpose(0, 1),
        torch.randn(20, 8, 3, 3).to(memory_format=torch.channels_last),
        torch.randn(20, 64)[:, ::2],
        torch.randn(4, 1024),
    ]


def gradients_of_layouts(parameters: Sequence[Tensor], step: int) -> list[Tensor | None]:
    """The first row of a tensor is dead, and every row of the one before it is not."""
    found = random_gradients(parameters, step)
    found[2] = torch.ones(parameters[2].shape)
    assert found[3] is not None
    found[3][0] = 0
    return found


def channels_last() -> list[Tensor]:
    """Also a parameter of rows that are shorter than a line."""
    return [
        torch.randn(20, 8, 3, 3).to(memory_format=torch.channels_last),
        torch.randn(900, 3),
        torch.randn(40, 30).t(),
    ]


def transposed_gradient(parameters: Sequence[Tensor], step: int) -> list[Tensor | None]:
    """From the second step on that of a large parameter lies otherwise than its weight."""
    found = random_gradients(parameters, step)
    if step > 1:
        assert found[4] is not None
        found[4] = found[4].t().contiguous().t()
    return found


def transformer() -> list[Tensor]:
    """As GPT-2's, in small: 28 tensors, a third of them sampled."""
    layer = [(72, 24), (72,), (24, 24), (24,), (96, 24), (96,), (24, 96), *5 * [(24,)]]
    return [torch.randn(shape) for shape in [(301, 24), (64, 24), *2 * layer, (24,), (24,)]]


def several_types() -> list[Tensor]:
    dtypes = [torch.float32, torch.bfloat16, torch.float16]
    return [torch.randn(shape).to(dtypes[i % 3]) for i, shape in enumerate(SHAPES)]


def extreme_values() -> list[Tensor]:
    values = torch.tensor(
        [0.0, -0.0, 1e-45, -1e-40, 1e-38, 3e-20, -1e-12, 1.0, -7.5, 4096.0, 1e19, -3e38]
    )
    return [values.repeat(20), torch.zeros(5, 3), values.repeat(7), torch.ones(33), values.clone()]


def extreme_gradients(parameters: Sequence[Tensor], step: int) -> list[Tensor | None]:
    first = parameters[0].detach().roll(step)
    second = torch.tensor([torch.inf, -torch.inf, torch.nan, 1.0, 0.0]).repeat(3).view(5, 3)
    tiny = torch.full((84,), 1e-24)
    return [first, second, tiny, None if step == 2 else torch.full((33,), 1e-30), first[:12] * 0]


def split_groups(parameters: list[nn.Parameter]) -> list[dict[str, Any]]:
    return [
        {"params": parameters[:3], "lr": 1e-2, "weight_decay": 0.0},
        {"params": parameters[3:], "lr": 1e-3, "weight_decay": 0.1, "eps": 1e-4},
    ]


def step_in_float32(optimizer: Optimizer) -> None:
    """A step of half-precision weights whose moments are float32."""
    (group,) = optimizer.param_groups
    shadows = [nn.Parameter(p.detach().float()) for p in group["params"]]
    shadow = AdamW(shadows, lr=1e-3)
    for own, parameter in zip(shadows, group["params"], strict=True):
        own.grad = parameter.grad.float()
        shadow.state[own].update(optimizer.state[parameter])
    shadow.step()
    for own, parameter in zip(shadows, group["params"], strict=True):
        optimizer.state[parameter].update(shadow.state[own])
        parameter.data.copy_(own.data)


TRIALS = {
    "AdamW": Trial(lambda p: AdamW(p, lr=1e-3), parameters_of(), random_gradients, steps=3),
    "Adam, amsgrad, maximize, coupled decay": Trial(
        lambda p: Adam(split_groups(p), amsgrad=True, maximize=True),
        parameters_of(),
        lambda p, step: [None if i == step else g for i, g in enumerate(random_gradients(p, step))],
        steps=3,
    ),
    "bfloat16 weights, float32 moments": Trial(
        lambda p: AdamW(p, lr=1e-3),
        parameters_of(torch.bfloat16),
        random_gradients,
        take_step=step_in_float32,
    ),
    "bfloat16": Trial(lambda p: AdamW(p, lr=1e-2), parameters_of(torch.bfloat16), random_gradients),
    "float16": Trial(lambda p: Adam(p, eps=1e-4), parameters_of(torch.float16), random_gradients),
    "several types": Trial(lambda p: AdamW(p, eps=1e-4), several_types, random_gradients),
    "RMSprop": Trial(
        lambda p: RMSprop(p, lr=1e-3, weight_decay=0.1), parameters_of(), random_gradients
    ),
    "SGD, nesterov": Trial(
        lambda p: SGD(p, lr=0.1, momentum=0.9, nesterov=True, foreach=True, weight_decay=0.1),
        parameters_of(),
        random_gradients,
    ),
    "SGD": Trial(lambda p: SGD(p, lr=0.1), parameters_of(), random_gradients, steps=1),
    "NAdam": Trial(lambda p: NAdam(p, lr=1e-3), parameters_of(), random_gradients),
    "Adamax": Trial(lambda p: Adamax(p, lr=1e-3), parameters_of(), random_gradients),
    "several layouts": Trial(lambda p: AdamW(p, lr=1e-3), several_layouts, gradients_of_layouts),
    "extreme values": Trial(
        lambda p: AdamW(p, lr=1e-3, eps=1e-12), extreme_values, extreme_gradients, steps=3
    ),
    "steps counted on the device": Trial(
        lambda p: AdamW(p, lr=1e-3),
        parameters_of(),
        random_gradients,
        steps=3,
        counts_on_device=True,
    ),
    "steps unlike the expected ones": Trial(
        lambda p: AdamW(p, lr=1e-3),
        parameters_of(),
        random_gradients,
        first_step=100,
        counts_on_device=True,
    ),
    "one parameter": Trial(
        lambda p: AdamW(p, lr=1e-3), lambda: [torch.randn(60, 40)], random_gradients
    ),
    "sampled": Trial(
        lambda p: AdamW(p, lr=1e-3), parameters_of(), random_gradients, steps=3, max_sampled=4090
    ),
    "sampled, bfloat16, amsgrad": Trial(
        lambda p: Adam(split_groups(p), amsgrad=True, maximize=True, foreach=True),
        parameters_of(torch.bfloat16),
        lambda p, step: [None if i == step else g for i, g in enumerate(random_gradients(p, step))],
        steps=3,
        max_sampled=1000,
    ),
    "sampled, several types": Trial(
        lambda p: AdamW(p, eps=1e-4), several_types, random_gradients, max_sampled=256
    ),
    "sampled, Adamax": Trial(
        lambda p: Adamax(p, lr=1e-3), parameters_of(), random_gradients, max_sampled=300
    ),
    "sampled, channels last": Trial(
        lambda p: AdamW(p, lr=1e-3),
        channels_last,
        lambda p, step: [
            None if g is None else torch.empty_like(q).copy_(g)
            for q, g in zip(p, random_gradients(p, step), strict=True)
        ],
        max_sampled=300,
    ),
    "sampled, extreme values": Trial(
        lambda p: AdamW(p, lr=1e-3, eps=1e-12),
        extreme_values,
        extreme_gradients,
        steps=3,
        max_sampled=64,
    ),
    "sampled, two tensors of one size": Trial(
        lambda p: AdamW(p, lr=1e-3),
        lambda: [torch.randn(40, 64), torch.randn(2, 3), torch.randn(64, 40), torch.randn(2560)],
        random_gradients,
        max_sampled=512,
        counts_on_device=True,
    ),
    "sampled, a transformer": Trial(
        lambda p: AdamW(p, lr=1e-3), transformer, random_gradients, max_sampled=1024
    ),
    "sampled, another layout": Trial(
        lambda p: AdamW(p, lr=1e-3), parameters_of(), transposed_gradient, max_sampled=1000
    ),
    "sampled, bfloat16, another layout": Trial(
        lambda p: AdamW(p, lr=1e-3),
        parameters_of(torch.bfloat16),
        transposed_gradient,
        max_sampled=1000,
    ),
    "sampled, RMSprop, momentum": Trial(
        lambda p: RMSprop(p, lr=1e-3, momentum=0.9),
        parameters_of(),
        random_gradients,
        max_sampled=1000,
    ),
    "RMSprop, momentum": Trial(
        lambda p: RMSprop(p, lr=1e-3, momentum=0.9), parameters_of(), random_gradients
    ),
    "Adadelta": Trial(Adadelta, parameters_of(), random_gradients),
}


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
        """Note a call under a name, or not at all, whatever it does."""

        def call(*arguments: Any, **named: Any) -> Any:
            self.noted += names
            self._paused = True
            try:
                return function(*arguments, **named)
            finally:
                self._paused = False

        return call

    def follow(self, way: Any, kernels: launches.Kernels) -> None:
        """Note what a :class:`SinglePass` does."""
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
    """Return one that uses torch's operations, and one that is to use the kernel."""
    state = adapter_for(optimizer)
    groups = [g for g, group in enumerate(optimizer.param_groups) for _ in group["params"]]
    watched = [
        Watched(f"p{i}", p, g) for i, (p, g) in enumerate(zip(parameters, groups, strict=True))
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(loading.VARIABLE, "0")  # torch's operations are what it is compared with
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
        # Their histograms lie in memory that the next step reuses.
        both = (copy.deepcopy(by_torch), copy.deepcopy(by_kernel))
        steps.append(Step(both, (plain.found, kernel.found), way.refusal, noting.noted))
    return steps


def prepare() -> launches.Kernels:
    """Make tiles and chunks that suit the interpreter; return the kernels."""
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


def compile_for_gpus() -> None:
    """Compile the kernels as for a step with every quantity, without and with all else."""
    from triton import compile
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from tb_adam_plugin.callback.measure.gpu import kernel_layout

    kernels = launches.Kernels.loaded()
    pointers = {
        "chunk_parameter": "*i32", "table": "*i64", "lines": "*i32", "numbers": "*fp32",
        "values": "*fp32", "row_squares": "*fp32", "counts": "*i32", "alive": "*u8",
        "steps": "*fp32", "parameters": "i32", "chunks": "i32",
    }  # fmt: skip
    for capability, kind, is_all in (
        (80, kernel_layout.FLOAT32, False),
        (90, kernel_layout.FLOAT32, False),
        (90, kernel_layout.MIXED, True),
    ):
        for kernel in (kernels.keep, kernels.reduce, kernels.totals):
            names = kernel.arg_names
            settings: dict[str, Any] = {name: is_all for name in names if name not in pointers}
            settings |= {name: kind for name in settings if name in TYPES}
            counted = [name for name in settings if name.startswith("COUNT")]
            settings |= {name: i for i, name in enumerate(counted)}
            always = {"HAS_EXP_AVG": True, "HAS_EXP_AVG_SQ": True, "KNOWS_UPDATE": True}
            always |= {"SAMPLED": True, "IS_BEFORE": False, "ALIGNED": True}
            settings |= {name: value for name, value in always.items() if name in settings}
            source = ASTSource(
                kernel,
                {name: pointers.get(name, "constexpr") for name in names},
                {(names.index(name),): value for name, value in settings.items()},
            )
            is_total = kernel is kernels.totals
            warps = kernel_layout.WHOLE_WARPS if is_total else kernel_layout.WARPS
            target = GPUTarget("cuda", capability, 32)
            compiled = compile(source, target=target, options={"num_warps": warps})
            registers, spilled = resources_of(compiled.asm["cubin"])
            print(f"{kernel.__name__} {capability} {warps} {registers} {spilled}")
            assert registers <= kernel_layout.MOST_REGISTERS
            assert spilled == 0
            # Four numbers at a time, where a thread has so many side by side.
            assert not is_total or ".v4.b32" in compiled.asm["ptx"]


def resources_of(cubin: bytes) -> tuple[int, int]:
    """Return how many registers a thread of a compiled kernel has, and bytes that it spills."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        listed = subprocess.run(
            [tool, "--dump-resource-usage", file.name], check=True, capture_output=True, text=True
        ).stdout
    found = {name: int(n) for name, n in re.findall(r"(REG|STACK|LOCAL):(\d+)", listed)}
    return found["REG"], found["STACK"] + found["LOCAL"]


def patch_language_once() -> None:
    """Let the interpreter replace Triton's functions once, not at every call: thrice as fast."""
    from triton.runtime import interpreter

    patch, done = interpreter._patch_lang, {}

    def patch_once(function: Any) -> Any:
        if function.__module__ not in done:
            done[function.__module__] = patch(function)
            done[function.__module__].restore = lambda: None
        return done[function.__module__]

    interpreter._patch_lang = patch_once
