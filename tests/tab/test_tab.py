"""The tab in a browser, served by a real ``tensorboard``: its content, and navigation."""

from __future__ import annotations

import gzip
import math
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import Browser, expect
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
)
from tensorboard_process import TensorBoard

from tb_adam_plugin import schema

pytest_plugins = ["tab_fixtures"]

INDEX = Path(__file__).parents[2] / "frontend_static" / "index.js"
# What index.js asks for at once, and how many requests a browser sends at a time.
HINTED = {*re.findall(r"^  '(\S+\.js)',$", INDEX.read_text(encoding="utf-8"), re.MULTILINE)}
CONNECTIONS = 6


def test_overview_is_red_at_the_spike_and_hatched_without_an_update(tab: Tab) -> None:
    spike, before = (tab.cell(EMBEDDING, share_of(step)) for step in (SPIKE, SPIKE - 25))
    assert spike.red - spike.blue > 90, spike
    assert spike.red - spike.blue > before.red - before.blue + 20, (spike, before)
    hatched = [tab.cell(NOT_UPDATED, 0.5, dy) for dy in range(-5, 6)]
    assert all(pixel.is_grey for pixel in hatched), hatched
    assert len(set(hatched)) > 1, hatched


def test_overview_is_magenta_where_values_are_nan(
    browser: Browser, tensorboard: TensorBoard
) -> None:
    with open_tab(browser, tensorboard.url, {"run": "with_nan/adam_debug"}) as tab:
        assert tab.cell("fc.weight", share_of(60, 80)) == MAGENTA
        assert tab.cell("fc.weight", share_of(20, 80)) != MAGENTA
        expect(tab.locate(".row-value", has_text="NaN").first).to_have_class(re.compile("hot"))


def test_click_on_a_cell_opens_the_parameter_at_that_step(
    tab: Tab, tensorboard: TensorBoard
) -> None:
    tab.click_cell(ATTENTION, share_of(SPIKE))
    tab.shows(".crumb", "transformer / h / 0 / attn / c_attn / weight")
    tab.shows(".fob", f"step {SPIKE}")
    tab.shows(".step-panel h3", f"At step {SPIKE}")
    for statistic in ("update_to_weight_ratio", "gradient_rms", "exp_avg_sq_root"):
        expected = logged_value(tensorboard, "spiked/adam_debug", ATTENTION, statistic, SPIKE)
        assert float(tab.number(statistic)) == pytest.approx(expected, rel=6e-3), statistic
    assert f"p.adam_debug.tensor={ATTENTION}" in tab.page.url
    assert f"p.adam_debug.step={SPIKE}" in tab.page.url


def test_table_has_a_column_for_every_checked_run(tab: Tab) -> None:
    headers = tab.locate("table.step thead th")
    expect(headers).to_have_count(3)
    assert headers.nth(1).inner_text() == "spiked"
    assert headers.nth(2).inner_text() == "plain"
    # A run without the tensor has no column, but a line below.
    without = tab.locate(".step-panel .without")
    expect(without).to_have_text("1 checked run has no such tensor")
    expect(without).to_have_attribute("title", "with_nan")
    tab.locate('button[aria-label="Draw plain in comparisons"]').click()
    expect(headers).to_have_count(2)
    tab.locate('button[aria-label="Draw with_nan in comparisons"]').click()
    expect(without).to_have_count(0)
    tab.locate("button.name", has_text="plain").click()
    tab.shows(".overview .sub", "plain")
    expect(headers).to_have_count(3)


def test_every_chart_is_drawn(tab: Tab) -> None:
    tab.shows(".panel h3 small", "log scale")
    for canvas in tab.locate(".strip canvas, .plot canvas, canvas.legend").all():
        colours = canvas.evaluate(
            """canvas => new Set(new Uint32Array(canvas.getContext('2d').getImageData(
                0, 0, canvas.width, canvas.height).data.buffer)).size"""
        )
        assert colours > 3, canvas.get_attribute("aria-label")
    assert tab.locate(".strip canvas, .plot canvas, canvas.legend").count() == 7


@pytest.mark.parametrize("kind", ["Ridgeline", "Density", "Percentile bands", "Single step"])
def test_every_quantity_can_be_drawn_in_every_way(tab: Tab, kind: str) -> None:
    panel = tab.locate('section[aria-label^="Histograms of"]').first
    panel.locator(f'button[aria-label="{kind}"]').click()
    for quantity in (q.name for q in schema.QUANTITIES):
        panel.locator("select").select_option(quantity)
        label = re.compile(f"{kind} of {quantity} over 11 logged histograms")
        expect(panel.locator("canvas")).to_have_attribute("aria-label", label)


def test_hovering_moves_the_step_without_rendering(tab: Tab, tensorboard: TensorBoard) -> None:
    heat = tab.locate(".heat").bounding_box()
    assert heat is not None
    tab.page.mouse.move(heat["x"] + share_of(100) * heat["width"], heat["y"] + 80)
    tab.shows(".fob", "step 100")
    tab.shows(".tip", re.compile(r"step\s*100"))
    lines = tab.locate(".cursor:visible")
    expect(lines).to_have_count(4)  # the overview, the lines, density and bands
    tab.shows(".step-panel h3", "At step 100")
    value = logged_value(tensorboard, "spiked/adam_debug", EMBEDDING, "gradient_rms", 100)
    assert float(tab.number("gradient_rms").split()[0]) == pytest.approx(value, rel=1e-3)
    tab.page.mouse.move(10, 900)
    tab.shows(".fob", f"step {STEPS}")
    tab.shows(".step-panel h3", f"At step {STEPS}")
    expect(tab.locate(".tip")).to_have_count(0)


def test_dragging_zooms_every_chart_and_a_double_click_zooms_out(tab: Tab) -> None:
    heat = tab.locate(".heat").bounding_box()
    assert heat is not None
    y = heat["y"] + 80
    tab.page.mouse.move(heat["x"] + share_of(100) * heat["width"], y)
    tab.page.mouse.down()
    tab.page.mouse.move(heat["x"] + share_of(150) * heat["width"], y, steps=3)
    tab.page.mouse.up()
    axis = tab.locate(".x-axis")
    expect(axis).not_to_contain_text("180")
    expect(axis).to_contain_text("145")
    assert tab.cell(EMBEDDING, 0.99) != tab.cell(EMBEDDING, 0.5)
    tab.page.mouse.dblclick(heat["x"] + 200, y)
    expect(axis).to_contain_text("180")


def test_theme_follows_tensorboard_at_once(tab: Tab) -> None:
    root = tab.locate("html")
    light = tab.cell(NOT_UPDATED, 0.5)
    tab.page.evaluate("document.body.classList.add('dark-mode')")
    expect(root).to_have_class("dark")
    expect(tab.locate("body")).to_have_css("background-color", "rgb(58, 58, 58)")
    assert max(tab.cell(NOT_UPDATED, 0.5)) < min(light)
    tab.page.evaluate("document.body.classList.remove('dark-mode')")
    expect(root).not_to_have_class("dark")


def test_link_restores_what_was_shown(browser: Browser, tab: Tab, tensorboard: TensorBoard) -> None:
    tab.click_cell(ATTENTION, share_of(100))
    tab.locate("button", has_text="Gradient").first.click()
    tab.locate("button", has_text="Relative").click()
    tab.locate('button[aria-label="Draw with_nan in comparisons"]').click()
    tab.row("transformer.h.1").click()
    url, shown = tab.page.url, view_of(tab)
    assert "h.1\n12" in shown["rows"]  # folded
    tensorboard_url, link = url.split("#adam_debug")
    with open_tab(browser, f"{tensorboard_url}#adam_debug{link}") as again:
        again.shows(".step-panel h3", re.compile("At step 100 · "))
        assert view_of(again) == shown


def view_of(tab: Tab) -> dict[str, str]:
    return {
        "title": tab.locate(".overview h2").inner_text(),
        "rows": " ".join(tab.locate(".tree-row").all_inner_texts()),
        "tensor": tab.locate(".crumb").inner_text(),
        "axis": tab.locate(".x-axis").inner_text(),
        "step": tab.locate(".step-panel h3").inner_text(),
        "runs": " ".join(tab.locate("table.step thead th").all_inner_texts()),
    }


def test_unknown_and_damaged_link_opens_the_default_view(
    browser: Browser, tensorboard: TensorBoard
) -> None:
    link = {"run": "gone", "tensor": "gone", "step": "-1", "axis": "up", "metric": "gone"}
    with open_tab(browser, tensorboard.url, link) as tab:
        tab.shows(".overview h2", "Update / weight")
        tab.shows(".step-panel h3", "At step")


def test_keyboard_moves_tensor_and_step_and_filters(tab: Tab) -> None:
    page = tab.page
    tab.locate("body").press("j")
    tab.shows(".crumb", "transformer / ln_0 / weight")
    page.keyboard.press("k")
    tab.shows(".crumb", "transformer / wte / weight")
    page.keyboard.press("ArrowLeft")
    tab.shows(".fob", "step 195")
    page.keyboard.press("Shift+ArrowLeft")
    tab.shows(".fob", "step 145")
    page.keyboard.press("ArrowRight")
    tab.shows(".step-panel h3", "At step 150")
    page.keyboard.press("o")
    expect(tab.row(EMBEDDING)).to_have_count(0)
    page.keyboard.press("?")
    expect(tab.locate('[role="dialog"]')).to_be_focused()
    page.keyboard.press("Escape")
    expect(tab.locate('[role="dialog"]')).to_have_count(0)
    page.keyboard.press("/")
    page.keyboard.type("attn.*bias")
    expect(tab.locate('[role="treeitem"]:not([aria-expanded])')).to_have_count(4)
    page.keyboard.press("Escape")  # leaves the field
    page.keyboard.press("Escape")  # clears the filter
    page.keyboard.press("Escape")  # follows the newest step again
    tab.shows(".fob", "step 200")
    expect(tab.locate(".tensor-filter input")).to_have_value("")


def test_tree_can_be_walked_with_the_keyboard(tab: Tab) -> None:
    tree = tab.locate('[role="tree"]')
    tree.focus()
    tree.press("ArrowDown")
    tab.shows(".crumb", "transformer / ln_0 / weight")
    tree.press("ArrowUp")
    tree.press("ArrowUp")
    assert tree.get_attribute("aria-activedescendant") == "row-transformer"
    tree.press("Enter")
    expect(tab.row("transformer")).to_have_attribute("aria-expanded", "false")


def test_filters_say_what_is_wrong_and_when_nothing_matches(tab: Tab) -> None:
    field = tab.locate(".tensor-filter input")
    field.fill("conv(")
    tab.shows('[role="alert"]', "Invalid regular expression")
    field.fill("nothing like this")
    tab.shows(".overview .hint", "No tensor matches this filter")
    tab.locate("button", has_text="Show all tensors").click()
    expect(tab.row(EMBEDDING)).to_be_visible()
    tab.locate('input[aria-label="Filter runs (regex)"]').fill("^pl")
    expect(tab.locate(".run")).to_have_count(1)


def test_optimizer_section_has_groups_and_what_no_group_holds(tab: Tab) -> None:
    rows = tab.locate(".optimizer tbody tr")
    expect(rows).to_have_count(2)
    assert rows.first.inner_text().split() == ["0", "2e-4", "0.9,", "0.999", "1e-8", "0.1", "10"]
    tab.shows(".unoptimized", "1 tensor frozen")
    tab.shows(".chip.group", "AdamW group 0 · lr 2e-4 · β 0.9, 0.999 · ε 1e-8 · decay 0.1")


def test_strip_shows_the_loss_and_can_show_other_series(tab: Tab, tensorboard: TensorBoard) -> None:
    choice = tab.locate('select[aria-label="Series above the heat map"]')
    expect(choice).to_have_value("column loss")
    first = tab.locate(".strip-value").first.inner_text()
    choice.select_option("tag loss/train")
    expect(tab.locate(".strip-value").first).to_have_text(first)
    choice.select_option("column lr")
    expect(tab.locate(".strip-value").first).to_have_text("2e-4")


def test_error_of_the_server_is_shown_in_its_words(
    browser: Browser, tensorboard: TensorBoard
) -> None:
    with open_tab(browser, tensorboard.url) as tab:
        tab.page.route(
            "**/overview?*", lambda route: route.fulfill(status=404, body="no run 'spiked'")
        )
        tab.locate("button", has_text="√v̂").first.click()
        tab.shows(".banner", "no run 'spiked'")
        assert [p for p in tab.problems if "404" not in p] == []
        tab.problems.clear()


def test_cold_load_stays_within_its_budget(browser: Browser, tensorboard: TensorBoard) -> None:
    link = {"run": "spiked/adam_debug"}
    with open_tab(browser, tensorboard.url, link, shared=False) as tab:
        tab.shows(".plot.hint, .plot canvas", "")
        tab.page.wait_for_load_state("networkidle")
        files = [r for r in tab.responses if "/static/" in r.url or "plugin_entry" in r.url]
        # How other runs are doing is asked afterwards, until all are known.
        data = [r.url for r in tab.responses if r not in files and "/states" not in r.url]
        kilobytes = sum(len(gzip.compress(r.body())) for r in files) / 1024
        # What is far away takes as long as the rounds of requests that wait for each other, and as
        # long as the kilobytes: benchmarks/README.md.
        names = [unquote(urlsplit(r.url).path).partition("/static/")[2] for r in files]
        names = [name.partition("/")[2] for name in names if name]
        hinted = [name for name in names if name in HINTED]
        later = sorted({*names} - {*hinted, "index.js", "style.css"})
        rounds = 2 + math.ceil((len(hinted) + len(["style.css"])) / CONNECTIONS)
        assert rounds <= 14, hinted
        # One more round, which begins with the answer that tells that they are needed.
        assert len(later) <= CONNECTIONS, later
        # Measured: 178. The styles and actions of the comparison of runs are 2 of them.
        assert kilobytes <= 180
        # summary, overview, steps, hyperparameters, findings, histograms, a series for each of two
        assert len(data) == len(set(data)) <= 8, data
