"""Names, keyboard, sizes and a strict content policy: the tab for everyone."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Route, expect
from tab_actions import BOTH, save_picture
from tab_page import Tab, open_tab
from tab_runs import SPIKE
from tensorboard_process import TensorBoard

pytest_plugins = ["tab_fixtures"]


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
