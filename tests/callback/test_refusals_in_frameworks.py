"""If a framework's callback cannot record, training continues, and a warning says why."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import test_lightning
import test_transformers
from lightning_trainings import adamw, batches, make_module, trainer
from test_transformers import make_trainer

from tb_adam_plugin.callback.lightning import AdamDebugLightningCallback
from tb_adam_plugin.callback.transformers import AdamDebugTrainerCallback
from tb_adam_plugin.run_data import load_runs

pytestmark = [*test_lightning.pytestmark, *test_transformers.pytestmark]
WATCHED, NO_FOLDER = "nothing is recorded: optimizer is watched by another", "nothing is recorded: "


def fit(folder: Path, *callbacks: Any) -> None:
    trainer(folder, *callbacks, max_epochs=2).fit(make_module(adamw), batches())


def train(folder: Path, *callbacks: Any) -> None:
    making = make_trainer(folder, *callbacks)
    making.train()
    steps = making.state.global_step
    making.train()  # again: whoever was refused is asked anew
    assert making.state.global_step == steps > 0


def warnings_of(start: Any, *arguments: Any) -> str:
    """Train, and return all warnings, including those of the frameworks."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        start(*arguments)
    return "\n".join(str(warning.message) for warning in said)


FRAMEWORKS = [(fit, AdamDebugLightningCallback), (train, AdamDebugTrainerCallback)]


@pytest.mark.parametrize(("start", "kind"), FRAMEWORKS)
def test_a_callback_that_was_added_twice(tmp_path: Path, start: Any, kind: Any) -> None:
    runs = tmp_path / "runs"
    assert WATCHED in warnings_of(start, tmp_path, kind(log_dir=runs), kind(log_dir=runs))
    (run,) = load_runs(runs)
    assert run.steps.size > 10


@pytest.mark.parametrize(("start", "kind"), FRAMEWORKS)
def test_a_folder_that_cannot_be_made(tmp_path: Path, start: Any, kind: Any) -> None:
    (tmp_path / "file").write_text("no folder")
    assert NO_FOLDER in warnings_of(start, tmp_path, kind(log_dir=tmp_path / "file" / "runs"))


@pytest.mark.parametrize(("start", "kind"), FRAMEWORKS)
def test_who_wants_errors_gets_them(tmp_path: Path, start: Any, kind: Any) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match="file"):
        start(tmp_path, kind(log_dir=tmp_path / "file" / "runs", on_error="raise"))
