"""Waits for the GPU, launches on it, and memory use."""

from __future__ import annotations

import subprocess
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from memory import MODELS

from tb_adam_plugin.callback.measure.gpu import kernel_layout, launches, single_pass

from .setting import (
    NEVER,
    SMALL,
    TINY,
    Machine,
    check,
    is_used,
    measured,
    measurement_of,
    recording,
    trained,
)

SCRIPT = Path(__file__).parents[1] / "gpu.py"
# In addition to the kernels: tables and rows that are sent, results that are cleared.
MOST_OTHER_LAUNCHES = 10


def waits_of(function: Callable[[], object]) -> Counter[str]:
    """Return, by file and line, what waited for the device according to torch, except events."""
    found: Counter[str] = Counter()

    def note(message: Any, category: Any, filename: str, line: int, *_: Any) -> None:
        if "synchroniz" in str(message):
            ours = [f for f in traceback.extract_stack() if "/callback/" in f.filename]
            place = (ours[-1].filename, ours[-1].lineno) if ours else (filename, line)
            found["{}:{}".format(place[0].rpartition("/callback/")[2], place[1])] += 1

    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(), mock.patch.object(warnings, "showwarning", note):
            warnings.simplefilter("always")
            function()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return found


@check
def nothing_waits(machine: Machine) -> str | None:
    """Neither unrecorded steps nor recorded ones, except for the event that ends their copy."""
    if not machine.is_cuda:
        return None
    ways: tuple[dict[str, Any], ...] = ({"fused": True}, {"foreach": True})
    for options in ways:
        for every_n_steps in (NEVER, 1):
            parameters, optimizer = trained(machine, SMALL, **options)
            with recording(parameters, optimizer, every_n_steps=every_n_steps) as debug:
                debug.step = 500
                for _ in range(3):
                    optimizer.step()
                alone = waits_of(lambda: None)
                found = waits_of(optimizer.step) - alone
            assert not found, f"{options}, every {every_n_steps} steps: {dict(found)}"
    return "fused and foreach, recorded and between"


@check
def a_capture_is_left_alone(machine: Machine) -> str | None:
    """A CUDA graph of the optimizer's step, in a separate process, which it may kill."""
    if not machine.is_cuda:
        return None
    command = [sys.executable, str(SCRIPT), "--device", str(machine.device), "--captured"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, (ended.stdout + ended.stderr).strip()[-400:]
    return "captured and replayed, same weights"


def captured(machine: Machine) -> None:
    """Capture and replay a step without the callback and with it."""
    results = []
    for watch in (False, True):
        parameters, optimizer = trained(machine, SMALL, capturable=True)
        current, side = torch.cuda.current_stream(), torch.cuda.Stream()
        with (
            recording(parameters, optimizer, every_n_steps=1)
            if watch
            else warnings.catch_warnings()
        ):
            side.wait_stream(current)
            with torch.cuda.stream(side):
                for _ in range(3):
                    optimizer.step()
            current.wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                optimizer.step()
            for _ in range(3):
                graph.replay()
            machine.wait()
        results.append([parameter.detach().cpu() for parameter in parameters])
    assert all(map(torch.equal, *results)), "the weights differ"


def launched(machine: Machine, function: Callable[[], object]) -> tuple[int, int]:
    """Return how many kernels a function launches, and how many copies and memory sets."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        function()
        machine.wait()
    names = Counter(event.name for event in profiler.events())
    kernels = sum(n for name, n in names.items() if "LaunchKernel" in name)
    return kernels, sum(n for name, n in names.items() if "Memcpy" in name and "Async" in name) + (
        sum(n for name, n in names.items() if "MemsetAsync" in name)
    )


@check
def launches_of_a_record(machine: Machine) -> str | None:
    """Few, and as many for 334 tensors as for 4."""
    if not machine.is_cuda:
        return None
    counts = []
    for shapes in (TINY, [(300, 64), *MODELS["deep"]()]):
        parameters, optimizer = trained(machine, shapes)
        alone = launched(machine, optimizer.step)
        with recording(parameters, optimizer, every_n_steps=1):
            for _ in range(3):
                optimizer.step()
            recorded = launched(machine, optimizer.step)
        counts.append(tuple(map(int.__sub__, recorded, alone)))
    sampled = 2  # the kernel that sums all elements, before the step and after it
    for (kernels, others), own in zip(counts, (2, 2 + sampled), strict=True):
        assert kernels + others - own <= MOST_OTHER_LAUNCHES, f"kernels, copies: {counts}"
    return f"kernels and copies of 4 and of 335 tensors: {counts[0]}, {counts[1]}"


@check
def kernels_do_not_spill(machine: Machine) -> str | None:
    """Registers of each kernel as compiled here."""
    if not machine.is_cuda:
        return None
    compiled: dict[str, Any] = {}

    class Spy:
        def __init__(self, name: str, kernel: Any) -> None:
            self.name, self.kernel = name, kernel

        def __getitem__(self, grid: Any) -> Callable[..., None]:
            def launch(*arguments: Any, **settings: Any) -> None:
                compiled[self.name] = self.kernel[grid](*arguments, **settings)

            return launch

    parameters, optimizer = trained(machine, SMALL)
    measurement = measurement_of(parameters, optimizer, exact=False)
    way = measurement._reduction
    assert isinstance(way, single_pass.SinglePass)
    known = launches.Kernels.loaded()
    way._launches._kernels = known._replace(
        keep=Spy("keep", known.keep),
        reduce=Spy("reduce", known.reduce),
        totals=Spy("totals", known.totals),
    )
    with torch.no_grad():
        measurement.before_step()
        optimizer.step()
        measured(measurement)
    is_used(measurement)
    notes = {name: (kernel.n_regs, kernel.n_spills) for name, kernel in compiled.items()}
    assert all(spills == 0 for _, spills in notes.values()), f"registers, spills: {notes}"
    assert notes["reduce"][0] <= kernel_layout.MOST_REGISTERS, f"{notes}"
    return f"registers, spills: {notes}"


@check
def memory_is_given_back(machine: Machine) -> str | None:
    """Nothing of a closed callback is kept."""
    if not machine.is_cuda:
        return None
    parameters, optimizer = trained(machine, MODELS["gpt2"]())
    optimizer.step()
    before = machine.memory()
    with recording(parameters, optimizer, every_n_steps=1):
        optimizer.step()
        optimizer.step()
        kept = machine.memory() - before
    left = machine.memory() - before
    assert left < 1 << 20, f"{left / 1e6:.1f} MB are left"
    return f"GPT-2: {kept / 1e6:.0f} MB between records, {left / 1e6:.1f} MB afterwards"
