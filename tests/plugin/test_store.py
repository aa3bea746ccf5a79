from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from event_files import (
    START,
    STEPS,
    counts_of,
    event,
    make_layout,
    scalar_event,
    statistics_of,
    step_tensors,
    write_events,
    write_run,
)
from in_process import EXPERIMENT, provider_of, read_folder
from tensorboard import errors

from tb_adam_plugin import schema
from tb_adam_plugin.reading.known_values import known_statistic
from tb_adam_plugin.reading.provider_source import ProviderSource
from tb_adam_plugin.reading.store import Axis, Store

OLD = make_layout(["conv.weight", "conv.bias"])
NEW = make_layout(["head.weight", "conv.weight"], statistics=["update_rms", "rms_t"])


def store_of(folder: Path) -> Store:
    return Store(provider_of(folder))


def test_what_is_logged_is_read(tmp_path: Path) -> None:
    layout = write_run(tmp_path / "exp1", range(1, 8))
    found = store_of(tmp_path).statistic(EXPERIMENT, "exp1", "update_rms")
    assert found.step.tolist() == list(range(1, 8))
    assert found.wall_time.tolist() == [START + t for t in range(1, 8)]
    expected = [statistics_of(layout, t)[:, 1] for t in range(1, 8)]
    assert (found.values == np.array(expected)).all()
    assert found.logged is None


def test_what_is_not_known_is_told_from_what_is_not_finite(tmp_path: Path) -> None:
    """A statistic of the gradient is NaN if there is none, and if numbers are NaN."""
    layout = make_layout(statistics=["gradient_rms", "nonfinite_count"])
    nan, inf = np.nan, np.inf
    values = [[[nan, 0], [1, 0]], [[nan, 3], [inf, 1]], [[1, 0], [1, 0]]]
    events = (
        event(t, [schema.statistics_tensor(layout, np.array(row, np.float32))])
        for t, row in enumerate(values, 1)
    )
    write_events(tmp_path / "exp1", events)
    store = store_of(tmp_path)
    found = known_statistic(store, EXPERIMENT, "exp1", "gradient_rms")
    assert found.logged is not None
    assert found.logged.tolist() == [[False, True], [True, True], [True, True]]
    assert store.statistic(EXPERIMENT, "exp1", "gradient_rms").logged is None
    assert known_statistic(store, EXPERIMENT, "exp1", "nonfinite_count").logged is None


def test_where_all_is_known_all_is_logged(tmp_path: Path) -> None:
    write_run(tmp_path / "exp1", range(1, 8))
    found = known_statistic(store_of(tmp_path), EXPERIMENT, "exp1", "update_rms")
    assert found.logged is None


def test_one_parameter_over_time(tmp_path: Path) -> None:
    layout = write_run(tmp_path / "exp1", range(1, 8))
    found = store_of(tmp_path).parameter(EXPERIMENT, "exp1", "conv1.bias")
    assert found.names == layout.statistics
    expected = np.array([statistics_of(layout, t)[1] for t in range(1, 8)]).T
    assert (found.values == expected).all()


def test_a_restarted_run_shows_what_was_logged_last(tmp_path: Path) -> None:
    layout = make_layout()
    for file, steps, seed, began in (("1", range(1, 11), 0, 0), ("2", range(6, 9), 1, 100)):
        events = (event(t, step_tensors(layout, t, seed=seed), START + began + t) for t in steps)
        write_events(tmp_path / "exp1", events, file)
    found = store_of(tmp_path).statistic(EXPERIMENT, "exp1", "update_rms")
    # Steps 9 and 10 are of a training that was given up at step 5.
    assert found.step.tolist() == list(range(1, 9))
    expected = [statistics_of(layout, t, int(t in (6, 7, 8)))[:, 1] for t in range(1, 9)]
    assert (found.values == np.array(expected)).all()


def test_a_layout_that_changed_on_the_way_is_joined_by_name(tmp_path: Path) -> None:
    write_run(tmp_path / "exp1", range(1, 4), OLD)
    write_run(tmp_path / "exp1", range(4, 6), NEW)
    store = store_of(tmp_path)
    found = store.statistic(EXPERIMENT, "exp1", "update_rms")
    assert found.logged is not None
    assert found.step.tolist() == [1, 2, 3, 4, 5]
    # Rows: head.weight, conv.weight, conv.bias.
    assert found.logged.T.tolist() == [
        [False, False, False, True, True],
        [True, True, True, True, True],
        [True, True, True, False, False],
    ]
    weight = [statistics_of(OLD, t)[0, 1] for t in (1, 2, 3)]
    weight += [statistics_of(NEW, t)[1, 0] for t in (4, 5)]
    assert found.values[:, 1].tolist() == weight
    assert np.isnan(found.values[~found.logged]).all()

    only_old = store.statistic(EXPERIMENT, "exp1", "nonfinite_count")
    assert only_old.logged is not None
    assert not only_old.logged[3:].any()

    series = store.parameter(EXPERIMENT, "exp1", "conv.weight")
    assert series.names == ("update_rms", "rms_t", "update_to_weight_ratio", "nonfinite_count")
    assert series.values[0].tolist() == weight
    assert np.isnan(series.values[1, :3]).all()
    assert store.parameter(EXPERIMENT, "exp1", "head.weight").step.tolist() == [4, 5]


def test_hyperparameters_of_every_group_over_time(tmp_path: Path) -> None:
    old = make_layout(["a"], optimizers=["Adam"])
    new = make_layout(["a", "b"], optimizers=["Adam", "SGD"])
    write_run(tmp_path / "exp1", [1, 2], old)
    write_run(tmp_path / "exp1", [3], new)
    found = store_of(tmp_path).hyperparameters(EXPERIMENT, "exp1")
    assert found.names == schema.HYPERPARAMETERS.names
    assert found.values.shape == (2, 5, 3)
    assert found.values[0, 0].tolist() == [1, 2, 3]
    assert np.isnan(found.values[1, :, :2]).all()
    assert found.values[1, :, 2].tolist() == [3, 0.9, 0.999, 1e-8, 0.01]


def test_every_step_has_a_row_and_new_scalars_get_a_column(tmp_path: Path) -> None:
    more = schema.Columns((*STEPS.names, "accuracy"))
    first = np.array([[t, START + t, 1, 1e-3, 0, 0, 0, 1, 0.5] for t in (1, 2, 3)])
    second = np.array([[t, START + t, 1, 1e-3, 0, 0, 0, 1, 0.25, 0.75] for t in (4, 5)])
    layout = make_layout()
    events = [
        event(3, [*step_tensors(layout, 3)[:2], schema.steps_tensor(STEPS, first)]),
        event(5, [schema.steps_tensor(more, second)]),
    ]
    write_events(tmp_path / "exp1", events)
    found = store_of(tmp_path).steps(EXPERIMENT, "exp1")
    assert found.names == more.names
    assert found.values[0].tolist() == [1, 2, 3, 4, 5]
    assert found.values[-2].tolist() == [0.5, 0.5, 0.5, 0.25, 0.25]
    assert np.isnan(found.values[-1, :3]).all()
    assert found.values[-1, 3:].tolist() == [0.75, 0.75]


def test_histograms_are_read_back_exactly(tmp_path: Path) -> None:
    layout = write_run(tmp_path / "exp1", range(1, 6), histograms=True)
    store = store_of(tmp_path)
    found = store.histograms(EXPERIMENT, "exp1", "conv1.bias", ["exp_avg_sq", "exp_avg"], 3)
    assert found.step.tolist() == [1, 3, 5]
    assert found.logged_step.size == 5
    assert [q.name for q in found.quantities] == ["exp_avg_sq", "exp_avg"]
    expected = np.array([counts_of(layout, t)[1, ::-1] for t in (1, 3, 5)])
    assert (found.counts == expected).all()


def test_histograms_of_two_layouts_share_one_axis(tmp_path: Path) -> None:
    write_run(tmp_path / "exp1", [1, 2], OLD, histograms=True)
    write_run(tmp_path / "exp1", [3, 4], NEW, histograms=True)
    found = store_of(tmp_path).histograms(EXPERIMENT, "exp1", "conv.weight", ["exp_avg"], 10)
    assert found.step.tolist() == [1, 2, 3, 4]
    expected = [counts_of(OLD, t)[0, 0] for t in (1, 2)] + [counts_of(NEW, t)[1, 0] for t in (3, 4)]
    assert (found.counts[:, 0] == np.array(expected)).all()


def test_a_run_without_histograms_has_none(tmp_path: Path) -> None:
    write_run(tmp_path / "exp1", [1, 2])
    found = store_of(tmp_path).histograms(EXPERIMENT, "exp1", "conv1.bias", ["exp_avg"], 10)
    assert (found.step.size, found.logged_step.size, found.counts.shape) == (0, 0, (0, 1, 517))


def test_damaged_records_are_skipped_and_become_a_message_of_the_run(tmp_path: Path) -> None:
    layout = make_layout()
    tag = str(schema.Tag("statistics", layout.id))
    block = str(schema.Tag("histograms", layout.id, 0))
    broken = [
        schema.TaggedTensor(tag, np.zeros((5, 5), np.float32), layout.content()),
        schema.TaggedTensor(block, np.array([1, 2, 3], np.uint8), b""),
    ]
    events = [event(t, step_tensors(layout, t, histograms=True)) for t in (1, 2)]
    write_events(tmp_path / "exp1", [*events, event(3, broken)])
    store = store_of(tmp_path)
    before = store.runs(EXPERIMENT)
    assert before.runs[0].messages == ()

    assert store.statistic(EXPERIMENT, "exp1", "update_rms").step.tolist() == [1, 2]
    found = store.histograms(EXPERIMENT, "exp1", "conv1.weight", ["exp_avg"], 10)
    assert found.step.tolist() == [1, 2]
    after = store.runs(EXPERIMENT)
    assert [m.text for m in after.runs[0].messages] == [
        f"{tag}: 1 damaged record was left out (step 3): expected float32 2×3, got float32 5×5",
        f"{block}: 1 damaged record was left out (step 3): damaged histogram block: Error -3 "
        "while decompressing data: incorrect header check",
    ]
    assert after.revision != before.revision, "the tab must learn of the message"


def test_the_revision_changes_with_new_data_and_only_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tb_adam_plugin.reading.provider_source._REUSE", 0)
    layout = write_run(tmp_path / "exp1" / "adam_debug", [1, 2])
    provider = read_folder(tmp_path)
    store = Store(ProviderSource(provider))
    revisions = [store.runs(EXPERIMENT).revision]
    store.statistic(EXPERIMENT, "exp1/adam_debug", "update_rms")
    assert store.runs(EXPERIMENT).revision == revisions[0]

    write_run(tmp_path / "exp1" / "adam_debug", [3], layout)
    provider.reload()
    revisions.append(store.runs(EXPERIMENT).revision)
    assert store.statistic(EXPERIMENT, "exp1/adam_debug", "update_rms").step.size == 3

    write_events(tmp_path / "exp1", [scalar_event(1, {"loss": 0.5})])
    provider.reload()
    revisions.append(store.runs(EXPERIMENT).revision)

    write_run(tmp_path / "exp2", [1])
    provider.reload()
    revisions.append(store.runs(EXPERIMENT).revision)
    assert len(set(revisions)) == 4


def test_scalars_beside_the_run_are_read(tmp_path: Path) -> None:
    write_run(tmp_path / "exp1" / "adam_debug", [1])
    write_events(tmp_path / "exp1", [scalar_event(t, {"loss": 1 / t}) for t in (1, 2, 4)])
    found = store_of(tmp_path).scalar(EXPERIMENT, "exp1", "loss")
    assert found.step.tolist() == [1, 2, 4]
    assert found.values.tolist() == [[1.0, 0.5, 0.25]]
    assert found.values.dtype == np.float32


@pytest.mark.parametrize(
    ("question", "arguments", "text"),
    [
        ("statistic", ("x", "update_rms"), "no run 'x' with Adam Debug data; available: exp1"),
        ("statistic", ("exp1", "x"), "run exp1 has no statistic 'x'; available: update_to_weight"),
        (
            "parameter",
            ("exp1", "x"),
            "run exp1 has no parameter 'x'; available: conv1.weight, conv",
        ),
        ("steps", ("x" * 500,), "no run '" + "x" * 100 + "…'"),
        ("hyperparameters", ("",), "no run ''"),
        ("scalar", ("exp1", "x"), "no scalars in a run 'exp1'; there is none"),
        ("histograms", ("exp1", "x", ["exp_avg"], 9), "no parameter 'x'"),
        ("histograms", ("exp1", "conv1.bias", ["x"], 9), "no quantity 'x'; available: exp_avg, ex"),
    ],
)
def test_what_does_not_exist_is_named(
    tmp_path: Path, question: str, arguments: tuple[Any, ...], text: str
) -> None:
    write_run(tmp_path / "exp1", [1])
    with pytest.raises(errors.NotFoundError) as raised:
        getattr(store_of(tmp_path), question)(EXPERIMENT, *arguments)
    assert text in str(raised.value)


def test_long_lists_of_choices_are_counted(tmp_path: Path) -> None:
    write_run(tmp_path / "exp1", [1], make_layout([f"layer{i}" for i in range(30)]))
    with pytest.raises(errors.NotFoundError, match="no parameter 'x'; 30 exist"):
        store_of(tmp_path).parameter(EXPERIMENT, "exp1", "x")


def test_runs_are_compared_at_the_same_step_time_since_the_start_or_wall_time(
    tmp_path: Path,
) -> None:
    layout = make_layout()
    write_run(tmp_path / "a", [1, 2, 3], layout)
    # The same values, an hour later, each step twice as fast.
    later = []
    for t in (1, 2, 3):
        time = START + 3600 + t / 2
        row = schema.steps_tensor(STEPS, np.array([[t, time, 1, 1e-3, 0.5, 0, 0, 1, 1.0]]))
        later.append(event(t, [*step_tensors(layout, t)[:2], row], time))
    write_events(tmp_path / "b", later)
    store = store_of(tmp_path)

    def logged(axis: Axis) -> list[bool]:
        found = store.comparison(EXPERIMENT, "a", "update_rms", "b", axis, difference=False)
        assert found.logged is not None
        assert found.step.tolist() == [1, 2, 3]
        return [bool(row.all()) for row in found.logged]

    assert logged("step") == [True, True, True]
    ratios = store.comparison(EXPERIMENT, "a", "update_rms", "b", "step", difference=False)
    assert (ratios.values == 1).all()
    assert logged("wall") == [False, False, False]
    assert logged("relative") == [True, True, False]  # b has ended when a is at its third step
    ratios = store.comparison(EXPERIMENT, "a", "update_rms", "b", "relative", difference=False)
    a, b = (statistics_of(layout, t)[:, 1] for t in (2, 3))
    assert ratios.values[1] == pytest.approx(a / b)


def write_norms(folder: Path, wall_time: float, names: list[str], rows: Any) -> None:
    """Write gradient norms by step, in one event of the last step."""
    steps, norms = np.array([*rows]), np.array([*rows.values()], float)
    tensor = schema.gradient_norms_tensor(names, steps, norms)
    write_events(folder, [event(int(steps[-1]), [tensor], wall_time)])


def test_gradient_norms_are_in_the_units_of_the_statistic(tmp_path: Path) -> None:
    folder = tmp_path / "exp1"
    write_run(folder, range(1, 6), make_layout(["a", "b", "new"], elements=4))
    none = np.nan
    write_norms(folder, START + 5, ["a", "b"], {4: [2.0, none], 5: [60.0, 6.0]})
    # Another model, started again from step 5.
    write_norms(folder, START + 9, ["b", "gone"], {5: [8.0, 1.0], 6: [np.inf, 1.0]})
    store = store_of(tmp_path)
    found = store.gradient_norms(EXPERIMENT, "exp1")
    assert found.step.tolist() == [4, 5, 6]
    # As the rows of all steps say it, else when the norms were written.
    assert found.wall_time.tolist() == [START + 4, START + 5, START + 9]
    assert found.values[:, 0].tolist()[:1] == [1.0]
    assert found.values[:, 1].tolist()[1:] == [4.0, np.inf]
    assert found.logged is not None
    assert found.logged.tolist() == [
        [True, False, False],
        [False, True, False],
        [False, True, False],
    ]
    alone = store.gradient_norms(EXPERIMENT, "exp1", "b")
    assert alone.values[1:].tolist() == [[4.0], [np.inf]]
    with pytest.raises(errors.NotFoundError, match="has no parameter 'c'"):
        store.gradient_norms(EXPERIMENT, "exp1", "c")


def test_a_norm_that_is_nan_with_that_of_all_gradients_is_no_missing_gradient(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "exp1"
    write_run(folder, [1], make_layout(["a", "b"], elements=1))
    rows = [[t, START + t, np.nan if t == 3 else 1.0, *[0.0] * 6] for t in (2, 3)]
    write_events(folder, [event(3, [schema.steps_tensor(STEPS, np.array(rows))])])
    write_norms(folder, START + 3, ["a", "b"], {2: [1.0, np.nan], 3: [np.nan, np.nan]})
    found = store_of(tmp_path).gradient_norms(EXPERIMENT, "exp1")
    assert found.logged is not None
    assert found.logged.tolist() == [[True, False], [True, False]]


def test_a_run_without_a_jump_has_no_gradient_norms(tmp_path: Path) -> None:
    write_run(tmp_path / "exp1", range(1, 4))
    found = store_of(tmp_path).gradient_norms(EXPERIMENT, "exp1")
    assert found.values.shape == (0, 2)
