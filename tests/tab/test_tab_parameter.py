"""The card of a parameter: its charts, their axes and tables, the tensors beside it."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect
from tab_actions import choose_statistic, picture, preferences, tab_colours
from tab_page import Tab
from tab_runs import EMBEDDING, logged_value, share_of
from tensorboard_process import TensorBoard

pytest_plugins = ["tab_fixtures"]


def test_several_statistics_have_a_chart_each(tab: Tab) -> None:
    choose_statistic(tab, "gradient RMS")
    choose_statistic(tab, "v is zero")
    expect(tab.locate(".lines canvas")).to_have_count(3)
    titles = ["update / weight", "gradient RMS", "v is zero"]
    expect(tab.locate(".plot-title")).to_contain_text(titles)
    for canvas in tab.locate(".lines canvas").all():
        assert tab_colours(canvas) > 3
    choose_statistic(tab, "update / weight")
    choose_statistic(tab, "v is zero")
    tab.shows(".lines .menu-button", "gradient RMS")


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
