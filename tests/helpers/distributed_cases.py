"""Trainings that several processes share, and the same ones in a single process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.measure import row_ages

STEPS = 11
WINDOW = 4
JUMP = 39
Optimizers = Callable[[Any], Any]


class Net(nn.Module):
    """Weights that are read whole and sampled, with sizes that no number of processes divides."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(30)
        self.wide = nn.Linear(30, 201)  # more elements than are read
        self.narrow = nn.Linear(201, 3)  # on 4 ranks one has no row
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.wide(self.norm(x)).relu()
        alive = torch.arange(201) % 7 > 0  # rows without gradient
        out: Tensor = self.narrow(hidden * alive) * self.scale
        return out


def make_model() -> Net:
    torch.manual_seed(0)
    return Net()


def batch(step: int) -> Tensor:
    return torch.randn(4, 30, generator=torch.Generator().manual_seed(step))


def backward(model: nn.Module, step: int) -> None:
    """The same batch in each process, so the mean of their gradients is each one's."""
    loss = model(batch(step)).float().square().mean()
    (loss * (1000.0 if step == JUMP else 1.0)).backward()


def backward_in_half_precision(model: nn.Module, step: int) -> None:
    """The result of ``fully_shard`` with a mixed precision policy, in a single process."""
    half = {name: p.bfloat16() for name, p in model.named_parameters()}
    out: Tensor = torch.func.functional_call(model, half, (batch(step).bfloat16(),))
    out.float().square().mean().backward()


def given_gradients(model: nn.Module, step: int) -> None:
    """Gradients that are bit-identical for any distribution of the parameters."""
    from torch.distributed.tensor import DTensor, Partial

    generator = torch.Generator().manual_seed(step)
    for name, parameter in model.named_parameters():
        whole = torch.randn(parameter.shape, generator=generator)
        if whole.dim() > 1:
            whole[::5] = 0
        if not isinstance(parameter, DTensor):
            parameter.grad = whole
            continue
        mesh, placements = parameter.device_mesh, parameter.placements
        if name.startswith("norm.") and placements[-1].is_replicate():
            # As tensor parallelism leaves them: each process has its summand.
            part = whole if mesh.get_local_rank(mesh.ndim - 1) == 0 else torch.zeros_like(whole)
            placements = (*placements[:-1], Partial())
        else:
            part = cut(whole, mesh, placements)
        parameter.grad = DTensor.from_local(
            part, mesh, placements, run_check=False, shape=whole.shape, stride=whole.stride()
        )


def cut(whole: Tensor, mesh: Any, placements: Any) -> Tensor:
    """Return this process's part, cut across the last axis of the mesh first, like data."""
    for axis in reversed(range(mesh.ndim)):
        if placements[axis].is_replicate():
            continue
        dimension = placements[axis].dim
        chunks = whole.chunk(mesh.size(axis), dimension)
        at = mesh.get_local_rank(axis)
        whole = chunks[at] if at < len(chunks) else whole.narrow(dimension, 0, 0)
    return whole.contiguous()


def adamw(**options: Any) -> Optimizers:
    return lambda parameters: torch.optim.AdamW(parameters, lr=1e-2, **options)


def nesterov(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=1e-2, momentum=0.9, nesterov=True, foreach=True)


@dataclass(frozen=True)
class Training:
    """One training, for any distribution of its parameters."""

    optimizer: Optimizers = field(default_factory=adamw)
    backward: Callable[[nn.Module, int], None] = backward
    steps: int = STEPS
    options: Mapping[str, Any] = field(default_factory=dict)

    def run(
        self,
        model: nn.Module,
        optimizer: Any,
        folder: Path | None,
        *,
        recorded: nn.Module | None = None,
        delay: int = 0,
    ) -> AdamDebugCallback | None:
        """Train, and record to a folder if one is given."""
        with pytest.MonkeyPatch.context() as patch:
            # So rows can be idle at the last of a few records.
            patch.setattr(row_ages, "LEAST_STEPS", WINDOW)
            patch.setattr(row_ages, "LEAST_RECORDS", WINDOW)
            return self._run(model, optimizer, folder, recorded, delay)

    def _run(
        self,
        model: nn.Module,
        optimizer: Any,
        folder: Path | None,
        recorded: nn.Module | None,
        delay: int,
    ) -> AdamDebugCallback | None:
        options = {"every_n_steps": 5, "max_sampled_elements": 2048, **self.options}
        debug = None
        if folder is not None:
            debug = AdamDebugCallback(recorded or model, optimizer, log_dir=folder, **options)
            delay_by(debug, delay)
        for step in range(1, self.steps + 1):
            optimizer.zero_grad()
            self.backward(model, step)
            if debug is not None:
                debug.record(loss=0.5)
            optimizer.step()
        if debug is not None:
            debug.close()
        return debug

    def run_alone(self, folder: Path) -> None:
        """Train in a single process."""
        model = make_model()
        self.run(model, self.optimizer(model.parameters()), folder)


ADAMW = Training()
GIVEN = Training(backward=given_gradients)
TRAININGS = {
    "adamw": ADAMW,
    "foreach": Training(adamw(foreach=True, amsgrad=True)),
    "fused": Training(adamw(fused=True)),
    "sgd": Training(nesterov),
    "given": GIVEN,
    "bfloat16": Training(backward=backward_in_half_precision),
    "jump": Training(steps=JUMP + 20, options={"every_n_steps": 50}),
    "exact": Training(backward=given_gradients, options={"exact": True}),
}


def fsdp2(**options: Any) -> nn.Module:
    from torch.distributed.fsdp import fully_shard

    model = make_model()
    fully_shard(model.wide, **options)
    fully_shard(model, **options)
    return model


def hybrid() -> nn.Module:
    from torch.distributed.device_mesh import init_device_mesh

    return fsdp2(mesh=init_device_mesh("cpu", (2, 2), mesh_dim_names=("replicate", "shard")))


def tensor_parallel(mesh: Any, sequence: bool = True) -> nn.Module:
    from torch.distributed.tensor.parallel import (
        ColwiseParallel,
        RowwiseParallel,
        SequenceParallel,
        parallelize_module,
    )

    plan: dict[str, Any] = {"wide": ColwiseParallel(), "narrow": RowwiseParallel()}
    if sequence:
        plan["norm"] = SequenceParallel()
    return parallelize_module(make_model(), mesh, plan)


def both_ways() -> nn.Module:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("shard", "tensor"))
    model = tensor_parallel(mesh["tensor"], sequence=False)
    fully_shard(model, mesh=mesh["shard"])
    return model


def one_axis() -> nn.Module:
    from torch.distributed.device_mesh import init_device_mesh

    return tensor_parallel(init_device_mesh("cpu", (dist.get_world_size(),)))


def delay_by(debug: AdamDebugCallback, steps: int) -> None:
    if debug._placement.ranks is not None:
        debug._placement.ranks.delay = steps
