"""Batches with arbitrary objects: saved if that is cheap, otherwise refused in advance."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import gc
import re
import tracemalloc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tb_adam_plugin.callback.probes import kept_batches, saved_form
from tb_adam_plugin.callback.probes.kept_batches import KeptBatches
from tb_adam_plugin.callback.probes.saved_form import SavedForm, TooMuchCopyingError


@dataclasses.dataclass
class Plain:
    x: Any


@dataclasses.dataclass
class Slots:
    __slots__ = ("x",)
    x: Any


class Derived(Slots):
    """Has its attribute from a class with slots, and others of its own."""


class Tagged(torch.Tensor):
    """A subclass of tensors."""


def tagged(size: int) -> Any:
    return torch.ones(size).as_subclass(Tagged)[:2]


def in_order(first: Any) -> Any:
    return collections.OrderedDict(a=first)


# Each with its size in numbers of 8 bytes, at least approximately.
KINDS: dict[str, Callable[[int], Any]] = {
    "object": lambda n: Plain(np.arange(float(n))),
    "slots": lambda n: Slots(np.arange(float(n))),
    "inherited slots": lambda n: Derived(np.arange(float(n))),
    "slots in slots": lambda n: Slots([Slots(np.arange(float(n)))]),
    "transposed array of an object": lambda n: Plain(np.ones((n // 2, 2))[::-1].T),
    "set of bytes": lambda n: {bytes(8 * n)},
    "frozenset of text": lambda n: frozenset(["x" * 8 * n]),
    "deque": lambda n: collections.deque([bytes(8 * n)]),
    "array of text": lambda n: np.array(["x" * 80 + str(i) for i in range(n // 10)], dtype=object),
    "array of lists": lambda n: np.array([[0] * 80, [1] * (n - 80)], dtype=object),
    "text": lambda n: "x" * 8 * n,
    "big integer": lambda n: 1 << (64 * n),
    "list of numbers": lambda n: [float(i) for i in range(n)],
    "lists of numbers": lambda n: [[*range(i, i + 50)] for i in range(n // 50)],
    "tuple of text": lambda n: tuple(str(i) for i in range(n)),
    "mapping of numbers": lambda n: in_order({i: i for i in range(n)}),
    "slice of a subclass": tagged,
    "many tensors": lambda n: [torch.ones(1)] * n,
}  # fmt: skip


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor | np.ndarray):
        return bool((np.asarray(one) == np.asarray(other)).all())
    if isinstance(one, Slots | Plain):
        return type(one) is type(other) and equal(one.x, other.x)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def keep(part: Any) -> KeptBatches:
    batches = KeptBatches()
    batches.keep((part,))
    batches.end_step(1)
    return batches


@pytest.mark.parametrize("kind", KINDS)
def test_a_small_one_is_saved_as_it_is(kind: str, tmp_path: Path) -> None:
    part = KINDS[kind](800)
    batches = keep(part)
    assert batches.save(1, str(tmp_path)), batches.refusal
    (file,) = tmp_path.rglob("*.pt")
    ((found,),) = torch.load(file, map_location="cpu", weights_only=False)["batches"]
    assert equal(found, part)


@pytest.mark.parametrize("kind", KINDS)
def test_a_large_one_is_refused_before_it_takes_memory_or_time(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = KINDS[kind](8_000_000 if kind == "slice of a subclass" else 2_000_000)
    monkeypatch.setattr(torch, "save", None)
    seen = 0
    add_bytes = saved_form._Counts.add_bytes

    def counted(counts: saved_form._Counts, size: int) -> None:
        nonlocal seen
        seen += 1
        add_bytes(counts, size)

    monkeypatch.setattr(saved_form._Counts, "add_bytes", counted)
    batches = keep(part)
    tracemalloc.start()
    assert not batches.save(1, str(tmp_path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert re.match("(it has|saving it would copy) more than", batches.refusal)
    assert "Give keep_batch()" in batches.refusal
    # A list of what is looked at, of pointers; the bytes of one integer.
    assert peak < 20 << 20
    assert seen <= saved_form.MOST_PARTS


def test_so_many_are_looked_at_in_vain_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = []
    of = SavedForm.of

    def counted(form: SavedForm, batch: Any) -> Any:
        looked.append(0)
        return of(form, batch)

    monkeypatch.setattr(SavedForm, "of", counted)
    batches = KeptBatches()
    refusals = []
    for step in range(1, 30):
        batches.keep([0.0] * 1_000_000)
        batches.end_step(step)
        assert not batches.save(step, str(tmp_path))
        refusals.append(bool(batches.refusal))
    most = kept_batches.MOST_REFUSED
    assert refusals == [True] * most + [False] * (29 - most)
    # Each a list of batches with one in it.
    assert len(looked) == 2 * most


def test_what_has_itself_in_it_ends(tmp_path: Path) -> None:
    part: list[Any] = [torch.ones(2)]
    part.append(part)
    found = SavedForm().of(part)
    assert found[1] is found
    slots = Slots(None)
    slots.x = slots
    assert SavedForm().of(slots) is slots


def test_parts_of_all_batches_of_a_step_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved_form, "MOST_PARTS", 100)
    SavedForm().of([[0.0] * 40])
    with pytest.raises(TooMuchCopyingError, match="more than 100 parts"):
        SavedForm().of([[0.0] * 40, Plain([0.0] * 40), (1, [2.0] * 40)])


@pytest.mark.parametrize("most", [saved_form.MOST_PARTS, 3])
def test_a_batch_is_let_go_as_soon_as_it_is_saved_or_refused(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(saved_form, "MOST_PARTS", most)
    batch = Plain([1.0, torch.ones(2)])
    gone = weakref.ref(batch)
    gc.disable()
    try:
        with contextlib.suppress(TooMuchCopyingError):
            SavedForm().of([batch])
        del batch
        assert gone() is None
    finally:
        gc.enable()
