"""The overview: colours, folding, ranks, zoom."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect
from tab_actions import visible_steps
from tab_page import Tab
from tab_runs import EMBEDDING, NOT_UPDATED, SPIKE, STEPS, logged_value, share_of
from tensorboard_process import TensorBoard

pytest_plugins = ["tab_fixtures"]


def test_any_statistic_can_colour_the_overview(tab: Tab) -> None:
    more = tab.locate('select[aria-label="Colour by another statistic"]')
    more.select_option("zero_gradient_fraction")
    tab.shows(".overview h2", "Gradient is zero")
    always, never = tab.cell(NOT_UPDATED, 0.5), tab.cell(EMBEDDING, 0.5)
    assert max(always) < min(never) - 60, "all of it is dark, none of it pale"
    more.select_option("update_weight_cosine")
    tab.shows(".overview h2", "Cos(update, weight)")
    more.select_option("exp_avg_rms")  # the name of a variable stays as it is
    expect(tab.locate(".overview h2")).to_have_text("exp_avg RMS")
    tab.locate("button", has_text="Gradient").first.click()
    tab.shows(".overview h2", "Gradient RMS")
    expect(more).to_have_value("")


def test_folding_does_not_hide_the_spike(tab: Tab) -> None:
    before = tab.cell(EMBEDDING, share_of(SPIKE - 25))
    tab.locate('button[aria-label="Collapse all modules"]').click()
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
