"""Parameters during a training, their measurement, and the list of all checks."""

from __future__ import annotations

import contextlib
import gc
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from tb_adam_plugin import schema
from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.attach.watched_parameters import Watched
from tb_adam_plugin.callback.measure.gpu import single_pass
from tb_adam_plugin.callback.measure.measurement import Measured, Measurement
from tb_adam_plugin.callback.optimizer_state.registry import adapter_for

NEVER = 10**9
# A transformer with a sampled embedding, biases, and a tensor whose size is not a multiple of four.
SMALL = [
    (1000, 128),
    (64, 128),
    *4 * [(384, 128), (384,), (512, 128), (128, 512), (128,)],
    (127, 7),
]
TINY = [(64, 64)] * 4

Shapes = Sequence[tuple[int, ...]]
Check = Callable[["Machine"], "str | None"]


class Machine(NamedTuple):
    """Where the checks run."""

    device: torch.device

    @property
    def is_cuda(self) -> bool:
        """Whether it is a GPU."""
        return self.device.type == "cuda"

    def wait(self) -> None:
        """Wait for all launched work."""
        if self.is_cuda:
            torch.cuda.synchronize(self.device)

    def memory(self) -> int:
        """Return the memory of tensors there, in bytes."""
        gc.collect()
        self.wait()
        return torch.cuda.memory_allocated(self.device) if self.is_cuda else 0


CHECKS: dict[str, Check] = {}


def check(function: Check) -> Check:
    """Add a check. It returns a note, or None if there is nothing to run on, or raises."""
    CHECKS[function.__name__] = function
    return function


def trained(
    machine: Machine, shapes: Shapes, dtype: torch.dtype = torch.float32, **options: Any
) -> tuple[list[nn.Parameter], torch.optim.AdamW]:
    """Return parameters and their optimizer after two steps: the checks need no network."""
    generator = torch.Generator(machine.device).manual_seed(0)

    def normal(shape: tuple[int, ...], deviation: float) -> Tensor:
        made = torch.empty(shape, device=machine.device, dtype=dtype)
        return made.normal_(0, deviation, generator=generator)

    parameters = [nn.Parameter(normal(shape, 0.02)) for shape in shapes]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, **({"fused": True} | options))
    for _ in range(2):
        for parameter in parameters:
            parameter.grad = normal(tuple(parameter.shape), 1e-3)
        optimizer.step()
    return parameters, optimizer


@contextlib.contextmanager
def recording(
    parameters: Sequence[nn.Parameter], optimizer: torch.optim.Optimizer, **options: Any
) -> Iterator[AdamDebugCallback]:
    """Attach a callback that writes to a temporary folder."""
    pairs = [(f"p{i}", p) for i, p in enumerate(parameters)]
    options.setdefault("max_overhead", 1)
    with (
        tempfile.TemporaryDirectory() as folder,
        AdamDebugCallback(pairs, optimizer, log_dir=folder, on_error="raise", **options) as debug,
    ):
        yield debug


def measurement_of(
    parameters: Sequence[nn.Parameter],
    optimizer: torch.optim.Optimizer,
    exact: bool,
    by_torch: bool = False,
) -> Measurement:
    """Return a measurement of the parameters; with torch's operations even if a kernel fits."""
    watched = [Watched(f"p{i}", p, 0) for i, p in enumerate(parameters)]
    with without_kernel() if by_torch else contextlib.nullcontext():
        return Measurement(watched, adapter_for(optimizer), None if exact else 16_384)


def without_kernel() -> Any:
    return mock.patch.object(single_pass, "DEVICES", ())


def measured(measurement: Measurement) -> Measured:
    return measurement.after_step(True, (), None, 0.5, 3)


def difference(expected: Measured, found: Measured) -> str:
    """Compare two measurements of one step, whose order of summation may differ."""
    assert expected.counts is not None
    assert found.counts is not None
    counts = [m.counts.dense() for m in (expected, found) if m.counts is not None]
    moved = np.abs(counts[0] - counts[1]).sum() / 2 / max(counts[0].sum(), 1)
    assert moved < 1e-4, f"{moved:.1e} of the counts are in other bins"
    worst = 0.0
    for i, statistic in enumerate(schema.STATISTICS):
        a, b = expected.statistics[:, i], found.statistics[:, i]
        assert (np.isnan(a) == np.isnan(b)).all(), f"{statistic.name} is NaN in one only"
        known = np.isfinite(a)
        # A difference of nearly equal numbers is only exact in units of these.
        least = 0.1 if "cosine" in statistic.name or "fraction" in statistic.name else 1e-30
        least = 1e-2 if "error" in statistic.name else least
        off = np.abs(a - b)[known] / np.maximum(np.abs(a[known]), least)
        worst = max(worst, float(off.max(initial=0)))
        assert off.max(initial=0) < 5e-5, f"{statistic.name} differs by {off.max():.1e}"
    return f"statistics within {worst:.0e}, {moved:.0e} of the counts elsewhere"


def is_used(measurement: Measurement) -> None:
    """Fail if the kernel was not used."""
    way = measurement._reduction
    assert isinstance(way, single_pass.SinglePass), "the Triton kernel was not used"
    assert way.refusal is None, f"the Triton kernel refused: {way.refusal}"
