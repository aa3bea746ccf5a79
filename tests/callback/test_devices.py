"""No wait between records, nothing in a captured graph, no harm in inference mode."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from device_trainings import (
    NamesDevices,
    network,
    quiet,  # noqa: F401
)
from recorded_run import read_run
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.attach.watched_parameters import find_parameters
from tb_adam_plugin.callback.memory import to_host
from tb_adam_plugin.callback.probes.gain_ratio import GainRatio
from tb_adam_plugin.callback.read.norms import GradientNorms
from tb_adam_plugin.callback.steps.step import Step


class Operations(TorchDispatchMode):
    """Notes what runs."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.noted: list[str] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.noted.append(function.overloadpacket.__name__)
        return function(*args, **kwargs or {})


WAITING = {
    "_local_scalar_dense",
    "index",
    "index_put_",
    "index_put",
    "nonzero",
    "item",
    "masked_select",
}


def test_norms_on_a_device_are_put_in_order_without_a_list_of_indices() -> None:
    parameters = [nn.Parameter(torch.randn(3 + i)) for i in range(6)]
    parameters[4].data = parameters[4].data.double()
    for i, parameter in enumerate(parameters):
        if i != 2:
            parameter.grad = torch.randn_like(parameter)
    norms = GradientNorms(parameters)
    gradients = [p.grad for p in parameters]
    expected, present = norms.squares()
    kinds = [[0, 1, 3, 5], [4]]
    for _ in range(2):
        with Operations() as operations:
            found = norms._squares_on_device(gradients, kinds)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)
        assert not WAITING & set(operations.noted)
    assert found.dtype == torch.float64
    assert present == (True, True, False, True, True, True)
    # The order is sent once, and once more where other parameters have a gradient.
    first = norms._order
    norms._squares_on_device(gradients, kinds)
    assert norms._order is first
    gradients[5] = None
    again = norms._squares_on_device(gradients, [[0, 1, 3], [4]])
    assert again[5] == 0
    np.testing.assert_allclose(again[:5].numpy(), np.asarray(expected)[:5], rtol=1e-6)


def test_norms_stay_on_the_device_of_the_parameters() -> None:
    with FakeTensorMode():
        parameters = [nn.Parameter(torch.empty(4, 5, device="cuda:1")) for _ in range(3)]
        for parameter in parameters:
            parameter.grad = torch.empty_like(parameter)
        squares, present = GradientNorms(parameters).squares()
    assert isinstance(squares, Tensor)
    assert squares.device == torch.device("cuda:1")
    assert squares.dtype == torch.float64
    assert present == (True,) * 3


def stand_in_for_cuda(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Let :mod:`.to_host` find a CUDA whose calls are noted."""
    noted: list[Any] = []

    class Event:
        def record(self, stream: Any) -> None:
            noted.append(("record", stream))

        def synchronize(self) -> None:
            noted.append("synchronize")

        def query(self) -> bool:
            noted.append("query")
            return True

    class Memory:
        def __init__(self) -> None:
            self.content = torch.zeros(3)

        def copy_(self, source: Any, non_blocking: bool) -> None:
            assert non_blocking
            noted.append("copy")
            self.content.copy_(source.content)

        def numpy(self) -> Any:
            return self.content.numpy()

    def empty(shape: Any, *, dtype: Any, device: str, pin_memory: bool) -> Memory:
        assert (device, pin_memory) == ("cpu", True)
        return Memory()

    def current_stream(device: Any) -> tuple[str, Any]:
        return "stream of", device

    cuda = SimpleNamespace(Event=Event, current_stream=current_stream)
    monkeypatch.setattr(to_host, "torch", SimpleNamespace(empty=empty, cuda=cuda))
    return noted


def test_a_copy_to_the_host_follows_the_stream_of_its_own_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noted = stand_in_for_cuda(monkeypatch)
    content = torch.arange(3.0)
    tensor: Any = SimpleNamespace(
        is_cuda=True, device="cuda:1", shape=(3,), dtype=torch.float32, content=content
    )
    _, arrived = to_host.send_to_host(tensor)
    assert arrived is not None
    assert noted == ["copy", ("record", ("stream of", "cuda:1"))]
    assert to_host.copy_to_host(tensor).tolist() == content.tolist()
    assert noted[2:] == [*noted[:2], "synchronize"]


def test_a_copy_from_any_other_device_waits_by_itself() -> None:
    class Elsewhere:
        is_cuda = False

        def cpu(self) -> Tensor:
            return torch.arange(3.0)

    elsewhere: Any = Elsewhere()
    assert to_host.copy_to_host(elsewhere).tolist() == [0.0, 1.0, 2.0]


def test_parameters_on_mps_are_refused() -> None:
    with FakeTensorMode():
        weight = nn.Parameter(torch.empty(3, device="mps"))
        with pytest.raises(ValueError, match="parameter w is on mps, which has no float64"):
            find_parameters([("w", weight)], [{"params": [weight]}])


def test_a_gain_ratio_is_on_the_device_of_its_loss() -> None:
    weight = nn.Parameter(torch.ones(4))
    model = nn.ParameterList([weight])
    ratio = GainRatio(lambda: weight.square().sum(), model)
    with NamesDevices():
        torch.set_default_device("meta")
        try:
            ratio.watch_gradients([weight])
            weight.square().sum().backward()
            ratio.before_step([(weight, False)])
            assert weight.grad is not None
            with torch.no_grad():
                weight.sub_(1e-3 * weight.grad)
            found = ratio.after_step(4.0)
        finally:
            torch.set_default_device(None)
    assert found is not None
    assert found.device.type == "cpu"
    assert float(found) == pytest.approx(1.0, abs=2e-3)


class Captured:
    """A training on the CPU that pretends to be on CUDA."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        self.is_capturing = False
        monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", self._answer)
        self.model = network()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), foreach=False)
        self.debug = AdamDebugCallback(
            self.model, self.optimizer, log_dir=folder, every_n_steps=1, on_error="raise"
        )

    def _answer(self) -> bool:
        self.asked += 1
        return self.is_capturing

    def step(self) -> list[str]:
        """Take a step; return the operations that ran besides the optimizer's own."""
        self.optimizer.zero_grad()
        self.model(torch.randn(4, 3, 8, 8)).square().mean().backward()
        with Operations() as operations:
            self.debug.record(loss=torch.tensor(1.0))
            self.optimizer.step()
        noted: list[str] = operations.noted
        return noted


def test_nothing_is_done_in_a_captured_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = Captured(tmp_path / "with", monkeypatch)
    training.debug._parameters.is_on_cuda = True
    training.step()
    training.is_capturing = True
    with pytest.warns(UserWarning, match="a CUDA graph is being captured") as caught:
        noted = [training.step(), training.step()]
    assert len(caught) == 1
    training.debug._parameters.is_on_cuda = False  # the same steps without hooks
    assert training.debug._hooks is not None
    for handle in training.debug._hooks._handles:
        handle.remove()
    training.debug._agenda.enabled = False
    alone = training.step()
    assert noted == [alone, alone]


def test_records_go_on_after_a_captured_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = Captured(tmp_path, monkeypatch)
    training.debug._parameters.is_on_cuda = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for is_capturing in (False, True, True, False, False):
            training.is_capturing = is_capturing
            training.step()
    training.debug.close()
    assert list(read_run(tmp_path).statistics) == [1, 4, 5]  # as the optimizer counts them


def test_a_backward_pass_in_a_captured_graph_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = Captured(tmp_path, monkeypatch)
    training.step()
    assert isinstance(training.debug._steps, Step)
    stale = training.debug._steps.stale_gradients
    parameter = stale._parameter
    assert parameter is not None
    on_cuda: Any = SimpleNamespace(is_cuda=True)
    hooks = parameter._backward_hooks
    assert hooks is not None
    (hook,) = hooks.values()
    training.is_capturing = True
    hook(on_cuda)  # would fail if it were looked at
    assert stale._error is None
    training.debug.close()


def test_cuda_is_not_asked_where_no_parameter_is_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = Captured(tmp_path, monkeypatch)
    training.step()
    training.debug.close()
    assert training.asked == 0


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("made_in_it", [False, True])
def test_steps_in_inference_mode_do_no_harm_to_later_ones(
    exact: bool, made_in_it: bool, tmp_path: Path
) -> None:
    def run(folder: Path, in_mode: bool) -> None:
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        generator = torch.Generator().manual_seed(0)
        with torch.inference_mode(in_mode and made_in_it):
            debug = AdamDebugCallback(
                model,
                optimizer,
                log_dir=folder,
                every_n_steps=1,
                exact=exact,
                max_sampled_elements=512,
                on_error="raise",
            )
        for step in range(4):
            for parameter in model.parameters():
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            with torch.inference_mode(in_mode and step < 2):
                debug.record(loss=torch.tensor(float(step)))
                optimizer.step()
        debug.close()

    run(tmp_path / "in", True)
    run(tmp_path / "out", False)
    found, expected = read_run(tmp_path / "in"), read_run(tmp_path / "out")
    assert list(found.statistics) == [1, 2, 3, 4]
    for step, table in expected.statistics.items():
        np.testing.assert_array_equal(found.statistics[step], table)
