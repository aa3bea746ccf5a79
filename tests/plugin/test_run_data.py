"""Reading recorded runs from a folder, without TensorBoard."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from event_files import (
    START,
    event,
    make_layout,
    scalar_event,
    statistics_of,
    step_tensors,
    write_events,
)
from in_process import EXPERIMENT, files_of, provider_of

from tb_adam_plugin.cli import main
from tb_adam_plugin.reading.store import Store
from tb_adam_plugin.run_data import load_runs
from tb_adam_plugin.schema import VERSION, FormatError

LAYOUT = make_layout()


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    for run in ("a", "b/c"):
        events = [event(t, step_tensors(LAYOUT, t, histograms=True)) for t in (1, 2, 4)]
        write_events(tmp_path / run / "adam_debug", events)
        write_events(tmp_path / run, [scalar_event(1, {"loss": 0.5})])
    return tmp_path


def test_runs_have_parameters_steps_statistics_and_histograms(logs: Path) -> None:
    first, second = load_runs(logs)
    assert (first.name, second.name) == ("a", "b/c")
    assert [p.name for p in first.parameters] == ["conv1.weight", "conv1.bias"]
    assert first.steps.tolist() == [1, 2, 4]
    values = first.statistic("update_rms")
    expected = [statistics_of(LAYOUT, t)[:, 1] for t in (1, 2, 4)]
    np.testing.assert_array_equal(values, expected)
    counts = first.histograms("exp_avg", "conv1.bias").counts
    assert counts.shape[:2] == (3, 1)
    assert counts.sum() == 3 * 8
    assert first.every_step().values[0].tolist() == [1, 2, 4]
    assert first.every_step()["step"].tolist() == [1, 2, 4]
    assert list(first.every_step()) == list(first.every_step().names)
    assert dict(first.every_step())["step"].tolist() == [1, 2, 4]
    with pytest.raises(KeyError, match="'nothing' was not recorded; available: step, "):
        first.every_step()["nothing"]


def test_what_there_is_not_is_said(logs: Path) -> None:
    run = load_runs(logs)[0]
    with pytest.raises(KeyError, match="available: update_to_weight_ratio"):
        run.statistic("nonsense")
    with pytest.raises(KeyError, match="no quantity 'nonsense'"):
        run.histograms("nonsense", "conv1.bias")
    with pytest.raises(KeyError, match="no parameter 'nonsense'"):
        run.histograms("exp_avg", "nonsense")
    with pytest.raises(OSError, match="is not a folder"):
        load_runs(logs / "missing")


def test_a_folder_of_one_run_may_be_given_itself(logs: Path) -> None:
    (run,) = load_runs(logs / "a" / "adam_debug")
    assert run.steps.tolist() == [1, 2, 4]
    assert load_runs(logs / "a")[0].name == "."


def test_the_same_is_read_as_by_tensorboard(logs: Path) -> None:
    theirs = Store(provider_of(logs))
    ours = Store(files_of(logs))
    assert [r.run for r in ours.runs(EXPERIMENT).runs] == [
        r.run for r in theirs.runs(EXPERIMENT).runs
    ]
    for run in theirs.runs(EXPERIMENT).runs:
        assert ours.run(EXPERIMENT, run.run).scalars == run.scalars
        for name in run.layout.statistics:
            mine = ours.statistic(EXPERIMENT, run.run, name)
            other = theirs.statistic(EXPERIMENT, run.run, name)
            np.testing.assert_array_equal(mine.step, other.step)
            np.testing.assert_array_equal(mine.wall_time, other.wall_time)
            np.testing.assert_array_equal(mine.values, other.values)
        for scalar in run.scalars:
            mine_, other_ = (s.scalar(EXPERIMENT, *scalar) for s in (ours, theirs))
            np.testing.assert_array_equal(mine_.values, other_.values)


def test_torn_and_damaged_ends_are_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "adam_debug"
    path = write_events(folder, [event(t, step_tensors(LAYOUT, t)) for t in (1, 2)])
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert load_runs(tmp_path)[0].steps.tolist() == [1]
    damaged = bytearray(whole)
    damaged[-30] ^= 0xFF  # within the last record
    path.write_bytes(damaged)
    with pytest.warns(UserWarning, match="1 damaged event was left out of .*tfevents"):
        (run,) = load_runs(tmp_path)
    assert run.steps.tolist() == [1]
    path.write_bytes(whole + b"\xff" * 40)  # no record starts there
    with pytest.warns(UserWarning, match=f"damaged at byte {len(whole):,}: the rest"):
        (run,) = load_runs(tmp_path)
    assert run.steps.tolist() == [1, 2]
    path.write_bytes(whole + b"\xff" * 11)  # not even a length yet
    (folder / "events.out.tfevents.2.host").write_bytes(b"")
    assert load_runs(tmp_path)[0].steps.tolist() == [1, 2]


def test_what_reading_shows_is_told_of_a_run(tmp_path: Path) -> None:
    path = write_events(
        tmp_path / "adam_debug", [event(t, step_tensors(LAYOUT, t)) for t in range(1, 6)]
    )
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    (run,) = load_runs(tmp_path)
    assert run.steps.tolist() == [1, 2, 4, 5]
    (message,) = run.messages
    assert message.severity == "error"
    assert message.text.startswith(f"1 damaged event was left out of {path}")


def test_a_run_whose_first_record_is_damaged_is_told_of(tmp_path: Path) -> None:
    def undescribed(step: int) -> bytes:
        return event(step, [replace(t, content=b"") for t in step_tensors(LAYOUT, step)])

    first = event(1, step_tensors(LAYOUT, 1))
    damaged = bytearray(first)
    damaged[first.index(b"conv1.weight")] ^= 1
    for name, written in (("a", first), ("b", bytes(damaged))):
        events = [written, undescribed(2), undescribed(3)]
        write_events(tmp_path / name / "adam_debug", events)
    with pytest.warns(UserWarning, match="Run b/adam_debug: ") as warned:
        (run,) = load_runs(tmp_path)
    assert run.name == "a"
    told = [str(warning.message) for warning in warned]
    assert any(text.startswith("Run b/adam_debug: 1 damaged event was left out") for text in told)
    assert (
        "Run b/adam_debug: 2 records of hyperparameters, statistics, steps cannot be shown: the "
        "first one, which describes them, is damaged"
    ) in told
    with pytest.raises(FormatError, match=r"2 records of .* cannot be shown: the first one"):
        load_runs(tmp_path / "b")


@pytest.mark.parametrize("histograms", [False, True])
def test_the_last_step_is_that_of_the_last_training(tmp_path: Path, histograms: bool) -> None:
    trainings = [(range(1, 21), True, "1"), (range(5, 10), False, "1"), (range(5, 8), False, "2")]
    now = START
    for steps, has_histograms, name in trainings:
        for step in steps:
            now += 1
            tensors = step_tensors(LAYOUT, step, histograms=has_histograms or histograms)
            write_events(tmp_path / "run" / "adam_debug", [event(step, tensors, now)], name)
    (run,) = Store(files_of(tmp_path)).runs(EXPERIMENT).runs
    assert run.last == (7, now)


def test_a_restart_in_another_file_wins(tmp_path: Path) -> None:
    folder = tmp_path / "adam_debug"
    write_events(folder, [event(t, step_tensors(LAYOUT, t)) for t in (1, 2, 3)], "1")
    again = [event(t, step_tensors(LAYOUT, t, seed=7), START + 100 + t) for t in (2, 3)]
    write_events(folder, again, "2")
    values = load_runs(tmp_path)[0].statistic("update_rms")
    np.testing.assert_array_equal(values[1], statistics_of(LAYOUT, 2, seed=7)[:, 1])


def test_a_run_that_cannot_be_read_beside_others_is_a_warning(
    logs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = [
        replace(one, content=one.content.replace(b'"version":%d' % VERSION, b'"version":99'))
        if one.content
        else one
        for one in step_tensors(LAYOUT, 1)
    ]
    write_events(logs / "newer" / "adam_debug", [event(1, tensors)])
    with pytest.warns(UserWarning, match="newer"):
        runs = load_runs(logs)
    assert [run.name for run in runs] == ["a", "b/c"]
    assert main(["diagnose", str(logs)]) == 0
    said = capsys.readouterr().err
    assert said.startswith("adam-debug: ")
    assert "newer" in said
