"""All runs at a glance: the state of each, sorting and filtering, and the findings of all."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Locator, Route, expect
from tab_actions import save_picture
from tab_page import Tab, open_tab
from tab_runs import HEALTHY, ILL
from tensorboard_process import TensorBoard, wait_until

pytest_plugins = ["tab_fixtures", "tab_demo_runs"]

LINK = {"run": f"{HEALTHY}/adam_debug"}


def names(tab: Tab) -> list[str]:
    return tab.locate(".run .name").all_inner_texts()


def state_of(tab: Tab, run: str) -> Locator:
    return tab.locate(".run", has_text=run).locator(".run-state")


def test_each_run_says_how_it_is_doing(browser: Browser, demo_board: TensorBoard) -> None:
    with open_tab(browser, demo_board.url, LINK) as tab:
        for run in ILL:
            expect(state_of(tab, run)).to_have_attribute("aria-label", re.compile(r"^\d+ error"))
            expect(state_of(tab, run).locator(".severity.error")).to_have_count(1)
        expect(state_of(tab, HEALTHY)).to_have_count(0)
        expect(tab.locate(".only-ill b")).to_have_text("3")
        assert names(tab) == sorted([*ILL, HEALTHY])
        listed = tab.locate(".runs")
        listed.evaluate("element => { element.style.cssText = 'flex: none; height: 36px' }")
        scrolled = "element => element.scrollTop"
        wait_until(lambda: listed.evaluate(scrolled) > 0, "the shown run to come into sight")
        tab.locate('select[aria-label="Order of the runs"]').select_option("severity")
        wait_until(lambda: listed.evaluate(scrolled) == 0, "what was sorted to start at the top")
        expect(tab.locate(".run .name").last).to_have_text(HEALTHY)
        order = names(tab)
        assert order[0] == "learning_rate_jumped", "it has most errors"
        tab.locate(".only-ill").click()
        tab.locate(".run", has_text=ILL[0]).locator(".name").click()
        expect(tab.locate(".run")).to_have_count(3)
        assert names(tab) == order[:3]
        save_picture(tab, "all-runs-list")


def test_the_findings_of_all_runs_are_one_table(browser: Browser, demo_board: TensorBoard) -> None:
    with open_tab(browser, demo_board.url, LINK) as tab:
        tab.locate("button", has_text="All findings").click()
        rows = tab.locate(".all-findings tbody tr")
        tab.shows(".all-findings .sub", "3 of 4 runs have errors or warnings")
        expect(rows.filter(has_text="dead_units").first).to_be_visible()
        assert {name for row in rows.locator("th").all_inner_texts() if (name := row.strip())} == {
            *ILL
        }
        severities = [
            label
            for mark in rows.locator(".what .severity").all()
            if (label := mark.get_attribute("aria-label"))
        ]
        assert severities == sorted(severities), "errors before warnings"
        assert all(text.strip() for text in rows.locator(".advice").all_inner_texts())
        count = rows.count()
        tab.locate(".all-findings .tick input").check()
        expect(rows).not_to_have_count(count)
        save_picture(tab, "all-findings")
        rows.filter(has_text="Dead units").filter(has_text="dead_units").first.click()
        expect(tab.locate('.run .name[aria-pressed="true"]')).to_have_text("dead_units")
        expect(tab.locate(".overview h2")).to_have_text("Rows without gradient")
        expect(tab.locate(".evidence-frame")).not_to_have_count(0)
        tab.page.go_back()
        expect(rows).not_to_have_count(0)
        tab.page.keyboard.press("Escape")
        expect(tab.locate(".overview h2")).to_have_text("Update / weight")
        expect(tab.locate('.run .name[aria-pressed="true"]')).to_have_text(HEALTHY)


def test_it_works_by_keys(browser: Browser, demo_board: TensorBoard) -> None:
    link = {**LINK, "all": "1"}
    with open_tab(browser, demo_board.url, link, wait_for=".all-findings tbody tr") as tab:
        first = tab.locate(".all-findings .what button").first
        title = first.inner_text()
        first.focus()
        tab.page.keyboard.press("Enter")
        expect(tab.locate('.finding[aria-current="true"] b')).to_have_text(title)
        tab.page.keyboard.press("Escape")
        expect(first).to_have_text(title)


def test_a_server_without_states_is_asked_run_by_run(
    browser: Browser, demo_board: TensorBoard
) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        asked = []

        def refuse(route: Route) -> None:
            asked.append(route.request.url)
            route.fulfill(status=404, body="not found")

        page.route("**/adam_debug/states*", refuse)
        tab = Tab(page)
        page.goto(f"{demo_board.url}#adam_debug&p.adam_debug.run={HEALTHY}%2Fadam_debug")
        tab.locate("button", has_text="All findings").click()
        tab.shows(".all-findings .sub", "3 of 4 runs have errors or warnings")
        expect(tab.locate(".run-state")).to_have_count(0)
        expect(tab.locate(".banner.error")).to_have_count(0)
        assert len(asked) <= 2, "it is not asked again and again"


@pytest.mark.parametrize("width", [1000, 1280, 1600])
def test_marks_leave_names_readable(browser: Browser, demo_board: TensorBoard, width: int) -> None:
    with open_tab(browser, demo_board.url, LINK, size=(width, 800)) as tab:
        expect(state_of(tab, "dead_units")).to_have_count(1)
        cut = tab.locate(".run").evaluate_all(
            """rows => rows.filter((row) => {
              const box = row.getBoundingClientRect();
              return [...row.children].some((e) => e.getClientRects().length
                && e.getBoundingClientRect().right > box.right + 0.5);
            }).length"""
        )
        assert cut == 0
        widths = tab.locate(".run .name").evaluate_all("all => all.map((e) => e.clientWidth)")
        assert min(widths) > 60
