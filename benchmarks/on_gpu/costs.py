"""Cost of recording on a device, in fused AdamW steps of the same model."""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from memory import MODELS

from .setting import NEVER, SMALL, TINY, Machine, Shapes, recording, trained, without_kernel

WAYS: dict[str, dict[str, Any]] = {
    "between records": {"every_n_steps": NEVER},
    "between records, without the norm": {"every_n_steps": NEVER, "gradient_norm": False},
    "recorded": {"every_n_steps": 1},
    "recorded, exact": {"every_n_steps": 1, "exact": True},
    "recorded, by torch": {"every_n_steps": 1},
}


def names_of_models() -> Sequence[str]:
    return tuple(MODELS)


def seconds(machine: Machine, function: Callable[[], object], repeats: int) -> float:
    """Return the median time of a call, including the wait for the device."""
    times = []
    for _ in range(repeats):
        machine.wait()
        start = time.perf_counter()
        function()
        machine.wait()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def costs(machine: Machine, shapes: Shapes, rounds: int, until: float) -> Iterator[str]:
    """Alternate, and yield the rows of a model's table, one per way."""
    parameters, optimizer = trained(machine, shapes)
    units, ratios = [], defaultdict[str, list[float]](list)
    kept: dict[str, int] = {}
    for done in range(rounds):
        if done and time.perf_counter() > until:
            break
        unit = seconds(machine, optimizer.step, 10)
        units.append(unit)
        for way, options in WAYS.items():
            before = machine.memory()
            by_torch = without_kernel() if "torch" in way else contextlib.nullcontext()
            with by_torch, recording(parameters, optimizer, **options) as debug:
                debug.step = 500  # past the first, densely recorded steps
                optimizer.step()
                optimizer.step()
                kept[way] = machine.memory() - before
                took = seconds(machine, optimizer.step, 5)
            ratios[way].append((took - unit) / unit)
    size = sum(p.numel() for p in parameters) / 1e6
    for way, values in ratios.items():
        yield (
            f"{size:.1f} M | {len(parameters)} | {statistics.median(units) * 1e3:.3f} | {way} "
            f"| {min(values):.2f} / {statistics.median(values):.2f} / {max(values):.2f} "
            f"| {kept[way] / 1e6:.0f} |"
        )


def print_costs(machine: Machine, options: argparse.Namespace, until: float) -> None:
    """Print the table, as far as time allows."""
    models: dict[str, Shapes] = {"tiny": TINY, "small": SMALL}
    if not options.quick:
        models = {name: MODELS[name]() for name in options.models.split(",")}
    name = torch.cuda.get_device_name(machine.device) if machine.is_cuda else "the CPU"
    print(f"\nIn fused AdamW steps of the same model, least / median / most; {name}, ", end="")
    print(f"torch {torch.__version__}, {options.rounds} rounds at most\n")
    print("| model | parameters | tensors | one step, ms | way | cost | MB kept |")
    print("|---|---|---|---|---|---|---|")
    for model, shapes in models.items():
        if time.perf_counter() > until:
            print(f"{model}: no time left")
            continue
        try:
            for row in costs(machine, shapes, options.rounds, until):
                print(f"| {model} | {row}", flush=True)
        except torch.cuda.OutOfMemoryError as error:
            print(f"{model}: {error}")
