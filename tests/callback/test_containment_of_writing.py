"""Whatever fails while a record is written, training continues, and losses are counted."""

from __future__ import annotations

import errno
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from contained_run import Run, fail_while
from recorded_run import read_run
from torch import nn

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.callback.write.event_file import LocalFile
from tb_adam_plugin.callback.write.event_log import EventLog


def test_a_full_disk_is_tried_again_and_what_was_lost_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path)
    full = False
    fail_while(
        monkeypatch, EventLog, "write",
        lambda _: OSError(28, "No space left on device") if full else None,
    )  # fmt: skip
    run.train(2)
    full = True
    message = r"writing a record at step 3 .*No space left.*training and attempts"
    with pytest.warns(UserWarning, match=message) as caught:
        run.train(3)
    assert len(caught) == 1
    full = False
    run.train(2)
    # Not in a row: counted anew.
    full = True
    run.train(9)
    full = False
    run.train(1)
    run.debug.close()
    run.check_training()
    recorded = read_run(tmp_path)
    assert sorted(recorded.steps) == sorted(recorded.statistics) == [1, 2, 6, 7, 17]
    dropped = {step: row["dropped_records"] for step, row in recorded.steps.items()}
    assert dropped == {1: 0, 2: 0, 6: 3, 7: 3, 17: 12}


def test_a_disk_that_stays_full_is_given_up_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path)
    attempts: list[int] = []

    def fail(_: EventLog) -> Exception:
        attempts.append(run.steps)
        return OSError(28, "No space left on device")

    fail_while(monkeypatch, EventLog, "write", fail)
    with pytest.warns(UserWarning, match="failed while writing a record") as caught:
        run.train(30)
    assert ["nothing more is recorded" in str(w.message) for w in caught] == [False, True]
    assert attempts == list(range(1, 11))
    run.check_training()
    run.debug.close()


def test_a_folder_that_is_deleted_does_not_end_training(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.train(2)
    shutil.rmtree(tmp_path / "run")
    with pytest.warns(UserWarning, match="deleted") as caught:
        run.train(3)
    assert len(caught) == 1
    with warnings.catch_warnings(record=True) as more:
        run.debug.flush()
        run.debug.close()
    assert more == []
    run.check_training()


def test_the_steps_that_a_device_skipped_are_subtracted_even_if_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path, every_n_steps=1000)
    run.train(3)
    run.debug._agenda.count.number += 1
    run.debug._output._add_row(float("nan"), torch.tensor(1.0))
    fail_while(monkeypatch, EventLog, "write", lambda _: OSError("full"))
    with pytest.warns(UserWarning, match="full"):
        run.debug.flush()
    assert run.debug.step == 3
    run.debug.close()


def test_what_a_full_disk_has_cost_is_said_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = nn.Sequential(*[nn.Linear(8, 8) for _ in range(60)])  # records for the writer's thread
    optimizer = torch.optim.Adam(model.parameters())
    debug = AdamDebugCallback(model, optimizer, log_dir=tmp_path, every_n_steps=1)

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in range(1, 9):
            if step == 4:
                monkeypatch.setattr(LocalFile, "_append", refuse)
            optimizer.zero_grad()
            model(torch.randn(4, 8)).sum().backward()
            optimizer.step()
        debug.flush()
        debug.close()
    messages = [str(warning.message) for warning in caught]
    for doing in ("writing a record", "flushing the event file", "closing the event file"):
        assert sum(f"failed while {doing}" in message for message in messages) == 1
    assert "bytes are lost" in messages[-1]
