"""Second moments stored by rows and columns: only the elements that are read are computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recorded_run import read_run
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.optimizer_state.factored import Factored
from tb_adam_plugin.callback.steps.step import Step


@pytest.mark.parametrize("shape", [(7, 5), (3, 2, 4, 6), (1, 9), (9, 1)])
@pytest.mark.parametrize("has_divisor", [False, True])
def test_parts_and_elements_are_those_of_the_whole(
    shape: tuple[int, ...], has_divisor: bool
) -> None:
    torch.manual_seed(0)
    rows, columns = torch.rand(*shape[:-1]), torch.rand(*shape[:-2], shape[-1])
    divisor = torch.rand(*shape[:-2], 1) if has_divisor else None
    factored = Factored(rows, columns, divisor)
    whole = rows[..., None] * columns[..., None, :]
    if divisor is not None:
        whole = whole / divisor[..., None]
    assert factored.shape == whole.shape
    assert torch.equal(factored(), whole)
    indices = torch.randperm(whole.numel())[:5]
    assert torch.equal(factored.elements(indices), whole.flatten()[indices])
    for most in (1, 3, 8, 1000):
        parts = [part.clone() for part in factored.parts(most)]
        assert all(part.numel() <= most for part in parts)
        assert sum(part.numel() for part in parts) == whole.numel()
        assert sum(float(part.double().sum()) for part in parts) == pytest.approx(
            float(whole.double().sum())
        )


class Largest(TorchDispatchMode):
    """Notes the largest memory that an operation has made."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        found = func(*args, **(kwargs or {}))
        given = {a.untyped_storage().data_ptr() for a in args if isinstance(a, Tensor)}
        if isinstance(found, Tensor) and found.untyped_storage().data_ptr() not in given:
            self.bytes = max(self.bytes, found.untyped_storage().nbytes())
        return found


def optimizer_of(kind: str, parameters: Any) -> torch.optim.Optimizer:
    if kind == "torch":
        return torch.optim.Adafactor(parameters, 1e-3)
    optimization = pytest.importorskip("transformers.optimization")
    found: torch.optim.Optimizer = optimization.Adafactor(
        parameters, lr=1e-3, relative_step=False, scale_parameter=False
    )
    return found


@pytest.mark.parametrize("kind", ["torch", "transformers"])
@pytest.mark.parametrize("layout", ["contiguous", "transposed"])
@pytest.mark.parametrize("exact", [False, True])
def test_a_record_makes_nothing_as_large_as_a_matrix(
    kind: str, layout: str, exact: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it reads the right values: in total, the RMS over all elements."""
    torch.manual_seed(0)
    layer = nn.Linear(1500, 1100, bias=False)
    if layout == "transposed":
        layer.weight = nn.Parameter(layer.weight.detach().t().contiguous().t())
    optimizer = optimizer_of(kind, layer.parameters())
    largest, end_step = Largest(), Step.end_step

    def watched(step: Step) -> None:
        with largest:
            end_step(step)

    monkeypatch.setattr(Step, "end_step", watched)
    with AdamDebugCallback(layer, optimizer, log_dir=tmp_path, exact=exact, on_error="raise"):
        layer(torch.randn(4, 1500)).square().mean().backward()
        optimizer.step()
    elements = layer.weight.numel()
    if not exact:  # which has memory for all weights
        assert largest.bytes <= 4 << 20 < 4 * elements
    state = optimizer.state[layer.weight]
    if kind == "torch":
        rows, columns = state["row_var"].double(), state["col_var"].double()
        whole = rows @ columns / rows.mean()
    else:
        rows, columns = state["exp_avg_sq_row"].double(), state["exp_avg_sq_col"].double()
        whole = torch.outer(rows / rows.mean(), columns)
    recorded = read_run(tmp_path).of(1, "weight")
    assert recorded["exp_avg_sq_root"] == pytest.approx(float(whole.mean().sqrt()), rel=1e-5)
    if exact:
        assert recorded["exp_avg_sq_max"] == pytest.approx(float(whole.max()), rel=1e-5)
    assert np.isnan(recorded["exp_avg_rms"])


def test_what_is_not_finite_is_counted(tmp_path: Path) -> None:
    layer = nn.Linear(300, 200, bias=False)
    optimizer = torch.optim.Adafactor(layer.parameters(), 1e-3)
    with AdamDebugCallback(layer, optimizer, log_dir=tmp_path, every_n_steps=1, on_error="raise"):
        for _ in range(2):
            layer(torch.randn(4, 300)).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
            optimizer.state[layer.weight]["row_var"][3] = torch.inf
    # A row, and then the rest, which is divided by the mean of all rows.
    assert read_run(tmp_path).of(2, "weight")["nonfinite_count"] > 300
