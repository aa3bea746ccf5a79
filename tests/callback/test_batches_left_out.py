"""If a batch cannot be saved, only that batch is left out, with one warning."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tb_adam_plugin.callback import AdamDebugCallback

JUMPS = {25: 1e4, 40: 1e5, 55: 1e6}
X = torch.randn(8, 4)


def train(folder: Path, parts: dict[int, Any], **options: Any) -> list[str]:
    """Train with jumps of the gradient; return the names of the files that were saved."""
    torch.manual_seed(0)
    model = nn.Linear(4, 4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with AdamDebugCallback(model, optimizer, log_dir=folder, total_steps=60, **options) as debug:
        for step in range(1, 61):
            optimizer.zero_grad()
            debug.keep_batch(parts.get(step, X))
            (model(torch.randn(8, 4)).square().mean() * JUMPS.get(step, 1.0)).backward()
            optimizer.step()
    return sorted(path.name for path in (folder / "adam_debug" / "batches").iterdir())


@pytest.mark.parametrize(
    "batch",
    [
        [X, X.view(torch.int32)],
        [X.view(torch.int32), X[:3], X],
        [X.view(-1)[:4], X.view(torch.int32), X.view(torch.int32)[2:]],
        {"inputs": X.numpy(), "bits": X.view(torch.int16)},
    ],
)
def test_one_memory_in_several_types_is_saved(batch: Any, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        names = train(tmp_path, {25: batch})
    assert names == ["step_25.pt", "step_40.pt", "step_55.pt"]
    ((found,),) = torch.load(tmp_path / "adam_debug" / "batches" / "step_25.pt")["batches"]
    if isinstance(batch, dict):
        batch, found = [torch.from_numpy(batch["inputs"]), batch["bits"]], list(found.values())
    for part, saved in zip(batch, found, strict=True):
        assert saved.dtype == part.dtype
        assert torch.equal(saved, part)


def unsaved() -> Any:
    return {"inputs": X, "function": lambda: None}


def test_what_cannot_be_pickled_is_left_out_alone(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="the batch of step 25 is left out") as said:
        names = train(tmp_path, {25: unsaved(), 40: unsaved()})
    assert len(said) == 1
    assert names == ["step_55.pt"]


def test_it_is_raised_where_that_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"pickle|local object"):
        train(tmp_path, {25: unsaved()}, on_error="raise")


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
def test_nested_tensors_cost_no_other_batch(layout: torch.layout, tmp_path: Path) -> None:
    nested = torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(4, 3)], layout=layout)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        names = train(tmp_path, {25: [nested, X]})
    assert names[-2:] == ["step_40.pt", "step_55.pt"]
    if len(names) == 3:
        loaded = torch.load(tmp_path / "adam_debug" / "batches" / "step_25.pt", weights_only=False)[
            "batches"
        ][0][0]
        assert torch.equal(loaded[0].unbind()[1], torch.ones(4, 3))
    else:
        assert len([one for one in said if "Adam Debug" in str(one.message)]) == 1
