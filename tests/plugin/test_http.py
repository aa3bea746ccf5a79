from __future__ import annotations

import json
import logging
import string
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from event_files import START, counts_of, make_layout, scalar_event, statistics_of, write_events
from event_files import write_run as write_events_of_run
from hypothesis import given
from hypothesis import strategies as st
from in_process import PluginClient

from tb_adam_plugin import __version__, schema

RUN = "exp1/adam_debug"
LAYOUT = make_layout()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> PluginClient:
    """The plugin over one run of 20 steps with a scalar beside it."""
    folder = tmp_path_factory.mktemp("logs")
    write_events_of_run(folder / "exp1" / "adam_debug", range(1, 21), LAYOUT, histograms=True)
    write_events(folder / "exp1", [scalar_event(t, {"loss/train": 1 / t}) for t in (1, 2)])
    return PluginClient(folder)


def test_the_summary_lists_the_run(client: PluginClient) -> None:
    found = client.json("summary")
    (run,) = found["runs"]
    assert found["version"] == __version__
    assert (run["run"], run["name"], run["last_step"]) == (RUN, "exp1", 20)
    assert run["last_wall_time"] == START + 20
    assert run["scalars"] == [{"run": "exp1", "tag": "loss/train"}]
    assert client.json("revision") == {"revision": found["revision"]}
    # The callback's data about itself are not curves of the training.
    assert {"step", "wall_time", "callback_milliseconds"} < set(run["step_columns"])
    assert run["strip_columns"] == ["lr", "skipped_steps", "loss"]
    assert {*schema.UNCHARTED_STEP_COLUMNS} <= {
        *schema.STEP_COLUMNS, *schema.OPTIONAL_STEP_COLUMNS
    }  # fmt: skip


def test_the_overview_is_of_the_ratio_unless_told_otherwise(client: PluginClient) -> None:
    header, arrays = client.packed("overview", run=RUN)
    assert header["statistic"] == "update_to_weight_ratio"
    expected = np.array([statistics_of(LAYOUT, t)[:, 0] for t in range(1, 21)]).T
    assert (arrays["values"] == expected).all()


def test_the_overview_of_a_range(client: PluginClient) -> None:
    query: dict[str, str | int] = {
        "run": RUN,
        "statistic": "update_rms",
        "columns": 2,
        "from": 5,
        "to": 8,
    }
    header, arrays = client.packed("overview", **query)
    assert header["statistic"] == "update_rms"
    assert header["against"] is None
    assert header["total"]["steps"] == 4
    assert arrays["first_step"].tolist() == [5, 7]
    assert arrays["last_step"].tolist() == [6, 8]
    expected = np.array([statistics_of(LAYOUT, t)[:, 1] for t in range(5, 9)])
    assert (arrays["values"] == expected.reshape(2, 2, 2).max(axis=1).T).all()


@pytest.mark.parametrize(
    ("route", "query"),
    [
        ("overview", {"statistic": "update_rms"}),
        ("series", {"parameter": "conv1.bias"}),
        ("hyperparameters", {}),
        ("histograms", {"parameter": "conv1.bias", "quantity": "exp_avg", "columns": 2000}),
        ("steps", {}),
    ],
)
def test_since_leaves_out_what_the_asker_has(
    client: PluginClient, route: str, query: dict[str, str | int]
) -> None:
    whole, everything = client.packed(route, run=RUN, **query)
    rest, newer = client.packed(route, run=RUN, since=15, **query)
    head, earlier = client.packed(route, run=RUN, since=20, **query)
    axis = "last_step" if route == "overview" else "step"
    if route == "steps":
        assert (newer["values"] == everything["values"][:, everything["values"][0] > 15]).all()
    else:
        assert newer[axis].tolist() == [t for t in everything[axis] if t > 15]
        assert earlier[axis].size == 0
    assert rest["total"] == head["total"] == head["earlier"] == whole["total"]
    assert whole["earlier"] == {"steps": 0, "wall_time": 0}
    assert 0 < rest["earlier"]["steps"] < whole["total"]["steps"]
    assert 0 < rest["earlier"]["wall_time"] < whole["total"]["wall_time"]


def test_the_overview_against_another_run(client: PluginClient) -> None:
    header, arrays = client.packed("overview", run=RUN, statistic="update_rms", against=RUN)
    assert header["against"] == RUN
    assert (arrays["values"] == 1).all()
    _, arrays = client.packed("overview", run=RUN, statistic="update_rms", against=RUN, axis="wall")
    assert (arrays["values"] == 1).all()
    assert client.get("overview", run=RUN, against="gone").status_code == 404
    assert client.get("overview", run=RUN, against=RUN, axis="up").text == (
        "Invalid argument: axis must be one of step, relative, wall, got 'up'"
    )


def test_a_series_has_every_statistic(client: PluginClient) -> None:
    header, arrays = client.packed("series", run=RUN, parameter="conv1.bias")
    assert header["statistics"] == list(LAYOUT.statistics)
    expected = np.array([statistics_of(LAYOUT, t)[1] for t in range(1, 21)]).T
    assert (arrays["values"] == expected).all()


def test_steps_scalar_and_hyperparameters(client: PluginClient) -> None:
    header, arrays = client.packed("steps", run=RUN)
    assert header["columns"][0] == "step"
    assert arrays["values"][0].tolist() == list(range(1, 21))
    _, arrays = client.packed("scalar", run="exp1", tag="loss/train")
    assert arrays["value"].tolist() == [1.0, 0.5]
    header, arrays = client.packed("hyperparameters", run=RUN)
    assert arrays["values"][0, header["columns"].index("lr")].tolist() == list(range(1, 21))


def test_histograms_of_two_quantities(client: PluginClient) -> None:
    header, arrays = client.packed(
        "histograms",
        run=RUN,
        parameter="conv1.bias",
        quantity=["exp_avg", "exp_avg_sq"],
        columns=4,
    )
    assert header["total"]["steps"] == 20
    assert arrays["step"].tolist() == [1, 7, 14, 20]
    counts = np.array([counts_of(LAYOUT, t)[1, 0] for t in (1, 7, 14, 20)])
    used = np.flatnonzero(counts[:, :512].any(axis=0))
    assert (arrays["exp_avg/counts"] == counts[:, used[0] : used[-1] + 1]).all()
    assert {"exp_avg_sq/counts", "exp_avg_sq/edges", "exp_avg_sq/special"} < set(arrays)


@pytest.mark.parametrize(
    ("query", "status", "text"),
    [
        ("overview", 400, "the query parameter run is missing"),
        ("overview?run=", 400, "the query parameter run is empty"),
        ("overview?run=a&run=b", 400, "run is given more than once"),
        ("overview?run={run}&statistic=", 400, "statistic is empty"),
        ("overview?run={run}&colums=4", 400, "'colums'; expected run, statistic, columns"),
        ("overview?run={run}&columns=0", 400, "columns must be a whole number from 1 to 4096"),
        ("overview?run={run}&columns=4097", 400, "got '4097'"),
        ("overview?run={run}&columns=NaN", 400, "got 'NaN'"),
        ("overview?run={run}&columns=1e3", 400, "got '1e3'"),
        ("overview?run={run}&columns=%2B5", 400, "got '+5'"),
        ("overview?run={run}&columns=٣", 400, "columns must be a whole number"),
        ("overview?run={run}&columns=5&columns=6", 400, "columns is given more than once"),
        ("overview?run={run}&from=-1", 400, "from must be a whole number from 0 to 9007199"),
        ("overview?run={run}&to=inf", 400, "to must be a whole number"),
        ("overview?run={run}&to=" + "9" * 5000, 400, "got '" + "9" * 100 + "…'"),
        ("overview?run={run}&from=3&to=2", 400, "from=3 is after to=2"),
        (
            "overview?run=nope",
            404,
            "no run 'nope' with Adam Debug data; available: exp1/adam_debug",
        ),
        ("overview?run={run}&statistic=nope", 404, "no statistic 'nope'; available: update_to"),
        ("series?run={run}", 400, "parameter is missing"),
        ("series?run={run}&parameter=nope", 404, "no parameter 'nope'; available: conv1.weight"),
        ("steps?run=nope", 404, "no run 'nope'"),
        ("hyperparameters", 400, "run is missing"),
        ("scalar?run=exp1", 400, "tag is missing"),
        ("scalar?run=exp1&tag=nope", 404, "no scalar 'nope'; available: loss/train"),
        ("scalar?run={run}&tag=loss", 404, "no scalars in a run 'exp1/adam_debug'"),
        ("histograms?run={run}&parameter=conv1.bias", 400, "quantity is missing"),
        (
            "histograms?run={run}&parameter=conv1.bias&quantity=update_rms",
            404,
            "no quantity 'update_rms'; available: exp_avg, exp_avg_sq",
        ),
        (
            "histograms?run={run}&parameter=conv1.bias&quantity=exp_avg&quantity=exp_avg",
            400,
            "quantity names something twice",
        ),
        (
            "histograms?run={run}&parameter=conv1.bias&quantity=exp_avg&columns=2001",
            400,
            "columns must be a whole number from 1 to 2000",
        ),
        ("summary?x=1", 400, "unknown query parameter 'x'; expected lang"),
        ("summary?lang=fr", 400, "lang must be one of en, zh, got 'fr'"),
        ("revision?x=1", 400, "unknown query parameter 'x'; expected none"),
        ("static/nope/index.js/..", 404, "no file 'nope/index.js/..'"),
        ("overview?run=<script>", 404, "no run '<script>'"),
        ("overview?run=%00%ff%0d%0a", 404, "no run"),
    ],
)
def test_wrong_questions_are_explained(
    client: PluginClient, query: str, status: int, text: str
) -> None:
    answer = client.open(query.format(run=RUN))
    assert answer.status_code == status, answer.text
    assert text in answer.text
    assert answer.mimetype == "text/plain"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "\n" not in answer.text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_only_get_is_answered(client: PluginClient, method: str) -> None:
    answer = client.open("summary", method)
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "GET, HEAD"
    assert client.open("summary", "HEAD").data == b""


ROUTES = ("summary", "revision", "overview", "series", "steps", "scalar", "hyperparameters")
NAMES = ("run", "statistic", "parameter", "tag", "quantity", "columns", "from", "to")
VALUES = (RUN, "exp1", "conv1.bias", "update_rms", "exp_avg", "loss/train", "1", "0", "NaN", "-1")


@given(
    st.sampled_from((*ROUTES, "histograms", "static", "static/x/index.js")),
    st.lists(
        st.tuples(
            st.sampled_from(NAMES) | st.text(max_size=5),
            st.sampled_from(VALUES) | st.text(max_size=20) | st.integers().map(str),
        ),
        max_size=5,
    ),
)
def test_no_query_whatsoever_makes_the_server_fail(
    client: PluginClient, route: str, query: list[tuple[str, str]]
) -> None:
    parts = [f"{quote(n, errors='replace')}={quote(v, errors='replace')}" for n, v in query]
    answer = client.open(f"{route}?{'&'.join(parts)}")
    assert answer.status_code in (200, 400, 404)


@given(st.text(string.printable, max_size=40))
def test_no_raw_query_string_makes_the_server_fail(client: PluginClient, query: str) -> None:
    safe = "".join(c for c in query if c not in "\r\n\t\x0b\x0c #")
    assert client.open(f"overview?run={RUN}&{safe}").status_code in (200, 400, 404)


def test_an_unexpected_failure_is_one_sentence_and_a_log_entry(
    client: PluginClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> str:
        raise ZeroDivisionError("internal detail")

    monkeypatch.setattr("tb_adam_plugin.serving.json_answers.summary", fail)
    with caplog.at_level(logging.ERROR):
        answer = client.open("summary")
    assert answer.status_code == 500
    assert answer.mimetype == "text/plain"
    assert "internal detail" not in answer.text
    assert "internal detail" in caplog.text


def test_a_data_server_that_is_gone_is_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_events_of_run(tmp_path / "exp1", [1])
    client = PluginClient(tmp_path)

    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("connection refused")

    monkeypatch.setattr(client.provider, "list_tensors", fail)
    answer = client.open("revision")
    assert answer.status_code == 503
    assert answer.text == "TensorBoard cannot read the list of runs: connection refused"


def test_an_empty_log_directory_has_an_empty_summary(tmp_path: Path) -> None:
    found = PluginClient(tmp_path).json("summary")
    assert found["runs"] == []
    assert found["messages"] == []


def test_the_tab_and_its_files(client: PluginClient) -> None:
    metadata = client.plugin.frontend_metadata()
    assert metadata.tab_name == "Adam Debug"
    assert metadata.es_module_path.startswith(f"/static/{__version__}-")
    assert metadata.es_module_path.endswith("/index.js")
    assert client.plugin.is_active() is False
    style = metadata.es_module_path[1:].replace("index.js", "style.css")
    answer = client.open(style)
    assert answer.status_code == 200
    assert answer.mimetype == "text/css"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "no-cache" in answer.headers["Cache-Control"], "this is a source checkout"


def test_packed_answers_are_not_compressed_and_never_cached(client: PluginClient) -> None:
    answer = client.get("overview", run=RUN)
    assert "Content-Encoding" not in answer.headers
    assert "no-cache" in answer.headers["Cache-Control"]
    assert int(answer.headers["Content-Length"]) == len(answer.data)
    assert json.loads(client.get("revision").data)
