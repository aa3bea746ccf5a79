"""Findings of the rules, and where a click on one leads."""

from __future__ import annotations

import re
from collections.abc import Sequence

from made_up_findings import FINDINGS
from playwright.sync_api import Browser, Page, Route, expect
from tab_actions import save_picture
from tab_page import Tab
from tab_runs import ATTENTION
from tensorboard_process import TensorBoard

pytest_plugins = ["tab_fixtures"]


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
        expect(nothing).to_have_text(
            re.compile(r"Findings.*none \(1 of 2 rules checked\)", re.DOTALL)
        )
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
    expect(tab.locate('.finding[aria-current="true"]')).to_have_count(0)
    expect(items.first).to_contain_text("steps 150–155")
    expect(items.last).not_to_contain_text("The gradient is zero at every step.")
    tab.locate("body").press("n")
    tab.shows(".detail .crumb", "attn / c_attn / weight")
    tab.shows(".step-panel h3", "At step 150")
    expect(items.first).to_have_attribute("aria-current", "true")
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
