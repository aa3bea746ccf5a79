"""Runs by published recipes are recorded, resumed and judged."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import torch
from real.recordings import keeping
from real.recordings.cases import case_named
from real.recordings.keeping import Advised, folder_of, is_recorded, record
from real.recordings.queue import STATUS, Queue
from real.verdict.judged import judge
from real.verdict.tables import verdict_of
from real_cases import case_of, one_core, tiny  # noqa: F401 - one_core is used by itself

# --- recordings -----------------------------------------------------------------------------------


def in_this_process(queue: Queue, name: str, change: list[str]) -> subprocess.CompletedProcess[str]:
    """Stands for the process that trains, with tiny settings."""
    case = case_named(name)
    record(case, queue.cache, Advised.parse(change[1]) if change else None, tiny(case))
    return subprocess.CompletedProcess([], 0, "", "")


def test_runs_are_recorded_resumed_and_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Queue, "_run_process", in_this_process)
    told: list[str] = []
    cases = [case_of("vae", kind) for kind in ("healthy", "lr 0", "decoder left out")]
    with pytest.warns(UserWarning, match="optimizer"):
        assert Queue(tmp_path, 1, 0, told.append).train_missing(cases) == []
    assert len(told) == 3
    assert (tmp_path / STATUS).read_text("utf-8").count("nats") == 3
    assert Queue(tmp_path, 1, 0, told.append).train_missing(cases) == []
    assert len(told) == 3

    healthy, zero, left_out = judge(cases, tmp_path)
    assert healthy.is_healthy
    assert healthy.recorded[0].records == 12
    assert healthy.outcome.after < healthy.outcome.before
    assert (zero.rank, verdict_of(zero)) == (1, "first")
    assert zero.harm > zero.least_harm
    assert left_out.rank is not None
    assert [run.recorded[0].records for run in judge(cases, tmp_path, 4)] == [5, 5, 5]


def test_a_run_that_dies_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_: object) -> float:
        raise KeyboardInterrupt

    case = case_of("vae", "healthy")
    monkeypatch.setattr(keeping, "_train", dies)
    with pytest.raises(KeyboardInterrupt):
        record(case, tmp_path)
    assert not is_recorded(case, tmp_path)
    assert list(folder_of(case, tmp_path).parent.iterdir()) == []


def test_a_failed_run_is_told_and_the_others_are_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = case_of("vae", "healthy"), case_of("vae", "lr 0")

    def fails_once(queue: Queue, name: str, change: list[str]) -> subprocess.CompletedProcess[str]:
        if name == first.name:
            return subprocess.CompletedProcess([], 1, "", "Traceback\nValueError: no")
        return in_this_process(queue, name, change)

    monkeypatch.setattr(Queue, "_run_process", fails_once)
    told: list[str] = []
    assert Queue(tmp_path, 1, 0, told.append).train_missing([first, second]) == [first.name]
    assert "FAILED with 1: ValueError: no" in told[0]
    assert is_recorded(second, tmp_path)


def test_an_interruption_ends_the_process_that_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[str]] = []

    class Sleeping(subprocess.Popen[str]):
        def __init__(self, *_: object, **options: Any) -> None:
            super().__init__([sys.executable, "-c", "import time; time.sleep(60)"], **options)
            started.append(self)

    def interrupted(_: object, timeout: float | None = None) -> None:
        while not started:
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", Sleeping)
    monkeypatch.setattr(Future, "result", interrupted)
    queue = Queue(tmp_path, 1, 0, print)
    with pytest.raises(KeyboardInterrupt):
        queue.train_missing([case_of("vae", "healthy"), case_of("vae", "lr 0")])
    assert [process.returncode for process in started] == [-signal.SIGTERM]


def test_judging_leaves_the_random_numbers_of_the_training_alone() -> None:
    class Random:
        model = torch.nn.Dropout()

        def judge(self) -> float:
            assert not self.model.training
            return torch.rand(()).item()

    torch.manual_seed(5)
    wanted = torch.rand(1)
    torch.manual_seed(5)
    learner = Random()
    keeping._judged(learner, "nats")
    assert torch.equal(torch.rand(1), wanted)
    assert learner.model.training
