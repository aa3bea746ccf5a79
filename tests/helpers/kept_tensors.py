"""Models of all kinds in training, and the memory of tensors without keeping it."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from tb_adam_plugin.callback import AdamDebugCallback

MOST = 1024
Made = tuple[nn.Module, torch.optim.Optimizer, Callable[[], Tensor]]


class Storages:
    """The memory of some tensors, without keeping it."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self._references = [
            StorageWeakRef(part.untyped_storage()) for tensor in tensors for part in _parts(tensor)
        ]

    @property
    def count(self) -> int:
        return len(self._references)

    def alive(self) -> int:
        gc.collect()
        return sum(not reference.expired() for reference in self._references)


def _parts(tensor: Tensor) -> list[Tensor]:
    return [tensor._indices(), tensor._values()] if tensor.is_sparse else [tensor]


class Complex(nn.Module):
    """A sampled and an unsampled parameter of complex numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.large = nn.Parameter(torch.randn(40, 40, dtype=torch.complex64))
        self.small = nn.Parameter(torch.randn(7, dtype=torch.complex64))

    def forward(self, x: Tensor) -> Tensor:
        return self.large.abs().mean() * x.mean() + (self.small * self.small.conj()).real.sum()


def network(dtype: torch.dtype = torch.float32) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(),
        nn.Linear(16 * 64, 24), nn.Linear(24, 4),
    ).to(dtype)  # fmt: skip


def images(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(4, 3, 8, 8, dtype=dtype)


def plain(**options: Any) -> Callable[[], Made]:
    def make() -> Made:
        model = network()
        return model, torch.optim.AdamW(model.parameters(), **options), images

    return make


def half() -> Made:
    model = network(torch.bfloat16)
    return model, torch.optim.AdamW(model.parameters()), lambda: images(torch.bfloat16)


def channels_last() -> Made:
    model = network().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model, torch.optim.AdamW(model.parameters()), images


def complex_numbers() -> Made:
    model = Complex()
    return model, torch.optim.Adam(model.parameters()), lambda: torch.randn(3)


def sparse() -> Made:
    model = nn.Embedding(200, 16, sparse=True)
    optimizer = torch.optim.SparseAdam(model.parameters())
    return model, optimizer, lambda: torch.randint(200, (9,))


def overwriting() -> Made:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, nesterov=True)
    return model, optimizer, images


MODELS: Mapping[str, Callable[[], Made]] = {
    "AdamW": plain(),
    "amsgrad, foreach": plain(amsgrad=True, foreach=True),
    "fused": plain(fused=True),
    "bfloat16": half,
    "channels last": channels_last,
    "complex": complex_numbers,
    "sparse": sparse,
    "SGD, nesterov": overwriting,
}
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "exact": {"exact": True},
    "loss closure": {"loss_closure": True},
    "normalized update, findings": {"normalized_update": True, "on_finding": lambda finding: None},
    "between records": {"every_n_steps": 10**6},
}


class Training:
    """A model that is trained with a callback."""

    def __init__(self, made: Made, folder: Path, **options: Any) -> None:
        self.model, self.optimizer, self.batch = made
        if "loss_closure" in options:
            options["loss_closure"] = self.loss
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.debug = AdamDebugCallback(
                self.model,
                self.optimizer,
                log_dir=folder,
                **{
                    "every_n_steps": 1,
                    "max_sampled_elements": MOST,
                    "on_error": "raise",
                    **options,
                },
            )

    def loss(self) -> Tensor:
        loss: Tensor = self.model(self.batch()).float().square().mean()
        return loss

    def step(self) -> None:
        loss = self.loss()
        loss.backward()
        self.debug.record(loss=loss)
        self.optimizer.step()

    def gradients(self) -> list[Tensor]:
        return [p.grad for p in self.model.parameters() if p.grad is not None]

    def state(self) -> list[Tensor]:
        entries = self.optimizer.state.values()
        return [v for entry in entries for v in entry.values() if isinstance(v, Tensor)]
