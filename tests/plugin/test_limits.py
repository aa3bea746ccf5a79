"""Limits on the number of names: how much is shown, and what is said about the rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
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
    write_run,
)
from hypothesis import given
from hypothesis import strategies as st
from in_process import PluginClient

from tb_adam_plugin import schema
from tb_adam_plugin.arrays import Flags
from tb_adam_plugin.reading.left_out import MOST_MESSAGES, MOST_SCALARS_BESIDE, few_messages
from tb_adam_plugin.reading.limits import (
    MOST_OLDER_PARAMETERS,
    layouts_to_leave_out,
    shown_columns,
)
from tb_adam_plugin.reading.merged_steps import merge_steps
from tb_adam_plugin.reading.records import Series
from tb_adam_plugin.reading.run import Message
from tb_adam_plugin.reading.sessions import Standing
from tb_adam_plugin.run_data import load_runs
from tb_adam_plugin.schema import Columns, Layout

RUN = "exp1/adam_debug"


@pytest.fixture(autouse=True, params=[False, True], ids=["loader", "files"])
def source(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask TensorBoard's loader, and the files."""
    monkeypatch.setattr(PluginClient, "reads_files", request.param)


def rows(names: Sequence[str], step: int, value: float) -> schema.TaggedTensor:
    """The row of a step, whose scalars all have one value."""
    ours = [step, START + step, 1.0, 1e-3, 0.5, 0.0, 0.0, 1.0]
    columns = Columns((*schema.STEP_COLUMNS, *names))
    return schema.steps_tensor(columns, np.array([[*ours, *[value] * len(names)]]))


def run_with_names(folder: Path, steps: int, names_of: Callable[[int], list[str]]) -> None:
    layout = make_layout()

    def events() -> Iterator[bytes]:
        for t in range(1, steps + 1):
            yield event(t, [*step_tensors(layout, t)[:2], rows(names_of(t), t, float(t))])

    write_events(folder / RUN, events())


def messages_of(client: PluginClient) -> list[str]:
    (run,) = client.json("summary")["runs"]
    return [message["text"] for message in run["messages"]]


def test_a_scalar_of_another_name_at_every_step_leaves_the_answer_small(tmp_path: Path) -> None:
    steps = 1000
    run_with_names(tmp_path, steps, lambda t: ["loss", f"loss_{t}"])
    client = PluginClient(tmp_path)
    header, arrays = client.packed("steps", run=RUN)
    assert len(header["columns"]) == len(schema.STEP_COLUMNS) + 1 + schema.MOST_SCALARS
    assert arrays["values"].shape == (len(header["columns"]), steps)
    # What the format has is whole.
    of = dict(zip(header["columns"], arrays["values"], strict=True))
    assert of["loss"].tolist() == of["step"].tolist() == [*range(1, steps + 1)]
    # Of the others the newest are shown.
    shown = {name for name in header["columns"] if name.startswith("loss_")}
    assert shown == {f"loss_{t}" for t in range(steps - schema.MOST_SCALARS + 1, steps + 1)}
    assert np.flatnonzero(np.isfinite(of["loss_1000"])).tolist() == [steps - 1]
    (message,) = messages_of(client)
    assert message.startswith("800 step scalars are not shown: ")
    assert "Give debug.record() the same names at every step" in message
    (summary,) = client.json("summary")["runs"]
    assert summary["step_columns"] == header["columns"]


def test_a_name_that_came_first_stays_where_columns_are_kept(tmp_path: Path) -> None:
    """As the callback writes them: a name that was recorded once is a column from then on."""
    run_with_names(tmp_path, 300, lambda t: ["steady", *(f"loss_{i}" for i in range(1, t + 1))])
    names = PluginClient(tmp_path).packed("steps", run=RUN)[0]["columns"][8:]
    assert names == ["steady", *(f"loss_{i}" for i in range(1, schema.MOST_SCALARS))]


def test_the_loss_is_shown_wherever_it_stands(tmp_path: Path) -> None:
    names = [*(f"a_{i}" for i in range(300)), "loss", "loss_scale", "gain_ratio"]
    run_with_names(tmp_path, 2, lambda t: names)
    shown = PluginClient(tmp_path).packed("steps", run=RUN)[0]["columns"][8:]
    assert shown == [*names[: schema.MOST_SCALARS], *names[300:]]


def test_as_many_names_as_there_may_be_are_all_shown(tmp_path: Path) -> None:
    names = ["loss", *(f"a_{i}" for i in range(schema.MOST_SCALARS))]
    run_with_names(tmp_path, 2, lambda t: names)
    client = PluginClient(tmp_path)
    assert client.packed("steps", run=RUN)[0]["columns"][8:] == names
    assert messages_of(client) == []


def test_thousands_of_steps_tags_are_joined_in_bounded_time(tmp_path: Path) -> None:
    run_with_names(tmp_path, 4000, lambda t: [f"loss_{t}"])
    (run,) = load_runs(tmp_path)
    started = time.process_time()
    assert run.every_step()["step"].tolist() == [*range(1, 4001)]
    assert run.findings() is not None
    assert time.process_time() - started < 15  # 1 s; pair by pair it was two minutes


def test_of_thousands_of_layouts_the_newest_are_shown(tmp_path: Path) -> None:
    layouts = {t: make_layout(["w", "b"], elements=t) for t in range(1, 2001)}
    write_events(tmp_path / RUN, (event(t, step_tensors(of, t)) for t, of in layouts.items()))
    client = PluginClient(tmp_path)
    (message,) = messages_of(client)
    assert message.startswith("The oldest 1,900 of 2,000 layouts are not shown: ")
    _, arrays = client.packed("overview", run=RUN, statistic="update_rms", columns=3000)
    assert arrays["first_step"].tolist() == [*range(1901, 2001)]
    expected = [statistics_of(layouts[t], t)[:, 1] for t in range(1901, 2001)]
    assert (np.array(expected) == arrays["values"].T).all()
    # The rows of all steps are those of all trainings.
    assert client.packed("steps", run=RUN)[1]["values"].shape[1] == 2000
    header, arrays = client.packed("hyperparameters", run=RUN)
    assert header["columns"] == [*schema.HYPERPARAMETERS.names]
    assert arrays["step"].tolist() == [*range(1901, 2001)]
    (summary,) = client.json("summary")["runs"]
    assert [p["shape"] for p in summary["parameters"]] == [[2000], [2000]]


def test_parameters_that_have_other_names_each_time_are_bounded(tmp_path: Path) -> None:
    many = MOST_OLDER_PARAMETERS // 2
    layouts = {t: make_layout([f"p{i}.{t}" for i in range(many)]) for t in range(1, 6)}
    write_events(tmp_path / RUN, (event(t, step_tensors(of, t)) for t, of in layouts.items()))
    client = PluginClient(tmp_path)
    (summary,) = client.json("summary")["runs"]
    assert len(summary["parameters"]) == 3 * many
    assert {p["name"].rpartition(".")[2] for p in summary["parameters"]} == {"5", "4", "3"}
    assert messages_of(client)[0].startswith("The oldest 2 of 5 layouts are not shown")


def test_one_layout_may_have_any_number_of_parameters() -> None:
    large = make_layout([f"p{i}" for i in range(3 * MOST_OLDER_PARAMETERS)])
    small = make_layout()
    layouts = {"large": large, "small": small}
    assert layouts_to_leave_out(["large", "small"], layouts.get) == set()
    assert layouts_to_leave_out(["small", "large"], layouts.get) == {"large"}


def test_layouts_that_cannot_be_read_take_no_place() -> None:
    ids = [f"damaged {i}" for i in range(500)] + ["good", "older"]

    def read(id_: str) -> Layout | None:
        return None if id_.startswith("damaged") else make_layout()

    assert layouts_to_leave_out(ids, read) == set()


def test_sets_of_gradient_norms_are_bounded(tmp_path: Path) -> None:
    layout = make_layout()
    events = []
    for t in range(1, 151):
        names = [p.name for p in layout.parameters] + [f"gone_{t}"]
        norms = schema.gradient_norms_tensor(names, np.array([t]), np.ones((1, len(names))))
        events.append(event(t, [*step_tensors(layout, t), norms]))
    write_events(tmp_path / RUN, events)
    _, arrays = PluginClient(tmp_path).packed("gradient_norms", run=RUN, columns=1000)
    assert arrays["first_step"].tolist() == [*range(51, 151)]


def test_hyperparameters_of_many_names_are_bounded(tmp_path: Path) -> None:
    layout = make_layout()
    columns = Columns((*(f"h{i}" for i in range(1000)), *schema.HYPERPARAMETERS.names))
    values = np.arange(float(len(columns.names)))[None]
    tensors = step_tensors(layout, 1)
    tensors[1] = schema.hyperparameters_tensor(layout, values, columns)
    write_events(tmp_path / RUN, [event(1, tensors)])
    client = PluginClient(tmp_path)
    header, arrays = client.packed("hyperparameters", run=RUN)
    kept = [*columns.names[: schema.MOST_SCALARS], *schema.HYPERPARAMETERS.names]
    assert header["columns"] == kept
    expected = [columns.names.index(name) for name in kept]
    assert arrays["values"].reshape(-1).tolist() == expected
    assert messages_of(client)[0].startswith("800 hyperparameters are not shown")


def test_of_thousands_of_ordinary_scalars_the_loss_is_listed(tmp_path: Path) -> None:
    write_run(tmp_path / RUN, range(1, 4))
    tags = [f"a/{i:04}" for i in range(2000)] + ["Train/Loss", "z"]
    write_events(tmp_path / "exp1", [scalar_event(1, dict.fromkeys(tags, 1.0))])
    client = PluginClient(tmp_path)
    (summary,) = client.json("summary")["runs"]
    listed = [scalar["tag"] for scalar in summary["scalars"]]
    assert len(listed) == MOST_SCALARS_BESIDE
    assert "Train/Loss" in listed
    assert "a/0000" in listed
    assert "z" not in listed
    assert listed == sorted(listed)
    assert messages_of(client)[0].startswith("1,502 of 2,002 ordinary scalars are not listed")
    # They can be asked for all the same.
    assert client.packed("scalar", run="exp1", tag="z")[1]["value"].tolist() == [1.0]


def test_many_messages_end_in_their_number(tmp_path: Path) -> None:
    write_run(tmp_path / RUN, range(1, 4))
    damaged = []
    for i in range(200):
        tagged = schema.TaggedTensor(f"adam_debug/steps/{i:010}", np.zeros((1, 1)), b"{}")
        damaged.append(event(1, [tagged]))
    write_events(tmp_path / RUN, damaged)
    said = messages_of(PluginClient(tmp_path))
    assert len(said) == MOST_MESSAGES
    assert said[-1] == f"{200 - MOST_MESSAGES + 1} more messages like these are left out."


@pytest.mark.parametrize("count", [0, 1, MOST_MESSAGES])
def test_few_messages_are_as_they_are(count: int) -> None:
    messages = tuple(Message("warning", str(i)) for i in range(count))
    assert few_messages(messages) == messages


def test_an_error_among_those_left_out_is_not_made_a_warning() -> None:
    messages = [Message("warning", str(i)) for i in range(99)] + [Message("error", "x")]
    assert few_messages(messages)[-1].severity == "error"


@given(st.lists(st.integers(0, 400), unique=True), st.sets(st.integers(0, 400)))
def test_shown_columns_are_in_order_and_lasting_ones_among_them(
    numbers: list[int], lasting: set[int]
) -> None:
    names = [*map(str, numbers)]
    kept = {*map(str, lasting)}
    shown = shown_columns(names, kept)
    assert [name for name in names if name in shown] == [*shown]
    others = [name for name in names if name not in kept]
    if len(names) > schema.MOST_SCALARS:
        assert {*shown} == kept.intersection(names).union(others[: schema.MOST_SCALARS])
    else:
        assert [*shown] == names


# --- rows of several series, joined in one pass ---


def series_of(steps: Sequence[int], written: Sequence[float]) -> Series:
    return Series(np.array(steps, float), np.array(written, float), np.zeros((1, len(steps))))


@st.composite
def several_series(draw: st.DrawFn) -> list[Series]:
    """Series that ascend in step, written in any order, now and then at a time not known."""
    times = st.sampled_from([*map(float, range(12)), np.nan, np.inf, -np.inf])
    found = []
    for _ in range(draw(st.integers(1, 5))):
        steps = sorted(draw(st.sets(st.integers(0, 12), max_size=8)))
        written = [draw(times) for _ in steps]
        if draw(st.booleans()):
            written = sorted(written)
        found.append(series_of(steps, written))
    return found


def kept_pair_by_pair(series: Series, all_rows: Sequence[Series], ended: float) -> Flags:
    """A row stays unless another series has, written later, a step that is not later."""
    kept = []
    for step, written in zip(series.step, series.written, strict=True):
        over = any(
            np.isfinite(w) and w > written and s <= step
            for other in all_rows
            if other is not series
            for s, w in zip(other.step, other.written, strict=True)
        )
        kept.append(not over and not written <= ended)
    return np.array(kept, bool)


@given(several_series(), st.sampled_from([-np.inf, 4.0]))
def test_rows_that_stand_are_those_of_each_pair_of_series(
    all_rows: list[Series], ended: float
) -> None:
    standing = Standing(all_rows, ended)
    for series, left in zip(all_rows, standing.rows, strict=True):
        kept = kept_pair_by_pair(series, all_rows, ended)
        assert left.step.tolist() == series.step[kept].tolist()


@given(several_series())
def test_each_step_of_the_axis_is_of_one_series(all_rows: list[Series]) -> None:
    all_rows = [series_of(s.step.tolist(), np.nan_to_num(s.written).tolist()) for s in all_rows]
    step, wall_time, placements = merge_steps(all_rows)
    assert step.tolist() == sorted({t for series in all_rows for t in series.step.tolist()})
    owners = np.zeros(step.size, int)
    for series, (chosen, positions) in zip(all_rows, placements, strict=True):
        owners[positions] += 1
        assert (step[positions] == series.step[chosen]).all()
        assert (wall_time[positions] == series.wall_time[chosen]).all()
        assert (np.diff(positions) > 0).all()
    assert (owners == 1).all()
    for t, w in zip(step, wall_time, strict=True):
        assert w == max(x for s in all_rows for x in s.wall_time[s.step == t])
