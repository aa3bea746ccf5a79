"""A network, and a mode that refuses tensors on an implicit device."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

CALLBACK = Path(__file__).parents[2] / "callback"
# These train networks of their own.
DEMONSTRATIONS = "demo"  # a folder that trains its own networks
FACTORIES = {
    "arange", "as_tensor", "asarray", "empty", "empty_strided", "eye", "full", "linspace",
    "logspace", "normal", "ones", "rand", "randint", "randn", "randperm", "scalar_tensor",
    "sparse_coo_tensor", "tensor", "tril_indices", "triu_indices", "zeros",
}  # fmt: skip


class NamesDevices(TorchFunctionMode):
    """Refuses calls of the callback that create a tensor on the default device."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen = 0

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(function, "__name__", "") in FACTORIES:
            caller = Path(sys._getframe(1).f_code.co_filename)
            if CALLBACK in caller.resolve().parents and caller.parent.name != DEMONSTRATIONS:
                self.seen += 1
                assert kwargs.get("device") is not None, f"{function.__name__} without a device"
        return function(*args, **kwargs)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 64, 24)
    )


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Most optimizers cause warnings."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning)
        yield
