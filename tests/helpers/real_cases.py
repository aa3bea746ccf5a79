"""Runs by published recipes, and settings that make them tiny."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from real.recipe.settings import Settings
from real.recordings.cases import Case, all_cases

CASES = all_cases()
TINY = {"steps": 12, "batch_size": 8}


def case_of(family: str, kind: str) -> Case:
    return next(c for c in CASES if (c.family.name, c.kind.name) == (family, kind))


def tiny(case: Case) -> Settings:
    return replace(case.settings, **TINY)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def one_core() -> Iterator[None]:
    """Train as the laboratory does, in the files that import this."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
