"""No tensor is created on an implicit device, whatever the default device is."""

from __future__ import annotations

import ast
import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import optimizer_trials
import pytest
import torch
from device_trainings import (
    CALLBACK,
    DEMONSTRATIONS,
    FACTORIES,
    NamesDevices,
    network,
    quiet,  # noqa: F401
)
from recorded_run import read_run
from torch import Tensor

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.write.step_rows import StepScalars


def test_every_call_that_makes_a_tensor_names_a_device() -> None:
    found, calls = [], 0
    for path in sorted(CALLBACK.rglob("*.py")):
        if path.parent.name == DEMONSTRATIONS:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            owner = node.func.value
            if not isinstance(owner, ast.Name) or owner.id != "torch":
                continue
            if node.func.attr in FACTORIES:
                calls += 1
                if all(keyword.arg != "device" for keyword in node.keywords):
                    found.append(f"{path.name}:{node.lineno} torch.{node.func.attr}")
            if node.func.attr == "Generator" and not node.args:
                found.append(f"{path.name}:{node.lineno} torch.Generator")
    assert not found
    assert calls > 20


TRIALS = [t for t in optimizer_trials.trials() if "compile" not in str(t)]
# One of each class, with the most flags.
LARGEST = {(t.package, t.optimizer): t for t in sorted(TRIALS, key=lambda trial: len(trial.flags))}


@pytest.mark.parametrize("trial", LARGEST.values(), ids=str)
def test_no_optimizer_s_record_uses_the_default_device(trial: Any, tmp_path: Path) -> None:
    with NamesDevices() as mode:
        optimizer_trials.run(trial, tmp_path)
    assert mode.seen


def train(folder: Path, optimizer: str, mode: Any, first_steps: int = 2, **options: Any) -> None:
    """Some steps before and under a mode, which the callback is made in, too."""
    model = network()
    kwargs: dict[str, Any] = {"momentum": 0.9} if optimizer == "SGD" else {}
    made = getattr(torch.optim, optimizer)(model.parameters(), lr=1e-3, **kwargs)
    generator = torch.Generator("cpu").manual_seed(3)

    def loss() -> Tensor:
        x = torch.randn(4, 3, 8, 8, generator=generator, device="cpu")
        found: Tensor = model(x).square().mean()
        return found

    debug = None
    for step in range(8):
        with mode if step >= first_steps else contextlib.nullcontext():
            if debug is None and step >= first_steps:
                if "loss_closure" in options:
                    options["loss_closure"] = loss
                debug = AdamDebugCallback(
                    model, made, log_dir=folder, every_n_steps=2, on_error="raise", **options
                )
            made.zero_grad()
            value = loss()
            value.backward()
            if debug is not None:
                debug.record(loss=value, batch=7)
            made.step()
    assert debug is not None
    with mode:
        debug.close()


OPTIONS: dict[str, dict[str, Any]] = {
    "default": {"max_sampled_elements": 512},
    "exact, normalized": {"exact": True, "normalized_update": True},
    "closure, findings": {"loss_closure": True, "on_finding": lambda finding: None},
}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("optimizer", ["AdamW", "SGD", "RMSprop", "NAdam", "Adafactor"])
@pytest.mark.parametrize("way", ["refusing", "meta"])
def test_the_default_device_is_of_no_account(
    way: str, optimizer: str, options: str, tmp_path: Path
) -> None:
    class Meta:
        def __enter__(self) -> None:
            torch.set_default_device("meta")

        def __exit__(self, *_: object) -> None:
            torch.set_default_device(None)

    mode = NamesDevices() if way == "refusing" else Meta()
    train(tmp_path / "with", optimizer, mode, **OPTIONS[options])
    train(tmp_path / "without", optimizer, contextlib.nullcontext(), **OPTIONS[options])
    found, expected = read_run(tmp_path / "with"), read_run(tmp_path / "without")
    assert list(found.statistics) == list(expected.statistics)
    for step, table in expected.statistics.items():
        np.testing.assert_array_equal(found.statistics[step], table)
    if way == "refusing":
        assert isinstance(mode, NamesDevices)
        assert mode.seen


def test_scalars_stay_where_they_are() -> None:
    rows = StepScalars()
    with NamesDevices():
        torch.set_default_device("meta")
        try:
            rows.record({"loss": torch.tensor(2.0, device="cpu"), "batch": 3})
            rows.add_row(
                step=1, wall_time=0.0, gradient_norm=1.0, lr=torch.tensor(0.1, device="cpu"),
                callback_milliseconds=0.0, dropped_records=0, every_n_steps=1,
            )  # fmt: skip
            table = rows.take().table
        finally:
            torch.set_default_device(None)
    assert table[0, -2:].tolist() == [2.0, 3.0]
