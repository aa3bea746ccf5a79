"""Runs that are compared with each other."""

from __future__ import annotations

import csv
import re

import pytest
from playwright.sync_api import Browser, expect
from tab_actions import BOTH, SAVE_MENUS, download, preferences, save_picture, tab_colours
from tab_page import open_tab
from tab_runs import EMBEDDING, NOT_UPDATED, STEPS, logged_value, share_of
from tensorboard_process import TensorBoard

pytest_plugins = ["tab_fixtures"]


def test_numbers_are_compared_with_a_reference_run(
    browser: Browser, tensorboard: TensorBoard
) -> None:
    with open_tab(browser, tensorboard.url, BOTH) as tab:
        tab.locate(".run", has_text="plain").hover()
        tab.locate('button[aria-label="Compare with plain"]').click()
        tab.shows(".step-panel h3", "compared with plain")
        cell = tab.locate('tr[data-statistic="update_rms"] td').first
        ours, theirs = (
            logged_value(tensorboard, f"{run}/adam_debug", EMBEDDING, "update_rms", STEPS)
            for run in ("spiked", "plain")
        )
        shown = cell.locator("small").inner_text()
        factor = float(shown[1:]) if shown[0] == "×" else 1 / float(shown[1:])
        assert factor == pytest.approx(ours / theirs, rel=0.06)
        fraction = tab.locate('tr[data-statistic="zero_gradient_fraction"] td small').first
        expect(fraction).to_have_text("=")


def test_heat_map_is_coloured_by_the_ratio_to_the_reference(
    browser: Browser, tensorboard: TensorBoard
) -> None:
    link = {**BOTH, "ref": "plain/adam_debug", "metric": "weight_rms"}
    with open_tab(browser, tensorboard.url, link) as tab:
        tab.locate(".toggle").click()
        tab.shows(".overview .sub", "÷ plain")
        tab.locate('button[aria-label="Expand all modules"]').click()
        same = tab.cell(NOT_UPDATED, 0.5)
        assert same.is_grey, f"equal weights have the colour of the middle, not {same}"
        tab.locate("button", has_text="Update / weight").first.click()
        tab.shows(".overview h2", "Update / weight")
        more = tab.cell(EMBEDDING, share_of(100))
        assert more.red > more.blue + 60, "the learning rate is twenty times as high"
        tab.click_cell(EMBEDDING, share_of(100))
        expect(tab.row(EMBEDDING)).to_have_class(re.compile("selected"))
        assert "against=1" in tab.page.url


def test_histograms_of_all_checked_runs_are_drawn_beside_each_other(
    browser: Browser, tensorboard: TensorBoard
) -> None:
    with open_tab(browser, tensorboard.url, BOTH) as tab:
        panel = tab.locate('section[aria-label="Histograms of update"]')
        expect(panel.locator("canvas")).to_have_count(1)
        tab.locate('button[aria-label="Histograms of all checked runs"]').click()
        expect(panel.locator("canvas")).to_have_count(2)
        expect(panel.locator(".plot-run")).to_have_text(["spiked", "plain"])
        label = re.compile("over 11 logged histograms of plain")
        expect(panel.locator("canvas").nth(1)).to_have_attribute("aria-label", label)
        save_picture(tab, "histograms-of-all-runs")
        for canvas in panel.locator("canvas").all():
            assert tab_colours(canvas) > 10
        with download(tab, tab.locate(SAVE_MENUS[2]), "CSV").open(newline="") as lines:
            assert {row["run"] for row in csv.DictReader(lines)} == {"spiked", "plain"}
        assert preferences(tab)["allRuns"] is True
