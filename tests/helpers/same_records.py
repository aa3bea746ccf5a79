"""Compares two recorded runs number by number."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from recorded_run import RecordedRun, read_run
from torch import Tensor, nn
from torch.optim import Optimizer

# Columns that depend on when and where a run took place.
_OF_THE_MACHINE = ("wall_time", "callback_milliseconds")


def assert_same_records(
    folder: Path, plain_folder: Path, *, prefix: str = "", within: float = 0.0
) -> RecordedRun:
    """Assert that a framework's run equals that of a plain loop, and return it.

    Args:
        folder: Folder of the framework's run.
        plain_folder: Folder of the other run.
        prefix: Prefix of the parameter names in the framework's module.
        within: Relative tolerance of a loss and a norm before clipping, whose order of computation
            may differ.
    """
    run, plain = read_run(folder), read_run(plain_folder)
    names = [prefix + p.name for p in plain.layout.parameters]
    assert [p.name for p in run.layout.parameters] == names
    assert run.layout.groups == plain.layout.groups
    assert list(run.steps) == list(plain.steps)
    for step, row in plain.steps.items():
        for name in row.keys() - set(_OF_THE_MACHINE):
            tolerance = within if name in ("loss", "gradient_norm_before_clip") else 0.0
            np.testing.assert_allclose(run.steps[step][name], row[name], rtol=tolerance)
    elasticity = run.layout.statistics.index("elasticity")  # depends on the loss
    assert list(run.statistics) == list(plain.statistics)
    for step, rows in plain.statistics.items():
        for column, name in enumerate(run.layout.statistics):
            tolerance = 2 * within if column == elasticity else 0.0
            np.testing.assert_allclose(
                run.statistics[step][:, column], rows[:, column], rtol=tolerance, err_msg=name
            )
        np.testing.assert_array_equal(run.histograms[step], plain.histograms[step])
        np.testing.assert_equal(run.hyperparameters[step], plain.hyperparameters[step])
    return run


def trained(model: nn.Module, *optimizers: Optimizer) -> Mapping[str, Any]:
    """Weights and optimizer state after training, as bytes for a bitwise comparison."""
    found: dict[str, Tensor] = dict(model.state_dict())
    names: dict[Tensor, str] = {p: name for name, p in model.named_parameters()}
    for i, optimizer in enumerate(optimizers):
        for parameter, state in optimizer.state.items():
            found |= {f"{i} {names[parameter]} {key}": value for key, value in state.items()}
    return {name: value.numpy(force=True).tobytes() for name, value in found.items()}
