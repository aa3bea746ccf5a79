"""Records on a device with torch's operations: correct, one wait each, no transfer from pageable
memory.

On a fake GPU, which computes on the CPU and notes what a GPU would wait for.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recorded_run import read_run
from stand_in_device import OnDevice, StandIn, stand_in
from torch import Tensor, nn

from tb_adam_plugin import schema
from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.attach.watched_parameters import Watched, find_parameters
from tb_adam_plugin.callback.measure import histograms
from tb_adam_plugin.callback.measure.gpu import single_pass
from tb_adam_plugin.callback.measure.measurement import Measured, Measurement
from tb_adam_plugin.callback.optimizer_state.registry import adapter_for
from tb_adam_plugin.callback.read.rows import BLOCK_ROWS_OF_A_DEVICE

# Some of them sampled: rows of a useful length, of a few elements, and of none.
SHAPES: tuple[tuple[int, ...], ...] = (
    (64, 32), (17,), (300, 17), (40, 3, 3, 3), (7, 2050), (5000,), (0, 4), (),
)  # fmt: skip
MOST = 1024


@pytest.fixture(autouse=True)
def no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot run on the stand-in."""
    monkeypatch.setattr(single_pass, "DEVICES", ())


def trained(
    device: str, shapes: Any = SHAPES, counts_on_device: bool = False, dtype: Any = torch.float32
) -> tuple[list[nn.Parameter], torch.optim.Optimizer]:
    """Parameters in the middle of a training; the same numbers on each device."""
    generator = torch.Generator().manual_seed(0)

    def made(shape: tuple[int, ...], scale: float, memory_format: Any = None) -> Tensor:
        found = (torch.randn(shape, generator=generator) * scale).to(dtype)
        return found.to(memory_format=memory_format or torch.preserve_format).to(device)

    # One whose gradient and moments have another memory layout than its own.
    parameters = [
        nn.Parameter(made(shape, 1.0, torch.channels_last if len(shape) == 4 else None))
        for shape in shapes
    ]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, foreach=True)
    for shape, parameter in zip(shapes, parameters, strict=True):
        gradient = made(shape, 1e-3)
        if len(shape) > 1 and shape[0]:
            gradient[: shape[0] // 3] = 0
        parameter.grad = gradient
        optimizer.state[parameter] = {
            "step": torch.tensor(3.0).to(device) if counts_on_device else torch.tensor(3.0),
            "exp_avg": made(shape, 1e-3),
            "exp_avg_sq": made(shape, 1e-3) ** 2,
        }
    return parameters, optimizer


def measured(
    device: str, mode: StandIn | None = None, with_histograms: bool = True, **options: Any
) -> list[Measured]:
    """Two steps, measured; ``mode`` has what the second one did."""
    parameters, optimizer = trained(device, **options)
    watched = [Watched(f"p{i}", p, 0) for i, p in enumerate(parameters)]
    measurement = Measurement(watched, adapter_for(optimizer), MOST)
    found = []
    with torch.no_grad():
        for _ in range(2):
            if mode is not None:
                mode.clear()
            measurement.before_step()
            if mode is not None:
                mode.launched.append("step")
            torch._foreach_mul_([*parameters], 0.999)
            # Histograms lie in memory that the next step reuses.
            found.append(copy.deepcopy(measurement.after_step(with_histograms, (), None, 0.5, 3)))
    return found


@pytest.mark.parametrize("counts_on_device", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_figures_are_those_of_the_cpu(dtype: torch.dtype, counts_on_device: bool) -> None:
    expected = measured("cpu", dtype=dtype)
    with stand_in():
        found = measured("cuda", dtype=dtype, counts_on_device=counts_on_device)
    for on_cpu, on_device in zip(expected, found, strict=True):
        assert on_cpu.counts is not None
        assert on_device.counts is not None
        np.testing.assert_array_equal(on_device.counts.dense(), on_cpu.counts.dense())
        np.testing.assert_allclose(on_device.statistics, on_cpu.statistics, rtol=2e-5, atol=1e-6)
        np.testing.assert_allclose(on_device.squared_gradients, on_cpu.squared_gradients, rtol=1e-5)


@pytest.mark.parametrize("parameters", [1, 64, 65, 150])
def test_histograms_of_any_number_of_parameters_come_from_a_device(parameters: int) -> None:
    shapes = [(8 + i,) for i in range(parameters)]
    expected = measured("cpu", shapes=shapes)
    with stand_in():
        found = measured("cuda", shapes=shapes)
    for on_cpu, on_device in zip(expected, found, strict=True):
        assert on_cpu.counts is not None
        assert on_device.counts is not None
        np.testing.assert_array_equal(on_device.counts.dense(), on_cpu.counts.dense())


def test_no_nan_of_a_device_counts_as_infinite() -> None:
    bits = [0x7F800000, 0x7F800001, 0x7F8FFFFF, 0x7FC00000, 0xFF800000, 0xFF800001, 0x7FFFFFFF]
    signed = np.array(bits, np.uint32).view(np.int32).reshape(1, -1)
    rows = torch.from_numpy(signed).view(torch.float32)
    offsets = histograms.code_offsets(torch.zeros(1, dtype=torch.int64))
    on_cpu, on_device = (
        histograms.count_rows(
            rows, offsets, 1, torch.empty_like(rows, dtype=torch.int32), table
        ).numpy()
        for table in (histograms.CodeTable(torch.int32), None)
    )
    for quantity in schema.QUANTITIES:
        found = np.zeros((2, 1, histograms.COUNTS), np.int32)
        histograms.to_bins(on_cpu, quantity, found[0])
        histograms.to_bins(on_device, quantity, found[1])
        np.testing.assert_array_equal(found[1], found[0])
        assert found[1, 0, -3:].tolist() == [1, 1, 5]


@pytest.mark.parametrize("counts_on_device", [False, True])
def test_a_record_waits_once_and_sends_from_memory_that_does_not_move(
    counts_on_device: bool,
) -> None:
    with stand_in() as mode:
        parameters, optimizer = trained("cuda", counts_on_device=counts_on_device)
        mode.clear()
        Measurement(
            [Watched(f"p{i}", p, 0) for i, p in enumerate(parameters)], adapter_for(optimizer), MOST
        )
        assert mode.uploads > 5
        assert mode.waits == []  # nor when what is read was chosen
        measured("cuda", mode, counts_on_device=counts_on_device)
    assert mode.waits == []
    assert mode.synchronized == 1
    assert mode.launched.count("to host") == 1
    # The coefficients; computed on the device that counts the steps, each from its groups.
    assert mode.uploads == (7 if counts_on_device else 1)


def launched(shapes: Any, counts_on_device: bool = False) -> list[str]:
    with stand_in() as mode:
        measured("cuda", mode, shapes=shapes, counts_on_device=counts_on_device)
    return mode.launched


def test_tensors_that_are_read_whole_cost_no_launches_of_their_own() -> None:
    small = [(8, 4), (5,), (3, 3), (2, 2, 2, 2)]
    for counts_on_device in (False, True):
        few, many = launched(small, counts_on_device), launched(small * 20, counts_on_device)
        assert len(few) == len(many) < 250


def test_a_sampled_tensor_costs_as_many_launches_as_it_has_quantities() -> None:
    base = [(8, 4), (5,), (3, 3), (2, 2, 2, 2)]
    sampled = [(64, 64)]
    counted = [launched(base + sampled * n) for n in (1, 2, 12)]
    each = (len(counted[2]) - len(counted[1])) / 10
    # Its lines of weight, twice, gradient and two moments, and the norms of the gradient's rows.
    assert each == 6
    assert counted[2].count("_foreach_norm") == counted[1].count("_foreach_norm") == 3


def test_blocks_of_a_device_are_larger() -> None:
    rows = BLOCK_ROWS_OF_A_DEVICE
    with stand_in():
        parameters, optimizer = trained("cuda", [(rows, 1024)] * 4)
        watched = [Watched(f"p{i}", p, 0) for i, p in enumerate(parameters)]
        measurement = Measurement(watched, adapter_for(optimizer), 4 * 1024 * 256 // 16)
    assert [block.rows for block in measurement.panel.blocks] == [4 * 4 * 1024 // 16]
    on_cpu = Measurement(
        [Watched("w", nn.Parameter(torch.zeros(1024, 1024)), 0)],
        adapter_for(torch.optim.AdamW([nn.Parameter(torch.zeros(1))])),
        None,
    )
    assert {block.rows for block in on_cpu.panel.blocks} == {512}


OPTIMIZERS: dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]] = {
    "SGD": lambda p: torch.optim.SGD(p, momentum=0.9, nesterov=True, weight_decay=0.1),
    "RMSprop": lambda p: torch.optim.RMSprop(p, momentum=0.9, centered=True),
    "Adagrad": torch.optim.Adagrad,
    "NAdam": torch.optim.NAdam,
    "Adamax": torch.optim.Adamax,
    "Adadelta": torch.optim.Adadelta,
    "Adam": lambda p: torch.optim.Adam(p, amsgrad=True, maximize=True, weight_decay=0.1),
}


def train(
    folder: Path, device: str, mode: StandIn | None = None, optimizer_name: str = "AdamW"
) -> list[tuple[int, int]]:
    """Steps with a record at every third; return waits and synchronizations of each step."""
    parameters, optimizer = trained(device)
    if optimizer_name in OPTIMIZERS:
        optimizer = OPTIMIZERS[optimizer_name](parameters)
    generator = torch.Generator().manual_seed(5)
    debug = AdamDebugCallback(
        [(f"p{i}", p) for i, p in enumerate(parameters)],
        optimizer,
        log_dir=folder,
        every_n_steps=3,
        histograms_every_n_steps=3,
        max_sampled_elements=MOST,
        max_overhead=1,
        on_error="raise",
    )
    found = []
    for _ in range(9):
        for parameter in parameters:
            gradient = (torch.randn(parameter.shape, generator=generator) * 1e-3).to(device)
            parameter.grad = torch.empty_like(parameter).copy_(gradient)
        loss = torch.rand((), generator=generator).to(device)
        if mode is not None:
            mode.clear()
        debug.record(loss=loss)
        optimizer.step()
        if mode is not None:
            found.append((len(mode.waits), mode.synchronized))
    debug.close()
    return found


@pytest.mark.parametrize("optimizer", ["AdamW", *OPTIMIZERS])
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_a_step_waits_once_where_it_is_recorded_and_never_between(
    optimizer: str, tmp_path: Path
) -> None:
    train(tmp_path / "cpu", "cpu", None, optimizer)
    with stand_in() as mode:
        waited = train(tmp_path / "cuda", "cuda", mode, optimizer)
    expected, found = read_run(tmp_path / "cpu"), read_run(tmp_path / "cuda")
    assert list(found.statistics) == list(expected.statistics)
    recorded = set(found.statistics)
    first = min(recorded)
    for number, (waits, synchronized) in enumerate(waited, first):
        assert (number, waits) == (number, 0)
        assert (number, synchronized) == (number, int(number in recorded))
    assert 0 < len(recorded) < len(waited)
    for step, table in expected.statistics.items():
        np.testing.assert_allclose(found.statistics[step], table, rtol=5e-5, atol=1e-6)


def test_the_stand_in_notes_what_waits() -> None:
    with stand_in() as mode:
        on_device = torch.ones(3, device="cuda")
        assert isinstance(on_device, OnDevice)
        with pytest.raises(AssertionError, match="NumPy of a tensor of a device"):
            on_device.numpy()
        with pytest.raises(AssertionError, match="of two devices"):
            on_device + torch.ones(3)
        assert math.isclose(float(on_device.sum()), 3.0)
        # Only the callback's own waits are noted; these are others.
        single_number = read_by_the_callback(on_device.sum())
        assert single_number == 3.0
        assert [wait.partition(" at ")[0] for wait in mode.waits] == ["_local_scalar_dense"]
        assert mode.waits[0].partition(" at ")[2].startswith("optimizer_state/group_settings.py")


def read_by_the_callback(number: Tensor) -> float:
    from tb_adam_plugin.callback.optimizer_state.group_settings import as_number

    return as_number(number)


def test_parameters_on_a_device_without_float64_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from types import SimpleNamespace

    from torch._subclasses.fake_tensor import FakeTensorMode

    has_fp64 = False
    monkeypatch.setattr(
        torch.xpu, "get_device_properties", lambda device: SimpleNamespace(has_fp64=has_fp64)
    )
    with FakeTensorMode():
        weight = nn.Parameter(torch.empty(3, device="xpu"))
        with pytest.raises(ValueError, match="parameter w is on xpu, which has no float64"):
            find_parameters([("w", weight)], [{"params": [weight]}])
        has_fp64 = True
        assert len(find_parameters([("w", weight)], [{"params": [weight]}]).watched) == 1
