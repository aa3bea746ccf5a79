"""A finding shows its evidence: statistic, threshold, steps, tensors; "Why?" explains it."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect
from tab_actions import save_picture
from tab_page import Tab, open_tab
from tensorboard_process import TensorBoard

pytest_plugins = ["tab_fixtures", "tab_demo_runs"]

DEAD = {"run": "dead_units/adam_debug"}
EXPLAINED = {
    "rule": "dead_units",
    "title": "Dead units",
    "sections": [
        {
            "heading": "Of the gradient",
            "markdown": "A row has **no** gradient: `dead_row_fraction`.\n\n- Try GELU.\n\n"
            "| share | |\n|---|---|\n| 0.55 | warning |\n\n<img src=x onerror=alert(1)>",
        }
    ],
}


def explain(page: Page, *, known: bool = True) -> list[str]:
    """Answer what the documents say about a rule; return the addresses that are asked for."""
    asked: list[str] = []

    def answer(route: Route) -> None:
        asked.append(route.request.url)
        if known:
            route.fulfill(json=EXPLAINED)
        else:
            route.fulfill(status=404, body="no such rule")

    page.route("**/adam_debug/explain?*", answer)
    return asked


def reds(canvas: Locator) -> int:
    """Count the pixels of a canvas that have the colour of a threshold, which is that of errors."""
    return int(
        canvas.evaluate(
            """canvas => {
              const root = getComputedStyle(document.documentElement);
              const hex = root.getPropertyValue('--critical').match(/[0-9a-f]{2}/g);
              const [r, g, b] = hex.map((x) => parseInt(x, 16));
              const {width, height} = canvas;
              const {data} = canvas.getContext('2d').getImageData(0, 0, width, height);
              let count = 0;
              for (let i = 0; i < data.length; i += 4)
                count += Math.abs(data[i] - r) + Math.abs(data[i + 1] - g)
                  + Math.abs(data[i + 2] - b) < 24;
              return count;
            }"""
        )
    )


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_click_shows_the_statistic_of_a_finding_and_its_threshold(
    browser: Browser, demo_board: TensorBoard, dark: bool
) -> None:
    with open_tab(browser, demo_board.url, DEAD) as tab:
        if dark:
            tab.page.evaluate("document.body.classList.add('dark-mode')")
        heading = tab.locate(".overview h2")
        expect(heading).to_have_text("Update / weight")
        lines = tab.locate(".lines-plot canvas")
        expect(tab.locate(".finding")).not_to_have_count(0)
        assert reds(lines) == 0
        before = tab.page.url
        tab.locate(".finding", has_text="Dead units").click()
        expect(heading).to_have_text("Rows without gradient")
        expect(tab.locate(".lines h3 .menu-button")).to_have_text("rows without gradient")
        frames = tab.locate(".evidence-frame.error")
        expect(frames).to_have_count(3)
        tab.page.wait_for_timeout(300)
        assert reds(lines) > 200, "the threshold"
        box, heat = frames.first.bounding_box(), tab.locate(".heat-rows").bounding_box()
        assert box is not None
        assert heat is not None
        assert box["x"] == pytest.approx(heat["x"] + heat["width"] * 21 / 319, abs=3)
        assert box["x"] + box["width"] == pytest.approx(heat["x"] + heat["width"], abs=2)
        save_picture(tab, f"evidence-{'dark' if dark else 'light'}")
        tab.locate('button[aria-label="Close this finding"]').click()
        expect(heading).to_have_text("Update / weight")
        expect(frames).to_have_count(0)
        assert tab.page.url == before


def test_escape_closes_a_finding(browser: Browser, demo_board: TensorBoard) -> None:
    with open_tab(browser, demo_board.url, DEAD) as tab:
        tab.locate(".finding").first.click()
        expect(tab.locate(".overview h2")).to_have_text("Rows without gradient")
        tab.page.keyboard.press("Escape")
        expect(tab.locate(".overview h2")).to_have_text("Update / weight")
        expect(tab.locate('.finding[aria-current="true"]')).to_have_count(0)


def test_a_series_of_every_step_that_a_finding_is_about_is_large_above_the_map(
    browser: Browser, demo_board: TensorBoard
) -> None:
    with open_tab(browser, demo_board.url, {"run": "learning_rate_jumped/adam_debug"}) as tab:
        strip = tab.locate(".strip").first
        small = strip.bounding_box()
        tab.locate(".finding", has_text="Learning rate jumped").click()
        chosen = tab.locate('select[aria-label="Series above the heat map"]')
        expect(chosen).to_have_value("column lr")
        large = strip.bounding_box()
        assert small is not None
        assert large is not None
        assert large["height"] > 2 * small["height"]
        # Names, strips and numbers stay beside each other.
        for left, right in ((".tree-row", ".row-value"), (".strip-label", ".strip-value")):
            a, b = tab.locate(left).first.bounding_box(), tab.locate(right).first.bounding_box()
            assert a is not None
            assert b is not None
            assert a["y"] == pytest.approx(b["y"], abs=1.5)
            assert a["height"] == pytest.approx(b["height"], abs=1.5)
        # The factor by which it rose is not a learning rate: no threshold on that axis.
        assert reds(strip.locator("canvas")) == 0


def test_why_says_condition_course_source_and_what_the_documents_say(
    browser: Browser, demo_board: TensorBoard
) -> None:
    with open_tab(browser, demo_board.url, DEAD) as tab:
        asked = explain(tab.page)
        tab.locate(".finding", has_text="Dead units").click()
        why = tab.locate(".finding .why-button")
        expect(why).to_have_attribute("aria-expanded", "false")
        why.click()
        expect(why).to_have_attribute("aria-expanded", "true")
        tab.shows(".why .condition", re.compile(r"is 100 % at step \d+; the threshold is 55 %"))
        tab.shows(".why", "Source: Lu et al. 2019")
        expect(tab.locate(".why .markdown h4")).to_have_text("Of the gradient")
        expect(tab.locate(".why .markdown code")).to_have_text("dead_row_fraction")
        expect(tab.locate(".why .markdown td").first).to_have_text("0.55")
        tab.shows(".why .markdown", "<img src=x onerror=alert(1)>")
        expect(tab.locate(".why img")).to_have_count(0)
        assert len(asked) == 1
        assert asked[0].endswith("explain?rule=dead_units")
        save_picture(tab, "why")
        # A link leads to all of it.
        tab.page.reload()
        tab.shows(".why .condition", "the threshold is 55 %")


def test_why_has_a_chart_of_what_was_compared(browser: Browser, demo_board: TensorBoard) -> None:
    with open_tab(browser, demo_board.url, {"run": "learning_rate_jumped/adam_debug"}) as tab:
        explain(tab.page)
        tab.locate(".finding", has_text="Weight decay too strong").first.click()
        tab.locate(".why-button").click()
        chart = tab.locate(".why .course svg")
        expect(chart).to_have_attribute("aria-label", re.compile("the threshold is 0.6$"))
        assert "L" in (chart.locator("path").get_attribute("d") or "")
        inside = chart.evaluate(
            """e => e.getBoundingClientRect().right
                <= e.closest('.why').getBoundingClientRect().right"""
        )
        assert inside


def test_without_documents_why_says_what_it_knows(
    browser: Browser, demo_board: TensorBoard
) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        explain(page, known=False)
        tab = Tab(page)
        page.goto(f"{demo_board.url}#adam_debug&p.adam_debug.run=dead_units%2Fadam_debug")
        tab.locate(".finding", has_text="Dead units").click()
        tab.locate(".why-button").click()
        tab.shows(".why .condition", "the threshold is 55 %")
        expect(tab.locate(".why .markdown")).to_have_count(0)
        expect(tab.locate(".banner")).to_have_count(0)


def test_the_evidence_speaks_chinese(browser: Browser, demo_board: TensorBoard) -> None:
    with browser.new_context(locale="zh-CN") as context:
        page = context.new_page()
        asked = explain(page)
        tab = Tab(page)
        page.goto(f"{demo_board.url}#adam_debug&p.adam_debug.run=dead_units%2Fadam_debug")
        tab.locate(".finding").first.click()
        tab.locate(".why-button", has_text="为什么").click()
        tab.shows(".why .condition", "阈值")
        expect(tab.locate("html")).to_have_attribute("lang", "zh-CN")
        assert asked[0].endswith("lang=zh")
        texts = tab.locate(".side").inner_text()
        assert "Findings" not in texts, json.dumps(texts)
        assert tab.problems == []
