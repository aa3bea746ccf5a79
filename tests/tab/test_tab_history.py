"""Back and Forward of the browser move between views."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, expect
from tab_page import Tab, open_tab
from tab_runs import EMBEDDING, NOT_UPDATED, wait_for_runs
from tensorboard_process import TensorBoard, running_tensorboard

pytest_plugins = ["tab_fixtures"]


def entries(tab: Tab) -> int:
    return int(tab.page.evaluate("history.length"))


def test_back_and_forward_move_between_views(tab: Tab) -> None:
    page, heading, crumb = tab.page, tab.locate(".overview h2"), tab.locate(".detail .crumb b")
    tab.row(EMBEDDING).click()
    expect(tab.locate(".detail .crumb")).to_have_attribute("title", EMBEDDING)
    tab.locate(".choice button", has_text="Gradient").first.click()
    expect(heading).to_have_text("Gradient RMS")
    spike = tab.locate(".finding", has_text="Gradient spike")
    spike.click()
    expect(spike).to_have_attribute("aria-current", "true")
    tab.shows(".step-panel h3", "At step 150")
    page.go_back()
    expect(spike).to_have_attribute("aria-current", "false")
    expect(heading).to_have_text("Gradient RMS")
    expect(tab.locate(".detail .crumb")).to_have_attribute("title", EMBEDDING)
    tab.shows(".step-panel h3", "At step 200")
    page.go_back()
    expect(heading).to_have_text("Update / weight")
    page.go_forward()
    expect(heading).to_have_text("Gradient RMS")
    page.go_forward()
    expect(spike).to_have_attribute("aria-current", "true")
    tab.shows(".step-panel h3", "At step 150")
    expect(crumb).not_to_have_count(0)


def test_moves_of_the_cursor_are_no_entries(tab: Tab) -> None:
    tab.row(NOT_UPDATED).click()
    before = entries(tab)
    for _ in range(3):
        tab.page.keyboard.press("ArrowLeft")
    tab.page.keyboard.press("+")
    tab.page.wait_for_url("**range=**")
    assert entries(tab) == before


def test_back_leads_to_a_first_view_without_any_keys(browser: Browser, log_folder: Path) -> None:
    with running_tensorboard(log_folder / "plain") as process:
        wait_for_runs(process, 1)
        with open_tab(browser, process.url) as tab:
            expect(tab.locate(".overview h2")).to_have_text("Update / weight")
            assert tab.page.url.endswith("#adam_debug")
            tab.locate(".choice button", has_text="Gradient").first.click()
            expect(tab.locate(".overview h2")).to_have_text("Gradient RMS")
            tab.page.go_back()
            expect(tab.locate(".overview h2")).to_have_text("Update / weight")
            assert tab.page.url.endswith("#adam_debug")


def test_back_crosses_the_tabs_of_tensorboard(browser: Browser, tensorboard: TensorBoard) -> None:
    with open_tab(browser, tensorboard.url, {"run": "spiked/adam_debug"}) as tab:
        tab.locate(".choice button", has_text="Gradient").first.click()
        tab.page.wait_for_url("**metric=gradient_rms**")
        tab.page.get_by_role("tab", name="Time Series").click()
        expect(tab.locate(".overview")).not_to_be_in_viewport()
        tab.page.go_back()
        expect(tab.locate(".overview h2")).to_be_in_viewport()
        expect(tab.locate(".overview h2")).to_have_text("Gradient RMS")
        assert "metric=gradient_rms" in tab.page.url
        tab.page.go_back()
        expect(tab.locate(".overview h2")).to_have_text("Update / weight")
