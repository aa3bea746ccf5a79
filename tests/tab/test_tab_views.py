"""What a user can change in the tab, and take out of it: one test for each thing to click."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from event_files import event, make_layout, scalar_event, step_tensors, write_events
from event_files import write_run as write_made_up_run
from generated_logs import Run, write_run
from in_process import unpack
from playwright.sync_api import Browser, Locator, Page, Route, expect
from tab_page import Tab, open_tab
from tab_runs import (
    ATTENTION,
    EMBEDDING,
    MAGENTA,
    NOT_UPDATED,
    SPIKE,
    STEPS,
    logged_value,
    share_of,
    wait_for_runs,
)
from tensorboard_process import TensorBoard, running_tensorboard

from tb_adam_plugin import schema

pytest_plugins = ["tab_fixtures"]

SPIKED_LAYER = "transformer.h.1.mlp.c_proj.weight"
BETWEEN_RECORDS = 152  # recorded is every fifth step
BOTH = {"run": "spiked/adam_debug", "runs": "spiked%2Fadam_debug,plain%2Fadam_debug"}
INK = {"light": (33, 33, 33), "dark": (255, 255, 255)}  # of text
PICTURES = Path(__file__).parents[2] / "screenshots"


def number_of(text: str) -> float:
    return float(text.split()[0])


def center(box: Locator) -> tuple[float, float]:
    found = box.bounding_box()
    assert found is not None
    return found["x"] + found["width"] / 2, found["y"] + found["height"] / 2


# --- the overview -------------------------------------------------------------------------------


def test_any_statistic_can_colour_the_overview(tab: Tab) -> None:
    more = tab.locate('select[aria-label="Colour by another statistic"]')
    more.select_option("zero_gradient_fraction")
    tab.shows(".overview h2", "Gradient is zero")
    always, never = tab.cell(NOT_UPDATED, 0.5), tab.cell(EMBEDDING, 0.5)
    assert max(always) < min(never) - 60, "all of it is dark, none of it pale"
    more.select_option("update_weight_cosine")
    tab.shows(".overview h2", "Cos(update, weight)")
    tab.locate("button", has_text="Gradient").first.click()
    tab.shows(".overview h2", "Gradient RMS")
    expect(more).to_have_value("")


def test_folding_does_not_hide_the_spike(tab: Tab) -> None:
    before = tab.cell(EMBEDDING, share_of(SPIKE - 25))
    tab.locate('button[aria-label="Fold all modules"]').click()
    stripes = [tab.cell("transformer", share_of(SPIKE), dy) for dy in range(-9, 10)]
    assert max(s.red - s.blue for s in stripes) > before.red - before.blue + 20


def test_rows_can_be_ranked(tab: Tab, tensorboard: TensorBoard) -> None:
    order = tab.locate('select[aria-label="Order of the rows"]')
    order.select_option("latest")
    rows = tab.locate(".tree-row")
    expect(tab.row("transformer")).to_have_count(0)
    names = [rows.nth(i).get_attribute("title") or "" for i in range(6)]
    statistic = "update_to_weight_ratio"
    values = [logged_value(tensorboard, "spiked/adam_debug", n, statistic, STEPS) for n in names]
    assert values == sorted(values, reverse=True)
    assert "p.adam_debug.order=latest" in tab.page.url
    order.select_option("model")
    expect(tab.row("transformer")).to_have_count(1)


def visible_steps(tab: Tab) -> tuple[float, float]:
    match = re.search(r"range=([\d.]+)%2C([\d.]+)", tab.page.url)
    assert match, tab.page.url
    return float(match[1]), float(match[2])


def test_wheel_zooms_around_the_pointer_and_a_drag_with_shift_moves_along(tab: Tab) -> None:
    page = tab.page
    heat = tab.locate(".heat").bounding_box()
    assert heat is not None
    x, y = heat["x"] + 0.5 * heat["width"], heat["y"] + 90
    page.mouse.move(x, y)
    page.keyboard.down("Alt")
    for _ in range(3):
        page.mouse.wheel(0, -300)
    page.keyboard.up("Alt")
    page.wait_for_url(re.compile("range="))
    page.wait_for_timeout(300)
    first, last = visible_steps(tab)
    assert last - first < 100
    assert abs((first + last) / 2 - (1 + STEPS) / 2) < 3, "the middle stays in the middle"
    page.keyboard.down("Shift")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 0.25 * heat["width"], y, steps=4)
    page.mouse.up()
    page.keyboard.up("Shift")
    page.wait_for_timeout(300)
    earlier, later = visible_steps(tab)
    assert later - earlier == pytest.approx(last - first, rel=1e-6)
    assert first - earlier == pytest.approx(0.25 * (last - first), rel=0.1)
    axis = tab.locate(".x-axis").text_content()
    page.reload()
    expect(tab.locate(".x-axis span").first).to_be_visible(timeout=30_000)
    assert tab.locate(".x-axis").text_content() == axis
    page.mouse.dblclick(x, y)
    expect(tab.locate(".x-axis")).to_contain_text("180")
    assert "range=" not in page.url


def test_keys_zoom_at_the_pinned_step(tab: Tab) -> None:
    body = tab.locate("body")
    body.press("+")
    body.press("+")
    tab.page.wait_for_url(re.compile("range="))
    first, last = visible_steps(tab)
    assert last == STEPS, "the newest step is the pinned one"
    assert last - first == pytest.approx((STEPS - 1) / 4, rel=0.01)
    body.press("0")
    expect(tab.locate(".x-axis")).to_contain_text("20")
    assert "range=" not in tab.page.url


def test_zoomed_overview_says_so_and_leads_back(tab: Tab) -> None:
    back = tab.locate("button", has_text="Show all steps")
    expect(back).to_have_count(0)
    tab.locate("body").press("+")
    tab.page.wait_for_url(re.compile("range="))
    back.click()
    expect(tab.locate(".x-axis")).to_contain_text("20")
    expect(back).to_have_count(0)
    assert "range=" not in tab.page.url


def test_step_tag_covers_no_label_in_part(tab: Tab) -> None:
    labels = tab.locate(".x-axis span").filter(visible=True)
    heat = tab.locate(".heat").bounding_box()
    assert heat is not None
    hidden = 0
    for share in (0.1, 0.2, 0.5, 0.97):
        tab.page.mouse.move(heat["x"] + share * heat["width"], heat["y"] + 90)
        tab.page.wait_for_timeout(100)
        tag = tab.locate(".fob").bounding_box()
        boxes = [box for label in labels.all() if (box := label.bounding_box())]
        assert tag is not None
        for box in boxes:
            assert box["x"] + box["width"] <= tag["x"] or box["x"] >= tag["x"] + tag["width"]
        hidden += tab.locate(".x-axis span").count() - len(boxes)
        assert boxes
    assert hidden


def test_zeros_that_a_log_axis_cannot_show_are_explained(tab: Tab) -> None:
    note = tab.locate(".lines h3 small").first
    expect(note).to_contain_text("log scale")
    expect(note).not_to_contain_text("zero")
    tab.row(NOT_UPDATED).click()
    expect(note).to_contain_text("▼ zero")


def test_heat_map_can_fill_the_tab(tab: Tab) -> None:
    before = tab.locate(".heat-rows").bounding_box()
    tab.locate('.overview button[aria-label="Full size"]').click()
    expect(tab.locate(".detail")).to_be_hidden()
    after = tab.locate(".heat-rows").bounding_box()
    assert before is not None
    assert after is not None
    assert after["height"] > before["height"] + 100
    # Also where the legend has a line of its own, the axis is in sight without scrolling.
    tab.page.set_viewport_size({"width": 1280, "height": 700})
    tab.page.wait_for_timeout(300)
    assert tab.locate(".content").evaluate("e => e.scrollHeight <= e.clientHeight")
    tab.locate("body").press("Escape")
    expect(tab.locate(".detail")).to_be_visible()


# --- the parameter ------------------------------------------------------------------------------


def choose_statistic(tab: Tab, label: str) -> None:
    tab.locate(".lines .menu-button").click()
    tab.locate(".menu-item", has_text=re.compile(f"^\\s*{re.escape(label)}\\s*$")).click()
    tab.page.keyboard.press("Escape")
    expect(tab.locate(".menu-list")).to_have_count(0)


def test_several_statistics_have_a_chart_each(tab: Tab) -> None:
    choose_statistic(tab, "gradient RMS")
    choose_statistic(tab, "v is zero")
    expect(tab.locate(".lines canvas")).to_have_count(3)
    titles = [title.split("\n")[0] for title in tab.locate(".plot-title").all_inner_texts()]
    assert titles == ["update / weight", "gradient RMS", "v is zero"]
    for canvas in tab.locate(".lines canvas").all():
        assert tab_colours(canvas) > 3
    choose_statistic(tab, "update / weight")
    choose_statistic(tab, "v is zero")
    tab.shows(".lines .menu-button", "gradient RMS")


def tab_colours(canvas: Locator) -> int:
    return int(
        canvas.evaluate(
            """canvas => new Set(new Uint32Array(canvas.getContext('2d').getImageData(
                0, 0, canvas.width, canvas.height).data.buffer)).size"""
        )
    )


def picture(canvas: Locator) -> str:
    return str(canvas.evaluate("canvas => canvas.toDataURL()"))


def test_value_axis_of_the_lines_can_be_linear(tab: Tab) -> None:
    lines = tab.locate(".lines canvas").first
    tab.shows(".lines h3 small", "log scale")
    before = picture(lines)
    tab.locate('.lines button:text-is("Linear")').click()
    tab.shows(".lines h3 small", "linear scale")
    assert picture(lines) != before


def test_tooltip_of_the_lines_has_the_columns_of_tensorboard(
    tab: Tab, tensorboard: TensorBoard
) -> None:
    plot = tab.locate(".lines-plot").bounding_box()
    assert plot is not None
    left, right = 46, 12  # beside the data
    x = plot["x"] + left + share_of(100) * (plot["width"] - left - right)
    tab.page.mouse.move(x, plot["y"] + 40)
    header = tab.locate(".lines-tip thead").inner_text().split()
    assert header == ["Run", "Smoothed", "Value", "Step", "Time", "Relative"]
    row = tab.locate(".lines-tip tbody tr", has_text="spiked").inner_text().split("\t")
    value = logged_value(tensorboard, "spiked/adam_debug", EMBEDDING, "update_to_weight_ratio", 100)
    assert float(row[3]) == pytest.approx(value, rel=1e-3)
    assert row[4] == "100"
    assert row[6] == "24.8 s"


def test_second_moment_says_where_epsilon_takes_over(tab: Tab) -> None:
    panel = tab.locate('section[aria-label="Histograms of exp_avg_sq"]')
    expect(panel).to_contain_text("√v = ε (1e-8) is beyond the axis")
    expect(panel).to_contain_text("of the sample")


def test_pinned_tensor_stays_below_the_next(tab: Tab) -> None:
    tab.locate('button[aria-label="Pin this tensor below"]').click()
    tab.locate("body").press("j")
    tab.shows(".crumb", "transformer / ln_0 / weight")
    pinned = tab.locate(f'section[aria-label="Pinned tensor {EMBEDDING}"]')
    expect(pinned.locator(".crumb")).to_contain_text("wte")
    expect(pinned.locator(".lines canvas")).to_be_visible()
    assert "pins=transformer.wte.weight" in tab.page.url
    pinned.locator('button[aria-label="Unpin this tensor"]').click()
    expect(pinned).to_have_count(0)


def test_buttons_move_to_the_next_tensor_and_fill_the_tab(tab: Tab) -> None:
    tab.locate('button[aria-label="Next tensor"]').click()
    tab.shows(".crumb", "transformer / ln_0 / weight")
    tab.locate('button[aria-label="Previous tensor"]').click()
    tab.shows(".crumb", "transformer / wte / weight")
    before = tab.locate(".lines-plot").bounding_box()
    tab.locate('.detail button[aria-label="Full size"]').click()
    expect(tab.locate(".overview")).to_be_hidden()
    after = tab.locate(".lines-plot").bounding_box()
    assert before is not None
    assert after is not None
    assert after["height"] > before["height"] + 50
    tab.locate('.detail button[aria-label="Back to normal size"]').click()
    expect(tab.locate(".overview")).to_be_visible()


def test_smoothing_of_the_card_is_that_of_the_settings(tab: Tab) -> None:
    lines = tab.locate(".lines canvas").first
    before = picture(lines)
    tab.locate(".smoothing input").fill("0.95")
    tab.shows(".smoothing output", "0.95")
    assert picture(lines) != before
    assert preferences(tab)["smoothing"] == 0.95


# --- comparing ----------------------------------------------------------------------------------


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
        tab.locate('button[aria-label="Open all modules"]').click()
        same = tab.cell(NOT_UPDATED, 0.5)
        assert same.is_grey, f"equal weights have the colour of the middle, not {same}"
        tab.locate("button", has_text="Update / weight").first.click()
        tab.shows(".overview h2", "Update / weight")
        more = tab.cell(EMBEDDING, share_of(100))
        assert more.red > more.blue + 60, "the learning rate is twenty times as high"
        tab.click_cell(EMBEDDING, share_of(100))
        expect(tab.row(EMBEDDING)).to_have_class(re.compile("selected"))
        assert "against=1" in tab.page.url


# --- the optimizer, settings, findings ----------------------------------------------------------


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
    tab.locate('button[aria-label="Settings"]').click()
    pane = tab.locate(".settings")
    sections = pane.locator("h4").all_inner_texts()
    assert [s.lower() for s in sections] == ["general", "overview", "distributions", "refresh"]
    low = pane.locator(".pair input").first
    low.fill("1e-5")
    low.press("Enter")
    tab.shows(".lines h3 small", "healthy, 1e-5 to 3e-3")
    low.fill("5")
    low.press("Enter")
    expect(pane.locator('[role="alert"]')).to_be_visible()
    tab.shows(".lines h3 small", "healthy, 1e-5 to 3e-3")
    kept = json.loads(
        tab.locate("body").evaluate("() => localStorage.getItem('adam_debug.preferences')")
    )
    assert kept["healthyBand"] == [1e-5, 3e-3]
    assert "1e-5" not in tab.page.url
    pane.locator("button", has_text="Reset to defaults").click()
    tab.shows(".lines h3 small", "healthy, 3e-4 to 3e-3")


def open_settings(tab: Tab) -> Locator:
    tab.locate(".settings-button").click()
    pane = tab.locate(".settings")
    pane.locator("select").first.wait_for()  # it is loaded when it is first opened
    return pane


def preferences(tab: Tab) -> dict[str, object]:
    kept = tab.locate("body").evaluate("() => localStorage.getItem('adam_debug.preferences')")
    return dict(json.loads(kept))


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
    axis = pane.locator("label", has_text="Horizontal Axis").locator("select")
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


def test_histograms_of_all_checked_runs_are_drawn_beside_each_other(
    browser: Browser, tensorboard: TensorBoard
) -> None:
    with open_tab(browser, tensorboard.url, BOTH) as tab:
        panel = tab.locate('section[aria-label="Histograms of update"]')
        expect(panel.locator("canvas")).to_have_count(1)
        tab.locate('button[aria-label="Histograms of all checked runs"]').click()
        expect(panel.locator("canvas")).to_have_count(2)
        assert panel.locator(".plot-run").all_inner_texts() == ["spiked", "plain"]
        label = re.compile("over 11 logged histograms of plain")
        expect(panel.locator("canvas").nth(1)).to_have_attribute("aria-label", label)
        save_picture(tab, "histograms-of-all-runs")
        for canvas in panel.locator("canvas").all():
            assert tab_colours(canvas) > 10
        with download(tab, tab.locate(SAVE_MENUS[2]), "CSV").open(newline="") as lines:
            assert {row["run"] for row in csv.DictReader(lines)} == {"spiked", "plain"}
        assert preferences(tab)["allRuns"] is True


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


FINDINGS = [
    {
        "id": "b",
        "run": "spiked/adam_debug",
        "rule": "dead",
        "severity": "warning",
        "title": "No gradient arrives",
        "text": "The gradient is zero at every step.",
        "advice": "",
        "parameters": [NOT_UPDATED],
        "from": 1,
        "to": 200,
        "at": None,
    },
    {
        "id": "a",
        "run": "spiked/adam_debug",
        "rule": "spike",
        "severity": "error",
        "title": "The gradient spiked",
        "text": "It rose thirtyfold in one step.",
        "advice": "Clip the gradient norm to 1.",
        "parameters": [ATTENTION],
        "from": 150,
        "to": 155,
        "at": 150,
    },
]


def serve_findings(
    page: Page, findings: Sequence[object] = FINDINGS, not_evaluated: Sequence[object] = ()
) -> None:
    """Let the server have rules: what the tab makes of them is tested, not what they find."""

    def summary(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), "rules": ["spike", "dead"]})

    diagnosis = {"findings": findings, "not_evaluated": not_evaluated, "compass": None}
    page.route("**/adam_debug/summary", summary)
    page.route("**/adam_debug/findings?*", lambda r: r.fulfill(json=diagnosis))


def test_what_the_rules_found_is_shown(tab: Tab) -> None:
    spike = tab.locate(".finding", has_text="Gradient spike")
    expect(spike).to_have_count(1)
    spike.click()
    tab.shows(".step-panel h3", "At step 150")
    expect(spike).to_contain_text("Clip the gradient norm to")


def test_without_rules_there_is_no_findings_panel(
    browser: Browser, tensorboard: TensorBoard
) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.route(
            "**/adam_debug/summary",
            lambda route: route.fulfill(json={**route.fetch().json(), "rules": []}),
        )
        tab = Tab(page)
        page.goto(f"{tensorboard.url}#adam_debug&p.adam_debug.run=spiked%2Fadam_debug")
        tab.locate(".overview canvas").first.wait_for()
        expect(tab.locate(".findings-panel")).to_have_count(0)
        assert not any("findings" in response.url for response in tab.responses)


def test_where_nothing_was_found_it_says_by_how_many_rules(
    browser: Browser, tensorboard: TensorBoard
) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        skipped = {"rule": "dead", "title": "No gradient arrives", "reason": "no gradients"}
        serve_findings(page, [], [skipped])
        tab = Tab(page)
        page.goto(f"{tensorboard.url}#adam_debug&p.adam_debug.run=spiked%2Fadam_debug")
        nothing = tab.locate('section[aria-label="Findings"]')
        expect(nothing).to_have_text(re.compile("Findings.*none, by 1 of 2 rules", re.DOTALL))
        title = nothing.locator(".sub").get_attribute("title")
        assert title == "Could not be applied:\nNo gradient arrives: no gradients"
        listed = tab.locate("details.not-evaluated")
        expect(listed.locator("summary")).to_have_text("1 rule not evaluated")
        listed.locator("summary").click()
        expect(listed.locator("li")).to_have_text("No gradient arrives · no gradients")
        assert tab.problems == []


def test_finding_leads_to_its_tensor_and_step(browser: Browser, tensorboard: TensorBoard) -> None:
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.set_viewport_size({"width": 1600, "height": 1000})
    serve_findings(page)
    tab = Tab(page)
    page.goto(f"{tensorboard.url}#adam_debug&p.adam_debug.run=spiked%2Fadam_debug")
    items = tab.locate(".finding")
    expect(items).to_have_count(2)
    expect(items.first).to_contain_text("The gradient spiked")
    expect(tab.locate(".row-mark .severity.error")).to_have_count(1)
    # The worst one says what to do before it is selected.
    expect(items.first).to_contain_text("Clip the gradient norm to 1.")
    expect(tab.locate('.finding[aria-selected="true"]')).to_have_count(0)
    expect(items.first).to_contain_text("steps 150–155")
    expect(items.last).not_to_contain_text("The gradient is zero at every step.")
    tab.locate("body").press("n")
    tab.shows(".detail .crumb", "attn / c_attn / weight")
    tab.shows(".step-panel h3", "At step 150")
    expect(items.first).to_have_attribute("aria-selected", "true")
    expect(items.first).to_contain_text("Clip the gradient norm to 1.")
    items.first.locator('button[aria-label="Copy as Markdown"]').click()
    expect(items.first.locator(".copied", has_text="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert f"- where: `{ATTENTION}`" in copied
    assert "p.adam_debug.finding=a" in copied
    page.keyboard.press("n")
    tab.shows(".detail .crumb", "ln_0 / weight")
    expect(items.first).not_to_contain_text("Clip the gradient norm to 1.")
    items.first.click()
    tab.shows(".detail .crumb", "attn / c_attn / weight")
    save_picture(tab, "findings")
    assert tab.problems == []
    context.close()


CALIBRATION = {
    "tasks": 17,
    "records": 9,
    "about": 2.5,
    "cosines": [0.0, 0.22, 0.78],
    "factors": [1.0, 0.1, 0.01],
    "first_steps": 20.0,
    "path_steps": 10,
    "paths": [0.4, 6.0],
    "path_factors": [1.0, 100.0],
    "gain_records": 10,
    "gain_ratios": [0.59, 0.84],
    "gain_factors": [10.0, 1.0],
}
UNTOLD = {
    "text": "cannot be told",
    "factor": None,
    "cosine": None,
    "steps": [1, 200],
    "factors": [None, None],
}
TOO_LOW = {
    "text": "about 10× too low",
    "factor": 0.1,
    "cosine": 0.22,
    "steps": [1, 100, 200],
    "factors": [None, 1.0, 0.1],
}


def open_with_compass(page: Page, url: str, compass: object) -> Tab:
    page.set_viewport_size({"width": 1280, "height": 800})
    answer = {"findings": FINDINGS, "not_evaluated": [], "compass": compass}
    page.route("**/adam_debug/findings?*", lambda route: route.fulfill(json=answer))
    tab = Tab(page)
    page.goto(f"{url}#adam_debug&p.adam_debug.run=spiked%2Fadam_debug")
    tab.locate(".findings-panel").wait_for()
    return tab


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_learning_rate_compass_points_and_opens_with_the_keyboard(
    browser: Browser, tensorboard: TensorBoard, theme: str
) -> None:
    modules = [{"name": f"transformer.h.{i}", **TOO_LOW} for i in range(40)]
    modules[3] = {"name": "a.module.with.a.name.that.is.too.long.for.the.panel", **UNTOLD}
    with browser.new_context() as context:
        gain = {**UNTOLD, "text": "about 10× too high", "factor": 10.0, "gain_ratio": 0.59}
        compass = {**TOO_LOW, "gain": gain, "modules": modules, "calibration": CALIBRATION}
        tab = open_with_compass(context.new_page(), tensorboard.url, compass)
        if theme == "dark":
            tab.page.evaluate("document.body.classList.add('dark-mode')")
        panel = tab.locate(".compass")
        button = panel.locator("button")
        expect(button).to_have_text("Learning rate: about 10× too low")
        expect(button).to_have_attribute("aria-expanded", "false")
        by_gain = panel.locator(".compass-gain")
        expect(by_gain).to_contain_text("By the gain ratio: about 10× too high")
        assert share_along(by_gain.locator(".gauge")) == pytest.approx(0.75, abs=0.01)
        meter = panel.locator('[role="meter"]:not(.compass-gain *)')
        expect(meter).to_have_attribute("aria-valuetext", "about 10× too low")
        # A tenth lies a quarter along a scale from a hundredth to a hundred.
        assert share_along(meter) == pytest.approx(0.25, abs=0.01)
        button.press("Enter")
        expect(button).to_have_attribute("aria-expanded", "true")
        expect(panel.locator("li")).to_have_count(40)
        expect(meter).to_have_count(40)
        untold = panel.locator("li").nth(3)
        expect(untold).to_contain_text("cannot be told")
        expect(untold.locator(".pointer, path")).to_have_count(0)
        expect(untold.locator(".gauge")).to_have_count(0)
        history = panel.locator(".compass-body > svg")
        expect(history).to_have_attribute(
            "aria-label", "History of the run: the best at step 100, 1/10 of the best at step 200"
        )
        for said in (
            "the training loss only",
            "Above the best learning rate the cosine says noth",
            f"the median of the last {CALIBRATION['records']} records",
        ):
            expect(panel).to_contain_text(said)
        expect(panel.locator("table").first).to_contain_text("1/100 of the best0.78")
        expect(panel.locator("table").last).to_contain_text("10× the best0.59")
        sizes = panel.locator(".compass-body").evaluate(
            "e => [e.clientHeight, e.scrollHeight, e.clientWidth, e.scrollWidth]"
        )
        assert 100 < sizes[0] < sizes[1]
        assert sizes[2] == sizes[3]
        for other in (".runs", ".findings", ".optimizer"):
            box = tab.locate(other).bounding_box()
            assert box is not None
            assert box["height"] >= 60, other
        save_picture(tab, f"compass-{theme}")
        button.press("Space")
        expect(panel.locator(".compass-body")).to_have_count(0)
        assert tab.problems == []


def share_along(gauge: Locator) -> float:
    """Where the pointer of a gauge is, 0 to 1."""
    pointer, whole = gauge.locator(".pointer").bounding_box(), gauge.bounding_box()
    assert pointer is not None
    assert whole is not None
    return (pointer["x"] + pointer["width"] / 2 - whole["x"]) / whole["width"]


def test_learning_rate_compass_says_that_it_cannot_tell_or_is_not_there(
    browser: Browser, tensorboard: TensorBoard
) -> None:
    compass = {**UNTOLD, "gain": None, "modules": [], "calibration": CALIBRATION}
    with browser.new_context() as context:
        tab = open_with_compass(context.new_page(), tensorboard.url, compass)
        expect(tab.locate(".compass button")).to_have_text("Learning rate: cannot be told")
        expect(tab.locate(".compass .pointer, .compass-gain")).to_have_count(0)
        without = open_with_compass(context.new_page(), tensorboard.url, None)
        expect(without.locate(".compass")).to_have_count(0)
        assert tab.problems + without.problems == []


def test_learning_rate_compass_shows_the_reading_of_the_server(
    tab: Tab, tensorboard: TensorBoard
) -> None:
    compass = json.loads(tensorboard.ask("findings?run=spiked%2Fadam_debug").text)["compass"]
    panel = tab.locate(".compass")
    expect(panel.locator("button")).to_have_text(f"Learning rate: {compass['text']}")
    panel.locator("button").click()
    names = panel.locator("li b").all_inner_texts()
    assert names == [module["name"] for module in compass["modules"]]


# --- tables of pictures -------------------------------------------------------------------------


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


def test_histograms_have_a_table(tab: Tab) -> None:
    panel = tab.locate('section[aria-label="Histograms of update"]')
    panel.locator('button[aria-label="Table"]').click()
    rows = panel.locator("tbody tr")
    expect(rows).to_have_count(11)
    step, *cells = rows.nth(5).inner_text().split("\t")
    assert step == "100"
    low, lower, median, upper, high = map(float, cells[:5])
    assert low < lower < median < upper < high
    rows.nth(5).locator("button").click()
    tab.shows(".step-panel h3", "At step 100")
    # A second table, of a module that is there already.
    tab.locate('section[aria-label="Histograms of gradient"] button[aria-label="Table"]').click()
    expect(tab.locate('table[aria-label="Percentiles of gradient by step"]')).to_be_visible()


# --- getting things out -------------------------------------------------------------------------


def download(tab: Tab, menu: Locator, item: str) -> Path:
    menu.click()
    with tab.page.expect_download() as found:
        tab.locate(".menu-item", has_text=item).click()
    return Path(found.value.path())


SAVE_MENUS = [
    'button[aria-label="Save the heat map"]',
    'button[aria-label="Save the lines"]',
    'button[aria-label="Save the histograms of update"]',
    'button[aria-label="Save the histograms of exp_avg_sq"]',
    'button[aria-label="Save the histograms of gradient"]',
]


@pytest.mark.parametrize("menu", SAVE_MENUS)
def test_every_chart_can_be_saved_as_a_picture(tab: Tab, menu: str) -> None:
    png = download(tab, tab.locate(menu), "PNG").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert len(png) > 10_000
    text = download(tab, tab.locate(menu), "SVG").read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)
    names = {element.tag.partition("}")[2] for element in root.iter()}
    assert {"title", "text", "rect", "svg"} <= names
    assert names & {"path", "image"}
    texts = [e.text or "" for e in root.iter() if e.tag.endswith("text")]
    words = " ".join(texts)
    # The legend of the heat map says it, and nothing else does.
    assert words.count("NaN") == texts.count("NaN") == int("heat map" in menu)
    assert "spiked" in words or "update / weight" in words


def test_lines_as_csv_are_the_logged_numbers(tab: Tab, tensorboard: TensorBoard) -> None:
    file = download(tab, tab.locate(SAVE_MENUS[1]), "CSV")
    with file.open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["run"] == "spiked"]
    assert [int(row["step"]) for row in rows][-3:] == [190, 195, 200]
    name = "update_to_weight_ratio"
    value = logged_value(tensorboard, "spiked/adam_debug", EMBEDDING, name, 195)
    assert np.float32(rows[-2][name]) == np.float32(value)


def test_heat_map_as_csv_has_what_is_in_sight(tab: Tab, tensorboard: TensorBoard) -> None:
    with download(tab, tab.locate(SAVE_MENUS[0]), "CSV").open(newline="") as lines:
        rows = {row["parameter"]: row for row in csv.DictReader(lines)}
    assert len(rows) == 28
    value = logged_value(tensorboard, "spiked/adam_debug", ATTENTION, "update_to_weight_ratio", 150)
    assert np.float32(rows[ATTENTION]["150"]) == np.float32(value)


def test_histograms_as_csv_add_up_to_the_elements_read(tab: Tab) -> None:
    with download(tab, tab.locate(SAVE_MENUS[2]), "CSV").open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["step"] == "200"]
    assert sum(int(row["count"]) for row in rows) == 256
    assert all(float(r["from"]) < float(r["to"]) for r in rows if r["from"] != r["to"])


def test_link_to_the_view_can_be_copied(tab: Tab) -> None:
    tab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab.click_cell(ATTENTION, share_of(100))
    tab.shows(".step-panel h3", "At step 100")
    tab.locate('button[aria-label="Copy link to this view"]').click()
    tab.shows(".bar .copied", "Copied")
    copied = tab.page.evaluate("navigator.clipboard.readText()")
    assert copied == tab.page.url
    assert f"p.adam_debug.tensor={ATTENTION}" in copied


# --- live ---------------------------------------------------------------------------------------


def test_only_new_steps_are_fetched_and_pause_keeps_what_is_shown(
    browser: Browser, tmp_path: Path
) -> None:
    layout = make_layout()
    run = tmp_path / "live"
    write_made_up_run(run / "adam_debug", range(1, 21), layout, histograms=True)
    with running_tensorboard(tmp_path) as process:
        wait_for_runs(process, 1)
        with open_tab(browser, process.url, shared=False) as tab:
            tab.shows(".overview .sub", "20 logged steps")
            tab.locate(".panel canvas").first.wait_for()
            tab.page.wait_for_timeout(500)
            tab.responses.clear()
            write_events(
                run / "adam_debug",
                [event(21, step_tensors(layout, 21, histograms=True))],
            )
            tab.shows(".overview .sub", "21 logged steps", seconds=12)
            tab.shows(".step-panel h3", "At step 21")
            tab.page.wait_for_timeout(500)
            data = [r for r in tab.responses if "?run=" in r.url and "/findings" not in r.url]
            assert {re.search(r"/(\w+)\?", r.url)[1] for r in data} >= {  # type: ignore[index]
                "overview",
                "series",
                "steps",
                "hyperparameters",
                "histograms",
            }
            assert all("since=20" in r.url for r in data), [r.url for r in data]

            tab.locate('button[aria-label="Pause: keep what is shown"]').click()
            tab.shows(".live", "Paused")
            write_events(run / "adam_debug", [event(22, step_tensors(layout, 22))])
            tab.page.wait_for_timeout(8000)
            tab.shows(".overview .sub", "21 logged steps")
            tab.locate('button[aria-label="Show new data again"]').click()
            tab.shows(".overview .sub", "22 logged steps")

            # Started again from step 15: what is known is not good any more.
            again = [event(t, step_tensors(layout, t, seed=9), 1.8e9 + t) for t in range(15, 19)]
            write_events(run / "adam_debug", again)
            expected = schema.statistics_tensor(layout, made_up(layout, 16)).tensor[0, 1]
            tab.page.wait_for_timeout(7000)
            for _ in range(9):
                tab.locate("body").press("ArrowLeft")
                tab.page.wait_for_timeout(150)
                if "At step 16" in tab.locate(".step-panel h3").inner_text():
                    break
            tab.shows(".step-panel h3", "At step 16")
            assert number_of(tab.number("update_rms")) == pytest.approx(float(expected), rel=1e-3)


def made_up(layout: schema.Layout, step: int) -> np.ndarray:  # type: ignore[type-arg]
    from event_files import statistics_of

    return statistics_of(layout, step, seed=9)


# --- odd and bad input --------------------------------------------------------------------------


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
        tab.shows(".tip", re.compile("×(2[4-9]|3[0-6])"))  # thirtyfold, but for the noise
        tab.shows(".step-panel h3", f"At step {BETWEEN_RECORDS}")
        tab.shows(".detail .crumb", "h / 1 / mlp / c_proj / weight")
        norms = unpack(
            odd_folder.ask(f"gradient_norms?run=jumped%2Fadam_debug&parameter={SPIKED_LAYER}").body
        )[1]
        peak = float(norms["values"][0, -1])
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
        tab.locate('button[aria-label="Open all modules"]').click()
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
        expect(tab.locate('.run:has([aria-label="The gradient norm jumped"])')).to_have_count(1)
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
        tab.shows("table.step thead", "no such tensor")
        tab.shows(".overview .hint", "half has no value of update / weight at these steps")


# --- for everyone -------------------------------------------------------------------------------


def test_tab_needs_no_unsafe_eval(browser: Browser, tensorboard: TensorBoard) -> None:
    context = browser.new_context()
    page = context.new_page()

    def without_eval(route: Route) -> None:
        answer = route.fetch()
        headers = dict(answer.headers)
        policy = headers.get("content-security-policy", "")
        if policy:
            headers["content-security-policy"] = policy.replace("'unsafe-eval'", "")
        route.fulfill(response=answer, headers=headers)

    page.route("**/data/plugin_entry.html*", without_eval)
    tab = Tab(page)
    page.goto(f"{tensorboard.url}#adam_debug&p.adam_debug.run=spiked%2Fadam_debug")
    tab.locate(".heat-rows canvas").wait_for()
    tab.locate(".panel canvas").first.wait_for()
    tab.locate(".settings-button").click()
    expect(tab.locate(".settings h4")).to_have_count(4)
    assert tab.problems == []
    context.close()


def test_every_control_has_a_name_and_can_be_reached_with_the_keyboard(tab: Tab) -> None:
    nameless = tab.locate("body").evaluate(
        """body => [...body.querySelectorAll(
              'button, select, input, canvas, [role]:not([role=status])')]
            .filter((e) => !(e.getAttribute('aria-label') || e.textContent.trim()
              || e.closest('label')?.textContent.trim() || e.labels?.length))
            .map((e) => e.outerHTML.slice(0, 120))"""
    )
    assert nameless == []
    unreachable = tab.locate("body").evaluate(
        """body => [...body.querySelectorAll('button, select, input')]
            .filter((e) => e.tabIndex < 0).map((e) => e.outerHTML.slice(0, 120))"""
    )
    assert unreachable == []


@pytest.mark.parametrize("size", [(800, 500), (1280, 800), (1600, 1000), (3840, 2160)])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_overflows_at_any_size(
    browser: Browser, tensorboard: TensorBoard, size: tuple[int, int], theme: str
) -> None:
    link = {**BOTH, "ref": "plain/adam_debug", "step": str(SPIKE)}
    with open_tab(browser, tensorboard.url, link, size=size) as tab:
        if theme == "dark":
            tab.page.evaluate("document.body.classList.add('dark-mode')")
        tab.locate(".panel canvas").first.wait_for()
        for open_settings in (False, True):
            if open_settings:
                tab.locate(".settings-button").click()
                expect(tab.locate(".settings h4")).to_have_count(4)
            wide = tab.locate("body").evaluate(
                """() => ['html', '.bar', '.main .bar', '.content', '.card-head', '.side']
                    .flatMap((s) => [...document.querySelectorAll(s)])
                    .filter((e) => e.scrollWidth > e.clientWidth + 1)
                    .map((e) => `${e.className} ${e.scrollWidth} > ${e.clientWidth}`)"""
            )
            assert wide == [], f"settings open: {open_settings}"
        tab.locate('button[aria-label="Close settings"]').click()
        save_picture(tab, f"{theme}-{size[0]}x{size[1]}")


def save_picture(tab: Tab, name: str) -> None:
    """Keep a picture of the tab, to be looked at."""
    PICTURES.mkdir(exist_ok=True)
    tab.page.wait_for_timeout(300)
    tab.page.screenshot(path=PICTURES / f"{name}.png")
