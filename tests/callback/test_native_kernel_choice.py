"""Whether the C kernel is used, and what happens if it is missing."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import two_ways
from kernel_parameters import parameters_of
from torch import Tensor, nn
from torch.optim import AdamW
from two_ways import TwoWays, set_gradients

from tb_adam_plugin import schema
from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.attach.watched_parameters import Watched
from tb_adam_plugin.callback.measure.in_blocks import BlockReduction
from tb_adam_plugin.callback.measure.measurement import Measurement
from tb_adam_plugin.callback.measure.native_pass import NativePass
from tb_adam_plugin.callback.measure.row_value_table import NAMES
from tb_adam_plugin.callback.native import loading
from tb_adam_plugin.callback.optimizer_state.coefficients import COEFFICIENTS
from tb_adam_plugin.callback.optimizer_state.registry import adapter_for
from tb_adam_plugin.callback.read.norms import GradientNorms


def record(folder: Path) -> tuple[AdamDebugCallback, list[Tensor]]:
    """Train a little and record each step; return the weights, too."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 30), nn.Tanh(), nn.Linear(30, 1))
    optimizer = AdamW(model.parameters(), lr=1e-2)
    with AdamDebugCallback(
        model, optimizer, log_dir=folder, every_n_steps=1, on_error="raise"
    ) as debug:
        for _ in range(5):
            optimizer.zero_grad()
            model(torch.randn(8, 20)).square().mean().backward()
            optimizer.step()
        reductions = [m._reduction for m in debug._parameters.records._measurements]
    debug_ways.append(reductions)
    return debug, [p.detach().clone() for p in model.parameters()]


debug_ways: list[Any] = []


@pytest.fixture(autouse=True)
def kernel_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment of the tests says."""
    monkeypatch.setenv(loading.VARIABLE, "1")


def test_training_is_the_same_whichever_way_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_ways.kernel()
    _, first = record(tmp_path / "kernel")
    assert all(isinstance(way, NativePass) for way in debug_ways.pop())
    monkeypatch.setenv(loading.VARIABLE, "0")
    _, second = record(tmp_path / "torch")
    assert all(isinstance(way, BlockReduction) for way in debug_ways.pop())
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 30), nn.Tanh(), nn.Linear(30, 1))
    optimizer = AdamW(model.parameters(), lr=1e-2)
    for _ in range(5):
        optimizer.zero_grad()
        model(torch.randn(8, 20)).square().mean().backward()
        optimizer.step()
    for a, b, c in zip(first, second, model.parameters(), strict=True):
        assert torch.equal(a, c)
        assert torch.equal(b, c)


def test_a_line_in_the_log_says_who_measures(caplog: pytest.LogCaptureFixture) -> None:
    kernel = two_ways.kernel()
    with caplog.at_level(logging.INFO):
        TwoWays(AdamW(parameters_of(((3,),))))
    assert f"the native kernel measures 1 parameters ({kernel.LEVELS[-1]})" in caplog.text


def test_a_large_model_is_left_to_the_threads_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    two_ways.kernel()
    parameters = parameters_of(((40, 30), (5,)))
    set_gradients(parameters, 1)
    for threads, elements, is_native in ((1, 1204, True), (2, 1204, False), (2, 1205, True)):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        monkeypatch.setattr(loading, "ELEMENTS_FOR_ONE_THREAD", elements)
        norms = GradientNorms(parameters)
        assert norms._native is not None
        assert (norms._native.squares([p.grad for p in parameters]) is not None) == is_native
        watched = [Watched(f"p{i}", p, 0) for i, p in enumerate(parameters)]
        measurement = Measurement(watched, adapter_for(AdamW(parameters)), None)
        assert isinstance(measurement._reduction, NativePass) == is_native


def test_the_kernel_knows_every_row_value_and_number() -> None:
    kernel = two_ways.kernel()
    assert kernel.ROW_VALUES == NAMES
    assert kernel.NUMBERS == COEFFICIENTS
    counts = schema.BINS + len(schema.SPECIAL)
    assert -(-counts // 8) == kernel.BITMAP
    assert {q.name for q in two_ways.QUANTITIES} <= set(kernel.QUANTITIES)


@pytest.mark.parametrize("found", [None, {"INTERFACE": -1}, {}])
def test_nothing_needs_the_kernel(
    found: dict[str, int] | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """If it is missing, or was built from other sources; a warning says so once."""
    name = f"{loading.__package__}._kernel"
    monkeypatch.setitem(sys.modules, name, None if found is None else type("Old", (), found))
    loading._loaded.cache_clear()
    try:
        with caplog.at_level(logging.INFO):
            record(tmp_path)
        assert all(isinstance(way, BlockReduction) for way in debug_ways.pop())
        assert caplog.text.count("there is no native kernel") == 1
    finally:
        loading._loaded.cache_clear()


def test_the_kernel_that_is_there_is_the_one_of_these_sources() -> None:
    """A forgotten build would skip every test of the kernel."""
    if subprocess.run(["cc", "--version"], capture_output=True, check=False).returncode:
        pytest.skip("there is no C compiler")
    assert loading.find_kernel() is not None, "install the package anew: make does it"
