"""The part of benchmarks/gpu.py that a CPU can run, and that its checks can fail."""

from __future__ import annotations

import copy
import time

import gpu
import numpy as np
import pytest
import torch
from on_gpu import costs, figures, setting

CPU = setting.Machine(torch.device("cpu"))


def test_the_checks_that_need_no_gpu_pass(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(figures, "STEPS", 5)
    monkeypatch.setattr(costs, "SMALL", [(40, 30), (7,)])
    assert gpu.main(["--device", "cpu", "--quick", "--rounds", "1"]) == 0
    printed = capsys.readouterr().out
    assert "2 checks passed, 0 failed, 8 skipped" in printed
    rows = [line for line in printed.splitlines() if line.startswith(("| tiny", "| small"))]
    assert len(rows) == 2 * len(costs.WAYS)
    assert all(line.count("|") == 8 for line in rows)


def test_without_a_gpu_one_sentence_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 0
    assert capsys.readouterr().out.startswith("There is no CUDA device here")


def test_a_failed_check_is_told_by_the_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(machine: setting.Machine) -> str:
        raise AssertionError("wrong")

    monkeypatch.setitem(setting.CHECKS, "fails", fails)
    assert gpu.main(["--device", "cpu", "--only", "fails"]) == 1
    assert "FAIL fails" in capsys.readouterr().out


def test_the_table_ends_where_the_time_is_over() -> None:
    assert len(list(costs.costs(CPU, [(4, 4)], 50, time.perf_counter()))) == len(costs.WAYS)


def test_a_difference_is_found() -> None:
    parameters, optimizer = setting.trained(CPU, [(30, 20), (2000,)])
    measurement = setting.measurement_of(parameters, optimizer, exact=True)
    with torch.no_grad():
        measurement.before_step()
        optimizer.step()
        found = copy.deepcopy(setting.measured(measurement))
    assert setting.difference(found, found).startswith("statistics within 0e+00")
    other = found._replace(statistics=found.statistics * np.float32(1.001))
    with pytest.raises(AssertionError, match="differs by"):
        setting.difference(found, other)
    other = found._replace(statistics=np.where(found.statistics > 0, np.nan, found.statistics))
    with pytest.raises(AssertionError, match="is NaN in one only"):
        setting.difference(found, other)
    with torch.no_grad():
        measurement.before_step()
        parameters[1].mul_(2)
        moved = setting.measured(measurement)
    with pytest.raises(AssertionError, match="of the counts are in other bins"):
        setting.difference(found, moved)
    with pytest.raises(AssertionError, match="was not used"):
        setting.is_used(measurement)
