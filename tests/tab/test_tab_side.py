"""The left column in a small window: an open finding is fully readable, the rest reachable."""

from __future__ import annotations

import json

from made_up_findings import FINDINGS
from playwright.sync_api import Browser, Route, expect
from tab_page import Tab
from tensorboard_process import TensorBoard

pytest_plugins = ["tab_fixtures"]


def test_open_finding_keeps_its_height_beside_what_else_is_open(
    browser: Browser, tensorboard: TensorBoard
) -> None:
    text = "It rose thirtyfold in one step, and what follows is said at length. " * 6
    findings = [{**finding, "text": text} for finding in FINDINGS]
    skipped = [
        {"rule": f"rule_{i}", "title": f"Is it {i}?", "reason": "a long reason for that"}
        for i in range(8)
    ]

    def answer(route: Route) -> None:
        served = json.loads(route.fetch().text())
        route.fulfill(json={**served, "findings": findings, "not_evaluated": skipped})

    with browser.new_context() as context:
        page = context.new_page()
        page.set_viewport_size({"width": 1100, "height": 800})
        page.route("**/adam_debug/findings?*", answer)
        tab = Tab(page)
        page.goto(f"{tensorboard.url}#adam_debug&p.adam_debug.run=spiked%2Fadam_debug")
        first = tab.locate(".finding").first
        first.click()
        expect(first).to_have_attribute("aria-current", "true")
        expect(first.locator(".finding-actions")).to_have_count(1)
        alone = first.bounding_box()
        tab.locate(".compass-head > button").click()
        tab.locate(".not-evaluated summary").click()
        expect(tab.locate(".compass-body li").first).to_be_visible()
        expect(tab.locate(".not-evaluated li").last).to_be_visible()
        both = first.bounding_box()
        assert alone is not None
        assert both is not None
        assert both["height"] == alone["height"] > 200
        for part in (".findings", ".findings-panel", ".not-evaluated"):
            clipped = tab.locate(part).evaluate("e => e.scrollHeight - e.clientHeight")
            assert clipped <= 0, part
        side = tab.locate(".side")
        assert side.evaluate("e => e.scrollHeight > e.clientHeight + 100")
        tab.locate(".optimizer").scroll_into_view_if_needed()
        expect(tab.locate(".optimizer")).to_be_in_viewport(ratio=0.9)
        # Opening what lies below does not lead back to the list of runs.
        at = side.evaluate("e => e.scrollTop")
        tab.locate(".not-evaluated summary").click()
        tab.locate(".not-evaluated summary").click()
        expect(tab.locate(".not-evaluated li").last).to_be_visible()
        assert side.evaluate("e => e.scrollTop") > at / 2 > 0
        assert tab.problems == []
