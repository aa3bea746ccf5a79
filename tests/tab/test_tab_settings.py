"""The optimizer's settings over time, and settings of the tab that the browser keeps."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Browser, expect
from tab_actions import BOTH, open_settings, picture, preferences
from tab_page import Tab, open_tab
from tab_runs import ATTENTION, STEPS, share_of
from tensorboard_process import TensorBoard

pytest_plugins = ["tab_fixtures"]


def test_optimizer_over_time(tab: Tab) -> None:
    tab.locate(".optimizer button", has_text="Over time").click()
    card = tab.locate(".optimizer-card")
    expect(card.locator("canvas")).to_have_count(1)  # only the learning rate changes
    expect(card).to_contain_text("learning rate")
    expect(card.locator("details").first).to_contain_text("weight decay 0.1")
    card.locator("summary", has_text="Group 1").click()
    card.locator("button", has_text="transformer.h.0.ln_1.weight").click()
    tab.shows(".detail .crumb", "transformer / h / 0 / ln_1 / weight")
    card.locator("summary", has_text="Frozen").click()
    expect(card).to_contain_text("frozen.weight")


def test_settings_are_kept_in_the_browser_and_not_in_the_link(tab: Tab) -> None:
    pane = open_settings(tab)
    sections = ["General", "Overview", "Distributions", "Refresh"]
    expect(pane.locator("h4")).to_have_text(sections, ignore_case=True)
    tab.shows(".lines h3 small", "healthy, 3e-4 to 4e-2")  # of an embedding
    low, high = (pane.locator(".pair input").nth(i) for i in range(2))
    low.fill("1e-5")
    low.press("Enter")
    expect(pane.locator('[role="alert"]')).to_be_visible()  # half a range
    high.fill("3e-3")
    high.press("Enter")
    tab.shows(".lines h3 small", "healthy, 1e-5 to 3e-3")
    low.fill("5")
    low.press("Enter")
    expect(pane.locator('[role="alert"]')).to_be_visible()
    tab.shows(".lines h3 small", "healthy, 1e-5 to 3e-3")
    kept = json.loads(
        tab.locate("body").evaluate("() => localStorage.getItem('adam_debug.preferences')")
    )
    assert kept["healthyRange"] == [1e-5, 3e-3]
    assert "1e-5" not in tab.page.url
    pane.locator("button", has_text="Reset to defaults").click()
    tab.shows(".lines h3 small", "healthy, 3e-4 to 4e-2")


def test_default_chart_and_linear_part_of_histograms_are_settings(tab: Tab) -> None:
    panels = tab.locate('section[aria-label^="Histograms of"] canvas')
    panels.first.wait_for()
    pane = open_settings(tab)
    chart = pane.locator("label", has_text="Default chart").locator("select")
    assert chart.locator("option").all_inner_texts()[:2] == ["By quantity", "Ridgeline"]
    for kind in ("single", "bands"):
        chart.select_option(kind)
        label = {"single": "Single step of", "bands": "Percentile bands of"}[kind]
        for panel in panels.all():
            expect(panel).to_have_attribute("aria-label", re.compile(label))
    linear = pane.locator("label", has_text="Linear below")
    expect(linear.locator("output")).to_have_text("Auto")
    before = picture(panels.first)
    linear.locator("input").fill("-9")
    expect(linear.locator("output")).to_have_text("1e-9")
    assert picture(panels.first) != before
    kept = preferences(tab)
    assert (kept["defaultChart"], kept["linearBelow"]) == ("bands", 1e-9)
    assert "1e-9" not in tab.page.url
    assert "bands" not in tab.page.url
    tab.locate('button[aria-label="Close settings"]').click()
    expect(open_settings(tab).locator("h4")).to_have_count(4)


def test_settings_of_lines_cursor_and_tooltip(browser: Browser, tensorboard: TensorBoard) -> None:
    with open_tab(browser, tensorboard.url, BOTH) as tab:
        lines = tab.locate(".lines canvas").first
        plot = tab.locate(".lines-plot").bounding_box()
        assert plot is not None
        over = (plot["x"] + 46 + share_of(100) * (plot["width"] - 58), plot["y"] + 40)
        pane = open_settings(tab)
        tab.page.wait_for_timeout(300)

        smoothed = picture(lines)
        pane.locator("label", has_text="Smoothing").locator("input").fill("0")
        assert picture(lines) != smoothed
        plot = tab.locate(".lines-plot").bounding_box()  # narrower beside the settings
        assert plot is not None
        over = (plot["x"] + 46 + share_of(100) * (plot["width"] - 58), plot["y"] + 40)
        sorting = pane.locator("label", has_text="Tooltip sorting method").locator("select")
        orders = []
        for order in ("ascending", "descending"):
            sorting.select_option(order)
            tab.page.mouse.move(*over)
            expect(tab.locate(".lines-tip thead")).not_to_contain_text("Smoothed")
            orders.append(tab.locate(".lines-tip tbody td:nth-child(2)").all_inner_texts())
            tab.page.mouse.move(5, 5)
        assert orders == [["plain", "spiked"], ["spiked", "plain"]]

        whole = picture(lines)
        pane.locator("label", has_text="Ignore outliers in chart scaling").click()
        assert picture(lines) != whole
        on_log = picture(lines)
        scale = pane.locator("label", has_text="Value axis of lines").locator("select")
        scale.select_option("linear")
        tab.shows(".lines h3 small", "linear scale")
        assert picture(lines) != on_log

        tab.page.mouse.move(*over)
        tab.shows(".fob", "step 100")
        tab.page.mouse.move(5, 5)
        pane.locator("label", has_text="Link the step cursor across charts").click()
        tab.page.mouse.move(*over)
        expect(tab.locate(".lines-tip")).to_be_visible()
        tab.shows(".fob", f"step {STEPS}")


def test_settings_of_overview_and_refresh(tab: Tab) -> None:
    pane = open_settings(tab)
    axis = pane.locator("label", has_text="Horizontal axis").locator("select")
    axis.select_option("relative")
    tab.shows(".fob", "step 200 · ")
    axis.select_option("step")
    pane.locator("label", has_text="Row order").locator("select").select_option("latest")
    expect(tab.row("transformer")).to_have_count(0)
    heat = tab.locate(".heat-rows canvas")
    before = picture(heat)
    low = pane.locator('input[aria-label="Colour range of update / weight, from"]')
    low.fill("1e-4")
    low.press("Enter")
    assert picture(heat) != before
    colours = pane.locator("label", has_text="Colour by").locator("select")
    colours.select_option("weight_rms")
    tab.shows(".overview h2", "Weight RMS")
    pane.locator("label", has_text="Look for new data").click()
    pane.locator("label", has_text="Follow TensorBoard").click()
    kept = preferences(tab)
    assert (kept["pollSeconds"], kept["followReload"]) == (0, False)
    assert kept["colourRange"] == pytest.approx([1e-4, 10**-0.5], rel=1e-3)


def test_update_of_a_weight_that_was_zero_is_no_alarm(tab: Tab) -> None:
    expect(tab.locate(".swatches", has_text="weight was 0")).to_have_count(1)
    bias = ATTENTION.replace("weight", "bias")
    first = [tab.cell(bias, 0, dy) for dy in range(-6, 7)]
    assert all(pixel.is_grey for pixel in first), first
    assert len(set(first)) > 1, "lines, not the grey of what was not logged"
    tab.click_cell(bias, 0)
    tab.shows(".step-panel h3", "At step 1")
    expect(tab.locate('tr[data-statistic="update_to_weight_ratio"] td').first).to_have_text(
        re.compile("weight was 0")
    )
    expect(tab.locate('tr[data-statistic="update_to_weight_ratio"] td.hot')).to_have_count(0)
