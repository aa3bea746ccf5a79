"""Runs that jump between records, are damaged, newer, partly NaN or go backwards."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from event_files import event, make_layout, scalar_event, step_tensors, write_events
from event_files import write_run as write_made_up_run
from generated_logs import write_run
from generated_runs import Run
from in_process import unpack
from playwright.sync_api import Browser, expect
from tab_actions import (
    BETWEEN_RECORDS,
    INK,
    SAVE_MENUS,
    SPIKED_LAYER,
    choose_statistic,
    download,
    number_of,
    save_picture,
)
from tab_page import open_tab
from tab_runs import (
    ATTENTION,
    EMBEDDING,
    MAGENTA,
    SPIKE,
    STEPS,
    logged_value,
    share_of,
    wait_for_runs,
)
from tensorboard_process import TensorBoard, running_tensorboard

from tb_adam_plugin import schema

pytest_plugins = ["tab_fixtures"]


def test_heat_map_has_a_table(browser: Browser, odd_folder: TensorBoard) -> None:
    link = {"run": "jumped/adam_debug", "runs": "jumped%2Fadam_debug"}
    with open_tab(browser, odd_folder.url, link) as tab:
        tab.locate('button[aria-label="Heat map as a table"]').click()
        expect(tab.locate(".heat-rows canvas")).to_have_count(0)
        jump = tab.locate('table[aria-label="Jumps of the gradient"] tbody tr')
        expect(jump).to_have_count(1)
        assert jump.locator("td").first.inner_text() == str(BETWEEN_RECORDS)
        row = tab.locate(
            'table[aria-label="update / weight of jumped"] tbody tr', has_text=EMBEDDING
        )
        name = "update_to_weight_ratio"
        cells = row.locator("td").all_inner_texts()
        last = logged_value(odd_folder, "jumped/adam_debug", EMBEDDING, name, STEPS)
        assert float(cells[0]) == pytest.approx(last, rel=6e-3)
        assert float(cells[1]) <= float(cells[0]) <= float(cells[2])
        save_picture(tab, "tables")
        jump.locator("button").click()
        tab.shows(".step-panel h3", f"At step {BETWEEN_RECORDS}")
        tab.shows(".detail .crumb", "h / 1 / mlp / c_proj / weight")
        tab.locate('button[aria-label="Heat map as a table"]').click()
        expect(tab.locate(".heat-rows canvas")).to_have_count(1)


@pytest.fixture(scope="module")
def odd_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TensorBoard]:
    """Runs with something wrong, or hard to find, in them."""
    folder = tmp_path_factory.mktemp("odd")
    layout = make_layout()
    write_run(folder / "one_layer", Run(steps=STEPS, spike_at=SPIKE, spike_in=SPIKED_LAYER))
    write_run(
        folder / "jumped",
        Run(steps=STEPS, spike_at=BETWEEN_RECORDS, spike_in=SPIKED_LAYER, follow_spike=True),
    )
    write_run(folder / "between", Run(parameters=4, steps=STEPS, spike_at=BETWEEN_RECORDS))
    statistics = step_tensors(layout, 1)[0]
    newer = layout.content().replace(b'"version":%d' % schema.VERSION, b'"version":99')
    tensors = [schema.TaggedTensor("adam_debug/statistics/abc", statistics.tensor, newer)]
    write_events(folder / "newer" / "adam_debug", [event(1, tensors)])
    nothing = np.full_like(statistics.tensor, np.nan)
    write_events(
        folder / "all_nan" / "adam_debug",
        [
            event(t, [schema.statistics_tensor(layout, nothing), *step_tensors(layout, t)[1:]])
            for t in range(1, 6)
        ],
    )
    write_made_up_run(folder / "half" / "adam_debug", range(1, 6), layout)
    (half,) = (folder / "half" / "adam_debug").glob("events*")
    half.write_bytes(half.read_bytes()[:-40])
    backwards = [
        event(t, step_tensors(layout, t), 1.7e9 + i) for i, t in enumerate([1, 2, 3, 2, 3])
    ]
    write_events(folder / "backwards" / "adam_debug", backwards)
    write_made_up_run(folder / "other" / "adam_debug", range(1, 4), make_layout(["only.here"]))
    write_events(folder / "nothing_of_ours", [scalar_event(1, {"loss": 0.5})])
    with running_tensorboard(folder) as process:
        wait_for_runs(process, 7)
        yield process


def test_spike_in_one_layer_is_found_from_the_picture(
    browser: Browser, odd_folder: TensorBoard
) -> None:
    link = {"run": "one_layer/adam_debug", "runs": "one_layer%2Fadam_debug"}
    with open_tab(browser, odd_folder.url, link) as tab:
        tab.locate('select[aria-label="Order of the rows"]').select_option("anomaly")
        expect(tab.locate(".tree-row").first).to_have_attribute("title", SPIKED_LAYER)
        tab.click_cell(SPIKED_LAYER, share_of(SPIKE))
        tab.shows(".step-panel h3", f"At step {SPIKE}")
        save_picture(tab, "one_layer")


def test_spike_between_records_reaches_the_top_of_the_strip(
    browser: Browser, odd_folder: TensorBoard
) -> None:
    with open_tab(browser, odd_folder.url, {"run": "between/adam_debug"}) as tab:
        strip = tab.locate(".strip canvas").nth(1)
        box = strip.bounding_box()
        assert box is not None
        x = share_of(BETWEEN_RECORDS) * box["width"]
        empty = tab.pixel(strip, x - 60, 6)
        assert any(tab.pixel(strip, x + dx, 6) != empty for dx in (-2, -1, 0, 1, 2))
        assert tab.pixel(strip, x + 60, 6) == empty


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_jump_between_records_is_marked_and_leads_to_its_step(
    browser: Browser, odd_folder: TensorBoard, theme: str
) -> None:
    link = {"run": "jumped/adam_debug", "runs": "jumped%2Fadam_debug", "open": "transformer"}
    with open_tab(browser, odd_folder.url, link) as tab:
        if theme == "dark":
            tab.page.evaluate("document.body.classList.add('dark-mode')")
            expect(tab.locate("html")).to_have_class("dark")
        ink = INK[theme]
        row = "transformer.h.1"
        expect(tab.row(row)).to_have_attribute("aria-expanded", "false")
        at = share_of(BETWEEN_RECORDS)
        frame, words = tab.cells(row, at, range(-5, 6)), tab.cells(row, at, range(-120, -8))
        assert ink in frame[:4], frame
        assert ink in frame[-4:], frame
        assert ink in words, "what jumped is written"
        assert ink not in tab.cells("transformer.h.0", at, range(-5, 6))
        save_picture(tab, f"jump-{theme}")

        tab.click_cell(row, at)
        tab.shows(".tip", SPIKED_LAYER)
        tab.shows(".tip", "of this tensor alone")
        tab.shows(".tip", re.compile("×(2[4-9]|3[0-6])"))  # thirtyfold, but for the noise
        tab.shows(".step-panel h3", f"At step {BETWEEN_RECORDS}")
        tab.shows(".detail .crumb", "h / 1 / mlp / c_proj / weight")
        norms = unpack(
            odd_folder.ask(f"gradient_norms?run=jumped%2Fadam_debug&parameter={SPIKED_LAYER}").body
        )[1]
        peak = float(norms["values"][0, -1])
        filled = re.compile(r"\d")  # a dash until the answer is here
        cell = tab.locate('tr[data-statistic="gradient_rms"] td').first
        expect(cell).to_contain_text(filled)
        assert number_of(tab.number("gradient_rms")) == pytest.approx(peak, rel=1e-3)

        choose_statistic(tab, "gradient RMS")
        tab.page.mouse.move(5, 990)
        lines = tab.locate(".lines canvas").last
        size = lines.bounding_box()
        assert size is not None
        x = 46 + at * (size["width"] - 58)
        column = [(dx, y) for dx in (-2, 2) for y in range(2, 40)]
        dot = set(tab.pixels(lines, [(x + dx, y) for dx, y in column]))
        usual = set(tab.pixels(lines, [(x - 60 + dx, y) for dx, y in column]))
        assert dot - usual, "a dot at the highest step"
        with download(tab, tab.locate(SAVE_MENUS[1]), "CSV").open(newline="") as rows:
            saved = {int(r["step"]): r for r in csv.DictReader(rows) if r["run"] == "jumped"}
        assert np.float32(saved[BETWEEN_RECORDS]["gradient_rms"]) == np.float32(peak)


def test_pinned_step_between_records_lies_at_its_time(
    browser: Browser, odd_folder: TensorBoard
) -> None:
    link = {"run": "between/adam_debug", "step": str(BETWEEN_RECORDS), "axis": "relative"}
    with open_tab(browser, odd_folder.url, link | {"runs": "between%2Fadam_debug"}) as tab:
        tab.shows(".fob", f"step {BETWEEN_RECORDS}")
        heat, line = (tab.locate(s).bounding_box() for s in (".heat", ".heat .cursor"))
        assert heat is not None
        assert line is not None
        at = (line["x"] - heat["x"]) / heat["width"]
        # The record before is 0.01 of the width away.
        assert at == pytest.approx(share_of(BETWEEN_RECORDS), abs=0.003)


def test_steps_between_records_have_columns_where_gradients_are_shown(
    browser: Browser, odd_folder: TensorBoard
) -> None:
    link = {
        "run": "jumped/adam_debug",
        "runs": "jumped%2Fadam_debug",
        "metric": "gradient_rms",
        "range": "141,153",
    }
    with open_tab(browser, odd_folder.url, link) as tab:
        tab.locate('button[aria-label="Expand all modules"]').click()
        colours = [tab.cell(ATTENTION, (step - 141) / 12) for step in range(141, 150)]
        assert len(set(colours)) > 6, "one colour a step, not one a record"
        with download(tab, tab.locate(SAVE_MENUS[0]), "CSV").open(newline="") as rows:
            header = next(csv.reader(rows))
        assert header[3:] == [str(step) for step in range(141, 154)]


def test_jump_and_its_finding_are_shown_under_the_python_loader(
    browser: Browser, tmp_path: Path
) -> None:
    spiked = Run(steps=STEPS, spike_at=BETWEEN_RECORDS, spike_in=SPIKED_LAYER, follow_spike=True)
    write_run(tmp_path / "jumped", spiked)
    with running_tensorboard(tmp_path, "--load_fast=false") as process:
        wait_for_runs(process, 1)
        link = {"run": "jumped/adam_debug", "open": "transformer"}
        with open_tab(browser, process.url, link) as tab:
            row, at = "transformer.h.1", share_of(BETWEEN_RECORDS)
            expect(tab.row(row)).to_have_attribute("aria-expanded", "false")
            assert INK["light"] in tab.cells(row, at, range(-120, -8)), "what jumped is written"
            tab.locate(".finding", has_text="Gradient spike").first.click()
            tab.shows(".step-panel h3", f"At step {BETWEEN_RECORDS}")
            tab.locate(".compass").wait_for()


def test_list_of_runs_says_where_the_gradient_jumped(
    browser: Browser, odd_folder: TensorBoard
) -> None:
    with open_tab(browser, odd_folder.url, {"run": "half/adam_debug"}) as tab:
        expect(
            tab.locate('.run:has([aria-label="The gradient norm jumped or was not finite"])')
        ).to_have_count(1)
        expect(tab.locate(".run", has_text="jumped").locator(".jumped")).to_have_count(1)


def test_newer_version_is_said_and_the_other_runs_are_shown(
    browser: Browser, odd_folder: TensorBoard
) -> None:
    with open_tab(browser, odd_folder.url, {"run": "half/adam_debug"}) as tab:
        expect(tab.locate(".banner", has_text="Run newer/adam_debug")).to_have_count(1)
        tab.shows(".overview .sub", "4 logged steps")


def test_run_that_logged_only_nan_is_magenta_and_in_words(
    browser: Browser, odd_folder: TensorBoard
) -> None:
    link = {"run": "all_nan/adam_debug", "runs": "all_nan%2Fadam_debug"}
    with open_tab(browser, odd_folder.url, link) as tab:
        assert tab.cell("conv1.weight", 0.5) == MAGENTA
        assert tab.number("update_rms").split() == ["NaN"]
        for order in ("latest", "anomaly"):
            tab.locate('select[aria-label="Order of the rows"]').select_option(order)
            expect(tab.locate(".tree-row")).to_have_count(2)


def test_steps_that_go_backwards_are_shown_once_each(
    browser: Browser, odd_folder: TensorBoard
) -> None:
    with open_tab(browser, odd_folder.url, {"run": "backwards/adam_debug"}) as tab:
        tab.shows(".overview .sub", "3 logged steps")
        for axis in ("Relative", "Wall", "Step"):
            tab.locate(".choice button", has_text=axis).click()
            expect(tab.locate(".heat-rows canvas")).to_be_visible()


def test_tensor_of_one_run_only_is_missing_in_words(
    browser: Browser, odd_folder: TensorBoard
) -> None:
    link = {
        "run": "other/adam_debug",
        "runs": "other%2Fadam_debug,half%2Fadam_debug",
        "ref": "half/adam_debug",
        "against": "1",
    }
    with open_tab(browser, odd_folder.url, link) as tab:
        expect(tab.locate(".step-panel .without")).to_have_text("1 checked run has no such tensor")
        expect(tab.locate(".step-panel th[data-run]")).to_have_count(1)
        tab.shows(".overview .hint", "half has no value of update / weight at these steps")
