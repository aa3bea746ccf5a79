"""Saving a batch copies next to nothing, or is refused with a message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.probes import kept_batches, saved_form
from tb_adam_plugin.callback.probes.saved_form import SavedForm, TooMuchCopyingError, bytes_of
from tb_adam_plugin.run_data import Run, load_runs

BIG = torch.arange(60_000.0).reshape(3, 100, 200)


def readonly() -> Any:
    array = BIG[1:].numpy().copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "part",
    [
        BIG, BIG[1:], BIG[1, 3:9], BIG.mT, BIG[1:].permute(2, 0, 1), BIG[2:].bfloat16(),
        BIG[1:].numpy(), BIG[1:].numpy().T, readonly(), BIG[1, 1, :1].expand(500, 100),
        BIG[1:].contiguous().view(torch.int32)[1:],
    ],
    ids=[
        "whole", "view", "rows", "transposed", "permuted", "bfloat16", "array",
        "transposed array", "readonly array", "expanded", "integers",
    ],
)  # fmt: skip
def test_what_lies_without_gaps_is_saved_from_where_it_lies(
    part: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved_form, "MOST_COPIED", 0)
    found = SavedForm().of(part)
    assert found.data_ptr() == (part.data_ptr() if isinstance(part, Tensor) else part.ctypes.data)
    assert found.untyped_storage().nbytes() <= bytes_of(part)
    torch.save(found, tmp_path / "saved.pt")
    loaded = torch.load(tmp_path / "saved.pt")
    assert torch.equal(loaded, part if isinstance(part, Tensor) else torch.tensor(part))
    assert (tmp_path / "saved.pt").stat().st_size < bytes_of(part) + 2000


def test_a_view_outlives_what_it_was_a_view_of() -> None:
    everything = torch.randn(1000, 10)
    expected = everything[10:20].clone()
    found = SavedForm().of(everything[10:20])
    del everything
    torch.zeros(1000, 10)
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    "part",
    [
        BIG[:, :, ::2], BIG.numpy()[:, :, ::2], BIG.numpy()[::-1], BIG.numpy().astype(">f4"),
        b"x" * 240_000, torch.complex(BIG, BIG)[1:].conj(),
    ],
    ids=["gaps", "array with gaps", "backwards", "big-endian", "bytes", "conjugate"],
)  # fmt: skip
def test_what_has_to_be_copied_is_bounded(part: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = SavedForm().of([part])[0]
    if isinstance(part, Tensor):
        assert torch.equal(found, part)
    else:
        assert np.array_equal(found.numpy() if isinstance(found, Tensor) else found, part)
    monkeypatch.setattr(saved_form, "MOST_COPIED", 150_000)
    with pytest.raises(TooMuchCopyingError, match="contiguous tensors, or the indices"):
        SavedForm().of({"two": [part, part[:-1]]})


def test_views_of_one_place_in_several_types_are_saved(tmp_path: Path) -> None:
    batch = [BIG[1:2], BIG[1:2].view(torch.int32), BIG[1:]]
    torch.save(SavedForm().of(batch), tmp_path / "saved.pt")
    for found, part in zip(torch.load(tmp_path / "saved.pt"), batch, strict=True):
        assert torch.equal(found, part)


def test_a_tensor_counts_with_the_memory_that_it_has() -> None:
    assert bytes_of(torch.zeros(1).expand(10**9)) == 4
    assert bytes_of(torch.empty(10**9, device="meta")) == 0
    assert bytes_of(torch.zeros(10, 10)[:, :5]) == 200
    assert bytes_of([torch.zeros(6).expand(4, 6), np.zeros(3)]) == 24 + 24


def train(folder: Path, bad: dict[int, float], part: Any = None) -> Run:
    """Train with a loss that is scaled up at some steps."""
    torch.manual_seed(0)
    model = nn.Linear(4, 4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with AdamDebugCallback(model, optimizer, log_dir=folder, total_steps=60) as debug:
        for step in range(1, 61):
            optimizer.zero_grad()
            inputs = torch.randn(8, 4)
            debug.keep_batch(inputs, part)
            (model(inputs).square().mean() * bad.get(step, 1.0)).backward()
            optimizer.step()
    (run,) = load_runs(folder)
    return run


def test_a_batch_that_is_not_saved_is_told_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_batches, "MOST_BYTES", 100_000)
    match = "the batch of step 25 was not saved: it exceeds the rest of the"
    with pytest.warns(UserWarning, match=match) as said:
        run = train(tmp_path / "large", {25: 1e4, 45: 1e5}, BIG)
    assert len(said) == 1
    assert run.steps[-1] == 60
    assert train(tmp_path / "expanded", {25: 1e4}, BIG[0, 0, :1].expand(10**9)).steps[-1] == 60
    assert (tmp_path / "expanded" / "adam_debug" / "batches" / "step_25.pt").exists()
    monkeypatch.setattr(saved_form, "MOST_COPIED", 1000)
    monkeypatch.setattr(kept_batches, "MOST_BYTES", 1 << 20)
    with pytest.warns(UserWarning, match="was not saved: saving it would copy more") as said:
        train(tmp_path / "gaps", {25: 1e4, 45: 1e5}, BIG[:, :, ::2])
    assert len(said) == 1
    assert not list((tmp_path / "gaps" / "adam_debug" / "batches").iterdir())


def test_a_finding_names_the_nearest_batch_that_was_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_batches, "MOST_FILES", 2)
    run = train(tmp_path, {25: 1e3, 28: 1e3, 31: 1e5})
    spikes = [finding for finding in run.findings() if finding.rule == "gradient_spike"]
    assert len(spikes) == 1
    assert "Step 31 had" in spikes[0].text
    assert spikes[0].advice.endswith(
        "Look at the batch of step 31. It was not saved; the nearest saved one, of "
        "step 28, is in batches/step_28.pt, next to the event file."
    )
