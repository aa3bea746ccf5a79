"""How batches are saved: without extra data, whole or not at all, within the available room."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from tb_adam_plugin.callback.probes import kept_batches
from tb_adam_plugin.callback.probes.kept_batches import KeptBatches

STEP = 3


class Pair(NamedTuple):
    inputs: torch.Tensor
    names: str


class Own:
    """A batch that only pickle knows."""

    def __init__(self, inputs: torch.Tensor) -> None:
        self.inputs = inputs
        self.others: list[Own] = []


def save(folder: Path, batch: Any, number: int = STEP) -> Path:
    folder.mkdir(exist_ok=True)
    kept = KeptBatches()
    kept.keep(batch)
    kept.end_step(number)
    assert kept.save(number, str(folder))
    return folder / "batches" / f"step_{number}.pt"


def test_a_slice_is_saved_without_the_rest_of_its_memory(tmp_path: Path) -> None:
    everything = torch.randn(100_000, 10)
    path = save(tmp_path, {"inputs": everything[50:82], "labels": [everything[:32, 1]]})
    assert path.stat().st_size < 10_000
    (batch,) = torch.load(path)["batches"]
    assert torch.equal(batch["inputs"], everything[50:82])
    assert torch.equal(batch["labels"][0], everything[:32, 1])


def test_arrays_become_tensors_and_named_tuples_plain_ones(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    path = save(tmp_path, (array.T, Pair(torch.ones(2), "two")))
    ((numbers, pair),) = torch.load(path)["batches"]
    assert torch.equal(numbers, torch.from_numpy(array).T)
    assert type(pair) is tuple
    assert torch.equal(pair[0], torch.ones(2))


def test_arrays_of_every_kind_are_saved(tmp_path: Path) -> None:
    fixed = np.ones(3)
    fixed.flags.writeable = False
    arrays = [fixed, np.array(2.5), np.float32(1.5), np.arange(4)[::-1]]
    (batch,) = torch.load(save(tmp_path / "plain", arrays))["batches"]
    assert [np.asarray(part).tolist() for part in batch] == [[1, 1, 1], 2.5, 1.5, [3, 2, 1, 0]]
    others = [
        np.arange(3, dtype=">f4"),
        np.array(["a", "b"]),
        np.ma.masked_array([1, 2], [False, True]),
    ]
    path = save(tmp_path / "others", others)
    (batch,) = torch.load(path, weights_only=False)["batches"]
    assert [part.tolist() for part in batch] == [[0, 1, 2], ["a", "b"], [1, None]]


def test_what_requires_a_gradient_is_saved_without_its_graph(tmp_path: Path) -> None:
    images = torch.randn(4, requires_grad=True) * 2
    (batch,) = torch.load(save(tmp_path, images))["batches"]
    assert torch.equal(batch, images.detach())


def test_a_batch_that_holds_itself_is_no_endless_loop(tmp_path: Path) -> None:
    batch: list[Any] = [torch.ones(1)]
    batch.append(batch)
    assert save(tmp_path, batch).exists()


def test_a_batch_whose_parts_know_each_other_is_looked_at_once(tmp_path: Path) -> None:
    """Each of 300 nodes and lists holds all of them: their paths cannot be counted."""
    nodes = [Own(torch.ones(1)) for _ in range(300)]
    for node in nodes:
        node.others = nodes
    lists: list[list[Any]] = [[] for _ in range(300)]
    for one in lists:
        one.extend(lists)
    (batch,) = torch.load(save(tmp_path, (nodes, lists)), weights_only=False)["batches"]
    assert batch[1][0][299] is batch[1][299]
    assert batch[0][7].others[8] is batch[0][8]


@pytest.mark.parametrize(
    "batch",
    [np.ones(1000), torch.ones(1000), b"x" * 4000, "x" * 4000, Own(torch.ones(1000))],
    ids=["array", "tensor", "bytes", "text", "attribute"],
)
def test_everything_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: Any) -> None:
    monkeypatch.setattr(kept_batches, "MOST_BYTES", 3000)
    kept = KeptBatches()
    kept.keep([batch])
    kept.end_step(STEP)
    assert not kept.save(STEP, str(tmp_path))
    assert not (tmp_path / "batches").exists()


def test_what_is_larger_than_it_looks_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_batches, "MOST_BYTES", 3000)
    kept = KeptBatches()
    kept.keep(set(range(5000)))
    kept.end_step(STEP)
    assert not kept.save(STEP, str(tmp_path))
    assert list((tmp_path / "batches").iterdir()) == []


def test_what_cannot_be_pickled_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"pickle|local object"):
        save(tmp_path, lambda: None)
    assert list((tmp_path / "batches").iterdir()) == []


def test_the_event_file_keeps_room_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil._ntuple_diskusage(10**6, 10**6 - 8000, 8000)  # type: ignore[attr-defined]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match="was not written: 4,000 bytes, 8,000 are free"):
        save(tmp_path, torch.ones(1000))
    assert list((tmp_path / "batches").iterdir()) == []


def test_a_batch_is_let_go_of_after_four_steps_without_another_one() -> None:
    kept = KeptBatches()
    kept.keep(torch.ones(1))
    for number in range(1, 5):
        kept.end_step(number)
        assert len(kept._kept) == 1
    kept.end_step(5)
    assert not kept._kept
