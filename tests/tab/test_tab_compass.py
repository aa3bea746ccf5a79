"""The learning-rate compass."""

from __future__ import annotations

import json

import pytest
from made_up_findings import FINDINGS
from playwright.sync_api import Browser, Locator, Page, expect
from tab_actions import save_picture
from tab_page import Tab
from tensorboard_process import TensorBoard

pytest_plugins = ["tab_fixtures"]


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
    "text": "not enough data",
    "factor": None,
    "cosine": None,
    "steps": [1, 200],
    "factors": [None, None],
}
TOO_LOW = {
    "text": "about 10× too low",
    "factor": 0.1,
    "likely": [0.01, 0.1],
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
        button = panel.locator(".compass-head > button")
        expect(button).to_have_text("Learning rate: about 10× too low")
        expect(button).to_have_attribute("aria-expanded", "false")
        by_gain = panel.locator(".compass-gain")
        expect(by_gain).to_contain_text("By the gain ratio: about 10× too high")
        assert share_along(by_gain.locator(".gauge")) == pytest.approx(0.75, abs=0.01)
        meter = panel.locator('[role="meter"]:not(.compass-gain *)')
        expect(meter).to_have_attribute("aria-valuetext", "about 10× too low")
        # A tenth lies a quarter along a scale from a hundredth to a hundred.
        assert share_along(meter) == pytest.approx(0.25, abs=0.01)
        bar, gauge = meter.locator(".likely").bounding_box(), meter.bounding_box()
        assert bar is not None
        assert gauge is not None
        ends = [(x - gauge["x"]) / gauge["width"] for x in (bar["x"], bar["x"] + bar["width"])]
        assert ends == pytest.approx([0, 0.25], abs=0.01)
        button.press("Enter")
        expect(button).to_have_attribute("aria-expanded", "true")
        expect(panel.locator("li")).to_have_count(40)
        expect(meter).to_have_count(40)
        untold = panel.locator("li").nth(3)
        expect(untold).to_contain_text("not enough data")
        expect(untold.locator(".pointer, path")).to_have_count(0)
        expect(untold.locator(".gauge")).to_have_count(0)
        history = panel.locator(".compass-body > svg")
        expect(history).to_have_attribute(
            "aria-label", "History of the run: the best at step 100, 1/10 of the best at step 200"
        )
        for said in (
            "the training loss only",
            "Four of five runs with this reading were at 1/100 of the best to 1/10 of the best",
            "Above the best learning rate the cosine carries no",
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
        expect(tab.locate(".compass-head > button")).to_have_text("Learning rate: not enough data")
        expect(tab.locate(".compass .pointer, .compass-gain")).to_have_count(0)
        without = open_with_compass(context.new_page(), tensorboard.url, None)
        expect(without.locate(".compass")).to_have_count(0)
        assert tab.problems + without.problems == []


def test_learning_rate_compass_shows_the_reading_of_the_server(
    tab: Tab, tensorboard: TensorBoard
) -> None:
    compass = json.loads(tensorboard.ask("findings?run=spiked%2Fadam_debug").text)["compass"]
    panel = tab.locate(".compass")
    expect(panel.locator(".compass-head > button")).to_have_text(
        f"Learning rate: {compass['text']}"
    )
    panel.locator(".compass-head > button").click()
    names = [module["name"] for module in compass["modules"]]
    expect(panel.locator("li b")).to_have_text(names)
