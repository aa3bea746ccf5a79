"""Checks that a GPU records correct values, and that training is unchanged."""

from __future__ import annotations

import contextlib
import math
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from .setting import (
    NEVER,
    SMALL,
    Machine,
    check,
    difference,
    is_used,
    measured,
    measurement_of,
    recording,
    trained,
)

STEPS = 25


def weights_after(machine: Machine, watch: bool, uses_scaler: bool, **options: Any) -> list[Tensor]:
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Embedding(500, 64), nn.Linear(64, 600), nn.GELU(), nn.LayerNorm(600), nn.Linear(600, 500)
    ).to(machine.device)
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, **options)
    generator = torch.Generator().manual_seed(2)
    kind = machine.device.type
    scaler = torch.amp.GradScaler(kind, 2.0**40, growth_interval=3, enabled=uses_scaler)
    with recording(parameters, optimizer, every_n_steps=3) if watch else contextlib.nullcontext():
        for _ in range(STEPS):
            tokens = torch.randint(500, (16,), generator=generator).to(machine.device)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(tokens), tokens)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
    return [parameter.detach().cpu().clone() for parameter in parameters]


@check
def training_is_bit_identical(machine: Machine) -> str:
    """Weights are bit-identical to training without the callback, including skipped steps."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    variants: list[dict[str, Any]] = [{"fused": True}, {"foreach": True}, {"foreach": False}]
    variants += [{"capturable": True}] if machine.is_cuda else []
    try:
        for options in variants:
            for uses_scaler in (False, True):
                pair = [weights_after(machine, w, uses_scaler, **options) for w in (False, True)]
                same = all(map(torch.equal, *pair))
                assert same, f"{options}, scaler: {uses_scaler}"
    finally:
        torch.use_deterministic_algorithms(False)
    return f"{len(variants)} optimizers, with and without GradScaler"


@check
def figures_equal_those_of_the_cpu(machine: Machine) -> str:
    """Measures the same tensors before and after one step on both."""
    notes = []
    for dtype in (torch.float32, torch.bfloat16):
        for exact in (False, True):
            parameters, optimizer = trained(machine, SMALL, dtype)
            twins = [nn.Parameter(p.detach().cpu().clone()) for p in parameters]
            other = torch.optim.AdamW(twins, lr=1e-4, fused=True)

            def copy_over() -> None:
                for p, twin in zip(parameters, twins, strict=True):  # noqa: B023
                    twin.data.copy_(p)
                    assert p.grad is not None
                    twin.grad = p.grad.cpu()
                    state = optimizer.state[p].items()  # noqa: B023
                    other.state[twin] = {k: v.detach().cpu().clone() for k, v in state}  # noqa: B023

            both = [
                measurement_of(parameters, optimizer, exact),
                measurement_of(twins, other, exact),
            ]
            with torch.no_grad():
                copy_over()
                for measurement in both:
                    measurement.before_step()
                optimizer.step()
                copy_over()
                on_device, on_cpu = map(measured, both)
            kind = f"{str(dtype)[6:]} {'exact' if exact else 'sampled'}"
            notes.append(f"{kind}: {difference(on_cpu, on_device)}")
            if machine.is_cuda:
                is_used(both[0])
    return "; ".join(notes)


@check
def triton_equals_torch(machine: Machine) -> str | None:
    """The kernels and torch's operations on one device."""
    if not machine.is_cuda:
        return None
    notes = []
    for exact in (False, True):
        parameters, optimizer = trained(machine, SMALL)
        kernel = measurement_of(parameters, optimizer, exact)
        plain = measurement_of(parameters, optimizer, exact, by_torch=True)
        with torch.no_grad():
            kernel.before_step()
            plain.before_step()
            optimizer.step()
            notes.append(difference(measured(plain), measured(kernel)))
        is_used(kernel)
    return "; ".join(notes)


@check
def a_stream_of_the_user_s_own(machine: Machine) -> str | None:
    """Values of a step on a stream that lags behind."""
    if not machine.is_cuda:
        return None
    found = []
    for is_own in (False, True):
        parameters, optimizer = trained(machine, SMALL)
        current = torch.cuda.current_stream(machine.device)
        stream = torch.cuda.Stream(machine.device) if is_own else current
        stream.wait_stream(current)
        with torch.cuda.stream(stream), torch.no_grad():
            measurement = measurement_of(parameters, optimizer, exact=False)
            work = torch.randn(4096, 4096, device=machine.device)
            for _ in range(20):
                work = work @ work * 1e-3
            measurement.before_step()
            optimizer.step()
            found.append(measured(measurement))
    return difference(*found)


@check
def another_device_than_the_current_one(machine: Machine) -> str | None:
    """Norms of steps on a second GPU while the first one is the current device."""
    if not machine.is_cuda or torch.cuda.device_count() < 2:
        return None
    seen: list[float] = []
    with torch.cuda.device(0):
        parameter = nn.Parameter(torch.ones(4096, 512, device="cuda:1"))
        optimizer = torch.optim.AdamW([parameter], fused=True)
        with recording([parameter], optimizer, every_n_steps=NEVER) as debug:
            history = debug._agenda.history
            assert history is not None

            def note(step: int, norm: float) -> None:
                seen.append(norm)

            with mock.patch.object(history, "_judge", note):
                for _ in range(40):
                    work = torch.randn(8192, 8192, device="cuda:1")
                    work @ work
                    parameter.grad = torch.ones_like(parameter)
                    optimizer.step()
    expected = math.sqrt(parameter.numel())
    assert seen
    assert all(abs(norm / expected - 1) < 1e-5 for norm in seen), f"{sorted(set(seen))[:4]}"
    return f"{len(seen)} norms"
