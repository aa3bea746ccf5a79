"""A fake device: CPU tensors that claim to be on CUDA, and a record of what would wait.

Under :class:`StandIn`, a tensor that is created on, or sent to, "cuda" is a wrapper of a CPU
tensor. Operations run on the wrapped tensor, so the numbers are right. Whatever a GPU refuses is
refused: operations on tensors of both devices, and NumPy. Whatever would wait is noted, with its
place in the callback: copies from or to pageable memory, and reading a number.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from tb_adam_plugin.callback.read.memory_order import contiguous_strides
from tb_adam_plugin.callback.read.tensor_reader import TensorReader

CUDA = torch.device("cuda:0")
CALLBACK = Path(__file__).resolve().parents[2] / "callback"
FACTORIES = {
    "arange", "empty", "empty_strided", "full", "ones", "rand", "randn", "randint", "tensor",
    "zeros",
}  # fmt: skip
# Operations that read the size of their result, or a number, from the device.
WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "unique", "bincount", "equal"}
NOT_LAUNCHED = {
    "view", "slice", "select", "detach", "expand", "unsqueeze", "as_strided", "split", "unbind",
    "alias", "t", "transpose", "permute", "_unsafe_view", "squeeze", "split_with_sizes", "empty",
    "empty_like", "new_empty", "lift_fresh", "reshape", "_reshape_alias", "set_", "flatten",
}  # fmt: skip


class OnDevice(Tensor):
    """A tensor on the fake device."""

    inner: Any  # a tensor of the CPU
    current: StandIn

    @staticmethod
    def __new__(cls, inner: Tensor) -> OnDevice:
        made: Any = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=CUDA,
            requires_grad=inner.requires_grad,
        )
        made.inner = inner.detach()
        return made  # type: ignore[no-any-return]

    def __repr__(self) -> str:  # type: ignore[override]
        return f"OnDevice({self.inner!r})"

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, function: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return OnDevice.current.run(function, args, kwargs or {})


class StandIn(TorchFunctionMode):
    """Makes "cuda" mean the fake device.

    Attributes:
        launched: Names of the operations and copies that ran there.
        waits: Waits, with their places.
        uploads: Number of transfers to it.
        synchronized: Number of waits for an event that had not completed.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.clear()
        self._pinned: list[Tensor] = []

    def clear(self) -> None:
        """Forget what was noted."""
        self.launched: list[str] = []
        self.waits: list[str] = []
        self.uploads = 0
        self.synchronized = 0

    def run(self, function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Run an operation on the wrapped tensors."""
        name = function.overloadpacket.__name__
        wrappers: dict[int, OnDevice] = {}
        where = torch.device(kwargs["device"]) if kwargs.get("device") is not None else CUDA
        if name == "_to_copy" and where.type == "cpu":
            self._wait("copy to the host")
            return function(args[0].inner, **kwargs)

        def unwrap(value: Any) -> Any:
            if isinstance(value, OnDevice):
                wrappers[id(value.inner)] = value
                return value.inner
            if isinstance(value, Tensor):
                assert value.dim() == 0, f"{name} of tensors of two devices"
            return value

        def wrap(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            return wrappers[id(value)] if id(value) in wrappers else OnDevice(value)

        if name in WAITING or (name == "index" and _has_mask(args[1])):
            self._wait(name)
        elif name not in NOT_LAUNCHED:
            self.launched.append(name)
        args, kwargs = tree_map(unwrap, (args, {k: v for k, v in kwargs.items() if k != "device"}))
        return tree_map(wrap, function(*args, **kwargs))

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(function, "__name__", "")
        with _as_current(self):
            if name in FACTORIES:
                return self._made(function, args, kwargs)
            if name in ("zeros_like", "empty_like", "ones_like", "full_like"):
                kwargs.pop("device", None)
                return function(*args, **kwargs)
            if name == "where":  # it makes a tensor on the device of a number
                return function(*(torch.tensor(v) if isinstance(v, float) else v for v in args))
            if name == "pin_memory":
                assert not isinstance(args[0], OnDevice)
                self._pinned.append(args[0])
                return args[0]
            if name == "to" and not isinstance(args[0], OnDevice) and _wants_device(args, kwargs):
                return self._sent(args[0], args, kwargs)
            if name == "to" and _wants_device(args, kwargs):
                dtypes = [v for v in (*args, *kwargs.values()) if isinstance(v, torch.dtype)]
                return args[0].to(*dtypes) if dtypes else args[0]
            if name == "to" and isinstance(args[0], OnDevice) and _names_host(args, kwargs):
                self._wait("copy to the host")
                return args[0].inner.to(*args[1:], **kwargs)
            if name == "cpu" and isinstance(args[0], OnDevice):
                self._wait("copy to the host")
                return args[0].inner.clone()
            if name == "copy_" and isinstance(args[0], OnDevice) != isinstance(args[1], OnDevice):
                return self._copied(args[0], args[1], kwargs)
            if name in ("numpy", "__array__"):
                assert not isinstance(args[0], OnDevice), "NumPy of a tensor of a device"
            if name == "tolist" and isinstance(args[0], OnDevice):
                self._wait("tolist")
                return args[0].inner.tolist()
            return function(*args, **kwargs)

    def _made(self, function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        device = kwargs.get("device")
        is_pinned = kwargs.pop("pin_memory", False)
        if device is not None and torch.device(device).type == "cuda":
            kwargs["device"] = "cpu"
            needs_grad = kwargs.pop("requires_grad", False)
            self.launched += [] if function.__name__.startswith("empty") else [function.__name__]
            made = OnDevice(function(*args, **kwargs))
            return made.requires_grad_() if needs_grad else made
        made = function(*args, **kwargs)
        if is_pinned:
            self._pinned.append(made)
        return made

    def _sent(self, tensor: Tensor, args: Any, kwargs: dict[str, Any]) -> Tensor:
        self.uploads += 1
        if not kwargs.get("non_blocking") or not self._is_pinned(tensor):
            self._wait("copy to the device")
        dtypes = [v for v in (*args, *kwargs.values()) if isinstance(v, torch.dtype)]
        return OnDevice(tensor.detach().clone().to(dtypes[0] if dtypes else tensor.dtype))

    def _copied(self, target: Any, source: Any, kwargs: dict[str, Any]) -> Any:
        host, inner = (target, source.inner) if isinstance(source, OnDevice) else (source, None)
        if not kwargs.get("non_blocking") or not self._is_pinned(host):
            self._wait("copy_ between the host and the device")
        if inner is None:
            self.uploads += 1
            target.inner.copy_(source)
        else:
            self.launched.append("to host")
            target.copy_(inner)
        return target

    def _is_pinned(self, tensor: Tensor) -> bool:
        return any(tensor is known for known in self._pinned)

    def _wait(self, what: str) -> None:
        frame: Any = sys._getframe(1)
        while frame is not None:
            path = Path(frame.f_code.co_filename).resolve()
            if CALLBACK in path.parents:
                self.waits.append(f"{what} at {path.relative_to(CALLBACK)}:{frame.f_lineno}")
                return
            frame = frame.f_back


def _has_mask(indices: Any) -> bool:
    return any(isinstance(i, Tensor) and i.dtype in (torch.bool, torch.uint8) for i in indices)


def _wants_device(args: Any, kwargs: dict[str, Any]) -> bool:
    named = [*args[1:2], kwargs.get("device")]
    return any(isinstance(d, str | torch.device) and torch.device(d).type == "cuda" for d in named)


def _names_host(args: Any, kwargs: dict[str, Any]) -> bool:
    named = [*args[1:2], kwargs.get("device")]
    return any(isinstance(d, str | torch.device) and torch.device(d).type == "cpu" for d in named)


@contextmanager
def _as_current(mode: StandIn) -> Iterator[None]:
    OnDevice.current = mode
    yield


def _targets(self: TensorReader, pieces: Any, rows: Tensor) -> list[Tensor]:
    """Like the callback's own, which uses storages, but a wrapper has none."""
    targets, start = [], rows.storage_offset()
    for piece in pieces:
        at, order = start + piece.at, None
        shape: tuple[int, ...] = (piece.count,)
        if piece.positions is not None:
            at, shape = start, (rows.numel(),)
        elif piece.start is None:
            shape = self._shapes[piece.parameter]
            order = self._orders[piece.parameter]
        elif piece.lines is not None:
            shape = (piece.count // 16, 16)
        targets.append(rows.as_strided(shape, order or contiguous_strides(shape), at))
    return targets


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """Make "cuda" mean the fake device. An event completes when a later one is waited for."""
    mode = StandIn()
    come = 0
    recorded = itertools.count(1)
    # As in FakeTensorMode: without CUDA, choosing its device does nothing.
    torch._C._ensureCUDADeviceGuardSet()  # type: ignore[attr-defined]

    class Event:
        def record(self, stream: Any) -> None:
            assert stream == ("stream of", CUDA)
            self.number = next(recorded)

        def synchronize(self) -> None:
            nonlocal come
            mode.synchronized += self.number > come
            come = max(come, self.number)

        def query(self) -> bool:
            return True

    with (
        mock.patch.object(torch.cuda, "Event", Event),
        mock.patch.object(torch.cuda, "current_stream", lambda device: ("stream of", device)),
        mock.patch.object(torch.cuda, "is_current_stream_capturing", return_value=False),
        mock.patch.object(TensorReader, "targets", _targets),
        mode,
    ):
        yield mode
