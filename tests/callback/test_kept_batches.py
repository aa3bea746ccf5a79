"""The user's batches: kept by reference, saved when the gradient jumps."""

from __future__ import annotations

import gc
import math
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.probes import kept_batches
from tb_adam_plugin.run_data import load_runs

BAD = 40


def train(
    folder: Path,
    bad: dict[int, float],
    steps: int = 60,
    parts: int = 1,
    also: object = None,
    **options: Any,
) -> dict[int, list[Tensor]]:
    """Train with a loss that is scaled up at some steps; return all batches."""
    torch.manual_seed(0)
    model = nn.Linear(4, 4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    batches: dict[int, list[Tensor]] = {}
    with AdamDebugCallback(
        model, optimizer, log_dir=folder, total_steps=steps, **{"on_error": "raise", **options}
    ) as debug:
        for step in range(1, steps + 1):
            optimizer.zero_grad()
            for part in range(parts):
                inputs = torch.randn(8, 4)
                debug.keep_batch(inputs, f"{step}.{part}", also)
                batches.setdefault(step, []).append(inputs)
                (model(inputs).square().mean() * bad.get(step, 1.0)).backward()
            optimizer.step()
    return batches


def saved(folder: Path) -> dict[int, Any]:
    found = {}
    for path in sorted((folder / "adam_debug" / "batches").glob("*.pt")):
        content = torch.load(path)
        assert path.name == f"step_{content['step']}.pt"
        found[content["step"]] = content["batches"]
    return found


@pytest.mark.parametrize("factor", [1e4, math.nan, math.inf])
def test_the_batch_of_a_jump_is_saved_and_named(tmp_path: Path, factor: float) -> None:
    batches = train(tmp_path, {BAD: factor})
    (found,) = saved(tmp_path).items()
    assert found[0] == BAD
    ((inputs, name, _),) = found[1]
    assert torch.equal(inputs, batches[BAD][0])
    assert name == f"{BAD}.0"
    (run,) = load_runs(tmp_path)
    named = [f for f in run.findings() if f"batches/step_{BAD}.pt" in f.advice]
    assert named[0].rule == ("gradient_spike" if factor == 1e4 else "nonfinite")


def test_all_parts_of_an_accumulated_batch_are_saved(tmp_path: Path) -> None:
    batches = train(tmp_path, {BAD: 1e4}, parts=3)
    ((_, parts),) = saved(tmp_path).items()
    assert [torch.equal(part[0], batches[BAD][i]) for i, part in enumerate(parts)] == [True] * 3


def test_a_healthy_run_saves_nothing(tmp_path: Path) -> None:
    train(tmp_path, {})
    assert not (tmp_path / "adam_debug" / "batches").exists()
    (run,) = load_runs(tmp_path)
    assert "saved_batch" not in run.every_step().names


def test_files_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jumps = {step: 1e4 for step in range(20, 200, 20)}
    monkeypatch.setattr(kept_batches, "MOST_FILES", 3)
    train(tmp_path / "files", jumps, steps=200)
    assert list(saved(tmp_path / "files")) == [20, 40, 60]
    one = (tmp_path / "files" / "adam_debug" / "batches" / "step_20.pt").stat().st_size
    monkeypatch.setattr(kept_batches, "MOST_BYTES", 2 * one + 100)
    train(tmp_path / "bytes", jumps, steps=200)
    assert list(saved(tmp_path / "bytes")) == [20, 40]


def test_only_the_last_batches_are_kept_and_none_after_the_end(tmp_path: Path) -> None:
    model = nn.Linear(4, 4)
    optimizer = torch.optim.AdamW(model.parameters())
    debug = AdamDebugCallback(model, optimizer, log_dir=tmp_path, total_steps=50)
    alive = []
    for _ in range(20):
        inputs = torch.randn(8, 4)
        alive.append(weakref.ref(inputs))
        debug.keep_batch(inputs)
        optimizer.zero_grad()
        model(inputs).square().mean().backward()
        optimizer.step()
        del inputs
    gc.collect()
    assert [r() is not None for r in alive] == [False] * 16 + [True] * 4
    debug.close()
    gc.collect()
    assert not any(r() is not None for r in alive)
    debug.keep_batch(torch.ones(1))  # after the end: nothing


def test_what_cannot_be_saved_is_a_warning(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="saving a batch"):
        train(tmp_path, {BAD: 1e4}, also=lambda: None, on_error="warn")
    (run,) = load_runs(tmp_path)
    assert run.steps[-1] == 60


def test_without_norms_nothing_is_kept(tmp_path: Path) -> None:
    train(tmp_path, {BAD: 1e4}, gradient_norm=False)
    assert not (tmp_path / "adam_debug" / "batches").exists()


def test_what_no_step_takes_is_bounded() -> None:
    batches = kept_batches.KeptBatches()
    alive = []
    for _ in range(kept_batches.MOST_PARTS + 10):
        alive.append(weakref.ref(inputs := torch.randn(2)))
        batches.keep(inputs)
    del inputs
    gc.collect()
    assert sum(r() is not None for r in alive) == kept_batches.MOST_PARTS
