"""Holds ``http_api.md`` against real answers: every route, JSON field, array and header field."""

from __future__ import annotations

import json
import re
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
import pytest
from event_files import event, make_layout, scalar_event, step_tensors, write_events, write_run
from in_process import PluginClient

from tb_adam_plugin import schema
from tb_adam_plugin.schema import Layout, Unoptimized

DOCUMENT = resources.files("tb_adam_plugin").joinpath("http_api.md").read_text(encoding="utf-8")
RUN = "exp1/adam_debug"
QUERIES: dict[str, dict[str, str | int | list[str]]] = {
    "overview": {"run": RUN, "columns": 3},
    "series": {"run": RUN, "parameter": "conv1.weight"},
    "steps": {"run": RUN},
    "gradient_norms": {"run": RUN},
    "scalar": {"run": "exp1", "tag": "loss/train"},
    "hyperparameters": {"run": RUN},
    "histograms": {"run": RUN, "parameter": "conv1.weight", "quantity": ["exp_avg"]},
}


class Array(NamedTuple):
    """A row of a table of arrays."""

    dtype: str
    shape: str


def sections() -> dict[str, str]:
    """The text below each heading that names a route."""
    parts = re.split(r"^## `([^`]+)`$", DOCUMENT, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def section(route: str) -> str:
    return next(text for title, text in sections().items() if re.match(rf"{route}\b", title))


def tables(text: str) -> dict[str, Array]:
    found = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[0].startswith("`"):
            for name in re.findall(r"`([^`]+)`", cells[0]):
                found[name] = Array(cells[1], cells[2].strip("`[]"))
    return found


def header_fields(text: str) -> set[str]:
    sentence = re.search(r"Header fields: (.*?)\.\n", text, re.DOTALL)
    assert sentence is not None
    return set(re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", sentence[1])))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> PluginClient:
    """Runs that make every list of the summary hold something."""
    folder = tmp_path_factory.mktemp("logs")
    plain = make_layout()
    layout = Layout(
        plain.parameters,
        plain.groups,
        plain.statistics,
        plain.quantities,
        (Unoptimized("frozen.weight", (2,), False),),
    )
    # A layer that was there only at first, so that the overview says where nothing was logged.
    earlier = make_layout(["conv1.weight", "dropped.weight"])
    write_run(folder / "exp1" / "adam_debug", [1, 2], earlier, histograms=True)
    write_run(folder / "exp1" / "adam_debug", [3, 4, 5], layout, histograms=True)
    norms = np.array([[1.0, np.nan], [2.0, np.nan], [30.0, 4.0]])
    around = schema.gradient_norms_tensor(["conv1.weight", "x"], np.array([3, 4, 5]), norms)
    write_events(folder / "exp1" / "adam_debug", [event(5, [around])])
    write_events(folder / "exp1", [scalar_event(1, {"loss/train": 0.5})])
    content = plain.content().replace(b'"version":%d' % schema.VERSION, b'"version":99')
    statistics = step_tensors(plain, 1)[0]
    newer = schema.TaggedTensor("adam_debug/statistics/abc", statistics.tensor, content)
    write_events(folder / "exp2" / "adam_debug", [event(1, [newer])])
    return PluginClient(folder)


def assert_same_shape(example: Any, found: Any, where: str) -> None:
    """Compare keys and types; of lists, every element with the example's first."""
    if isinstance(example, dict):
        assert isinstance(found, dict), where
        if where.endswith(".options"):
            return
        assert list(found) == list(example), where
        for key in example:
            assert_same_shape(example[key], found[key], f"{where}.{key}")
    elif isinstance(example, list):
        assert isinstance(found, list), where
        assert bool(found) == bool(example) or where.endswith("undefined"), where
        for i, element in enumerate(found):
            assert_same_shape(example[0], element, f"{where}[{i}]")
    else:
        assert type(found) is type(example), where


def test_every_route_is_documented_and_every_documented_route_exists(
    client: PluginClient,
) -> None:
    documented = {re.split(r"[?/]", title)[0] for title in sections()}
    assert documented == {path.split("/")[1] for path in client.plugin.get_plugin_apps()}


@pytest.mark.parametrize("route", ["summary", "revision"])
def test_json_answers_look_like_the_example(client: PluginClient, route: str) -> None:
    found = re.search(r"```json\n(.*?)```|JSON `({.*?})`", section(route), re.DOTALL)
    assert found is not None
    assert_same_shape(json.loads(found[1] or found[2]), client.json(route), route)


@pytest.mark.parametrize("route", QUERIES)
def test_packed_answers_hold_the_documented_arrays_and_fields(
    client: PluginClient, route: str
) -> None:
    text = section(route)
    header, arrays = client.packed(route, **QUERIES[route])
    assert set(header) == header_fields(text)

    documented = {n.replace("<quantity>", "exp_avg"): a for n, a in tables(text).items()}
    assert documented
    assert set(arrays) == set(documented)
    sizes: dict[str, int] = {}
    for name, array in arrays.items():
        assert array.dtype == np.dtype(documented[name].dtype), name
        symbols = documented[name].shape.split(", ")
        assert len(symbols) == array.ndim, name
        for symbol, size in zip(symbols, array.shape, strict=True):
            if symbol.isdigit():
                assert size == int(symbol)
            elif " + 1" in symbol:
                assert size == sizes[symbol.replace(" + 1", "")] + 1
            else:
                assert sizes.setdefault(symbol, size) == size, f"{name}: {symbol}"


@pytest.mark.parametrize("route", QUERIES)
def test_the_documented_query_is_what_the_route_takes(client: PluginClient, route: str) -> None:
    title = next(title for title in sections() if title.startswith(f"{route}?"))
    documented = re.findall(r"(\w+)=", title)
    assert set(QUERIES[route]) <= set(documented)
    answer = client.get(route, **QUERIES[route], nonsense="1")
    assert answer.status_code == 400
    assert answer.text.endswith(f"expected {', '.join(documented)}")


@pytest.mark.parametrize(
    ("route", "default", "largest"),
    [("overview", 1024, 4096), ("gradient_norms", 1024, 4096), ("histograms", 256, 2000)],
)
def test_the_documented_limits_of_columns_hold(
    client: PluginClient, route: str, default: int, largest: int
) -> None:
    text = " ".join(section(route).split())
    assert f"`columns` (1 to {largest})" in text
    assert re.search(rf"\b{default}\b", text)
    accepted = client.get(route, **(QUERIES[route] | {"columns": largest}))
    refused = client.get(route, **(QUERIES[route] | {"columns": largest + 1}))
    assert (accepted.status_code, refused.status_code) == (200, 400)
