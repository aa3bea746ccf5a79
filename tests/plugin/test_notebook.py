"""A run in a notebook: it shows itself, and hands its numbers to pandas and matplotlib."""

from __future__ import annotations

import base64
import re
import struct
import sys
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from generated_logs import write_run
from generated_runs import Run as Made
from synthetic_runs import changed, column, make_run, statistic, without, without_column

from tb_adam_plugin.diagnosis.diagnose import diagnose
from tb_adam_plugin.diagnosis.engine.recorded_run import RecordedRun
from tb_adam_plugin.notebook.pictures import MOST_ROWS, _coloured
from tb_adam_plugin.notebook.show import page_of, picture_of
from tb_adam_plugin.run_data import Run, load_runs

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<script>alert(1)</script>&\"'\x1b[2J"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("logs")
    write_run(folder / "exp", Made(steps=160, spike_at=150))
    (found,) = load_runs(folder)
    return found


def pixels_of(svg: str) -> Any:
    """The heat map of a picture, uint8 [rows, columns, 4]."""
    encoded = re.search(r"base64,([^\"]+)", svg)
    assert encoded is not None
    data = base64.b64decode(encoded[1])
    width, height = struct.unpack(">II", data[16:24])
    place = data.index(b"IDAT")
    (size,) = struct.unpack(">I", data[place - 4 : place])
    lines = np.frombuffer(zlib.decompress(data[place + 4 : place + 4 + size]), np.uint8)
    return lines.reshape(height, 1 + 4 * width)[:, 1:].reshape(height, width, 4)


def test_a_run_shows_its_loss_map_and_findings(run: Run) -> None:
    page = ElementTree.fromstring(run._repr_html_().replace("<br>", "<br/>"))
    assert page.find(f".//{SVG}polyline") is not None
    assert page.find(f".//{SVG}image") is not None
    texts = [text.text for text in page.iter(f"{SVG}text")]
    assert run.parameters[1].name in texts
    assert "step 160" in texts
    titles = ["".join(summary.itertext()) for summary in page.iter("summary")]
    assert titles == [f"{f.severity} {f.title}" for f in run.findings()]
    assert titles
    assert repr(run) == "Run('exp', 28 parameters, last step 160)"


def test_the_picture_alone_is_svg(run: Run) -> None:
    picture = ElementTree.fromstring(run._repr_svg_())
    assert picture.tag == f"{SVG}svg"
    assert picture.get("aria-label") == "Loss and update-to-weight ratios of run exp"


def test_it_speaks_the_language_of_the_environment(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADAM_DEBUG_LANG", "zh_CN")
    assert run._repr_html_().startswith('<div lang="zh">')


def test_each_record_lasts_to_the_next_on_the_axis_of_the_loss() -> None:
    made = changed(
        statistic("update_to_weight_ratio", 1e-6),
        statistic("update_to_weight_ratio", 0.5, from_step=250),
        statistic("update_to_weight_ratio", np.nan, of=["head.weight"]),
    )
    pixels = pixels_of(picture_of(made, "en"))
    assert pixels.shape[0] == len(made.names)
    small, large = pixels[0, 0], pixels[0, -1]
    changes = np.flatnonzero((np.diff(pixels[0].astype(int), axis=0) != 0).any(axis=1))
    assert changes.tolist() == pytest.approx([pixels.shape[1] / 2], abs=4)
    assert small[2] > small[0]  # blue
    assert large[0] > large[2]  # red
    assert not pixels[-1, :, 3].any()  # nothing is known


def texts_at(picture: str) -> list[tuple[str | None, str | None, str | None]]:
    root = ElementTree.fromstring(picture)
    return [(text.get("x"), text.get("y"), text.text) for text in root.iter(f"{SVG}text")]


def test_the_loss_has_the_axis_of_the_map_where_it_stops_being_finite() -> None:
    nan = changed(
        column("loss_is_nan", lambda t: np.where(t >= 250, 1.0, 0.0)),
        column("loss", np.nan, from_step=250),
    )
    picture = picture_of(nan, "en")
    texts = texts_at(picture)
    assert [text for *_, text in texts].count("step 500") == 2
    assert "the loss is not finite from step 250 on" in [text for *_, text in texts]
    root = ElementTree.fromstring(picture)
    line = root.find(f".//{SVG}polyline")
    (shade,) = root.iter(f"{SVG}rect")
    assert line is not None
    ends = float((line.get("points") or "").split()[-1].split(",")[0])
    assert ends == pytest.approx(200 + 510 / 2, abs=3)
    assert float(shade.get("x") or 0) == pytest.approx(ends, abs=3)
    assert float(shade.get("x") or 0) + float(shade.get("width") or 0) == pytest.approx(710, abs=1)
    assert "第 250 步起不是有限值" in picture_of(nan, "zh")


def test_single_losses_that_are_not_finite_are_marked_and_counted() -> None:
    once = changed(column("loss", np.inf, from_step=100, to_step=101))
    picture = picture_of(once, "en")
    assert "not finite at 2 steps, first at step 100" in picture
    assert len([*ElementTree.fromstring(picture).iter(f"{SVG}rect")]) == 1
    assert "<rect" not in picture_of(changed(), "en")


def test_a_loss_that_is_never_finite_is_marked_alone() -> None:
    lost = changed(column("loss_is_nan", 1.0), column("loss", np.nan))
    picture = picture_of(lost, "en")
    assert "<polyline" not in picture
    assert "the loss is not finite from step 1 on" in picture


def test_colours_turn_where_the_tab_s_do() -> None:
    ratios = np.array([[0.0, 1e-6, 1e-3, 0.316, 10.0, np.inf, np.nan]], np.float32)
    colours = _coloured(ratios)[0]
    assert colours[0].tolist() == colours[1].tolist() == [0x00, 0x12, 0x61, 255]
    assert colours[2].tolist() == colours[5].tolist() == [0xEC, 0xE5, 0xE0, 255]
    assert np.abs(colours[3].astype(int) - colours[4]).max() <= 2
    assert colours[6, 3] == 0


def test_of_many_tensors_some_are_shown_and_that_is_said() -> None:
    made = make_run(last=40)
    many = replace(
        made,
        parameters=tuple(replace(made.parameters[0], name=f"p{i}") for i in range(100)),
        statistics={"update_to_weight_ratio": np.full((made.step.size, 100), 1e-3, np.float32)},
    )
    picture = picture_of(many, "en")
    assert pixels_of(picture).shape[0] == MOST_ROWS
    assert f"update / weight, {MOST_ROWS} of 100 tensors" in picture


@pytest.mark.parametrize(
    "made",
    [
        changed(without_column("loss")),
        changed(column("loss", np.nan)),
        changed(without("update_to_weight_ratio")),
        replace(changed(), every_step={}),
        make_run(last=1),
    ],
)
def test_whatever_is_missing_is_left_out(made: RecordedRun) -> None:
    page = page_of(made, diagnose(made).findings, "en")
    ElementTree.fromstring(page.replace("<br>", "<br/>"))


def test_names_are_harmless() -> None:
    made = changed(column("loss", 50.0, from_step=30))
    named = replace(
        made,
        name=HOSTILE,
        parameters=(replace(made.parameters[0], name=HOSTILE), *made.parameters[1:]),
    )
    page = page_of(named, diagnose(named).findings, "en")
    assert "<script" not in page
    assert "\x1b" not in page
    ElementTree.fromstring(page.replace("<br>", "<br/>"))


# --- other libraries ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "ask", "said"),
    [
        ("pandas", lambda run: run.to_pandas(), r"to_pandas\(\) needs pandas: pip install pandas"),
        ("matplotlib.pyplot", lambda run: run.plot(), r"plot\(\) needs matplotlib: pip install"),
    ],
)
def test_what_is_not_installed_is_named(
    run: Run, monkeypatch: pytest.MonkeyPatch, module: str, ask: Any, said: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=said):
        ask(run)


def test_pandas_gets_a_statistic_by_step_and_parameter(run: Run) -> None:
    pandas = pytest.importorskip("pandas")
    table = run.to_pandas("update_rms")
    assert isinstance(table, pandas.DataFrame)
    assert table.index.tolist() == run.steps.tolist()
    assert table.index.name == "step"
    assert list(table.columns) == [parameter.name for parameter in run.parameters]
    np.testing.assert_array_equal(table.to_numpy(), run.statistic("update_rms"))
    with pytest.raises(KeyError, match="no statistic 'nothing'"):
        run.to_pandas("nothing")


def test_pandas_gets_the_scalars_of_every_step(run: Run) -> None:
    pytest.importorskip("pandas")
    table = run.to_pandas()
    assert len(table) == 160
    np.testing.assert_array_equal(table["loss"], run.every_step()["loss"])
    assert "step" not in table.columns


class Axes:
    """Notes what is drawn, as matplotlib's axes would draw it."""

    def __init__(self) -> None:
        self.lines: dict[str, Any] = {}
        self.said: dict[str, Any] = {}

    def plot(self, x: Any, y: Any, label: str, linewidth: float) -> None:
        self.lines[label] = (x, y)

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **options: self.said.update({name: args})


def test_a_line_is_drawn_for_each_parameter(run: Run) -> None:
    axes: Any = Axes()
    name = run.parameters[3].name
    assert run.plot("gradient_rms", [name], ax=axes) is axes
    ((steps, values),) = axes.lines.values()
    assert steps.tolist() == run.steps.tolist()
    np.testing.assert_array_equal(values, run.statistic("gradient_rms")[:, 3])
    assert axes.said["set_ylabel"] == ("gradient RMS",)
    assert axes.said["set_yscale"] == ("log",)
    matrices: Any = Axes()
    run.plot("epsilon_fraction", ax=matrices)
    assert set(matrices.lines) == {p.name for p in run.parameters if len(p.shape) > 1} - {
        "transformer.wte.weight"
    }
    assert "set_yscale" not in matrices.said
    for wrong in ({"statistic": "nothing"}, {"parameters": ["nothing"]}):
        with pytest.raises(KeyError, match="nothing"):
            run.plot(**wrong)


def test_matplotlib_draws_it(run: Run, tmp_path: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    axes = run.plot()
    axes.figure.savefig(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000
    assert axes.get_yscale() == "log"
