"""Every optimizer with every flag: the applied update is recorded, and training is unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest
from optimizer_trials import Trial, check, trials
from write_optimizers_page import FOLDER, pages

TRIALS = trials()

# What the packages themselves warn about.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU"),
    pytest.mark.filterwarnings("ignore:Sparse invariant checks"),
    pytest.mark.filterwarnings("ignore:Adam Debug. .* is not a known optimizer"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(torchao|bitsandbytes|transformers).*"),
]


@pytest.mark.parametrize("trial", TRIALS, ids=str)
def test_the_update_is_recorded_and_training_is_the_same(trial: Trial, tmp_path: Path) -> None:
    check(trial, tmp_path)


def test_the_page_lists_what_is_tested() -> None:
    """If this fails, run docs/write_optimizers_page.py to rewrite the pages."""
    written = pages(TRIALS)
    read = {name: (FOLDER / name).read_text(encoding="utf-8") for name in written}
    assert read == written
