"""Question marks explain what is shown; statistics are grouped and searchable."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect
from tab_page import Tab

pytest_plugins = ["tab_fixtures"]

# Where a question mark stands, and what it says among other things.
EXPLAINED = [
    (".overview .card-head h2 + .menu", "Healthy for this optimizer"),
    (".overview .legend + .menu", "Hatched: exactly zero"),
    (".strip-label:has(select) .menu", "What you recorded with record(loss=loss)"),
    (".strip-label:not(:has(select)) .menu", "gradient_spike: "),
    (".side .bar .menu", "The flag makes a run the reference"),
    (".side [aria-label=Findings] .section .menu, .no-findings .menu", "Triangle: a warning"),
    (".optimizer .section .menu", "One row per parameter group"),
    (".lines h3 .menu + .menu", "The shaded band is where 9 in 10"),
    (".panel:not(.lines, .step-panel) h3 .menu", "What the step changed in each weight"),
    (".compass-head .menu", "The pointer in the green zone"),
    ('tr[data-statistic="weight_rms"] .menu', "RMS(w) before the step"),
]


@pytest.mark.parametrize(("place", "text"), EXPLAINED)
def test_a_question_mark_says_what_stands_there(tab: Tab, place: str, text: str) -> None:
    mark = tab.locate(place).first
    mark.scroll_into_view_if_needed()
    button = mark.locator("button").first
    expect(button).to_have_attribute("aria-label", re.compile(r"^What is “.+”\?$"))
    button.click()
    box = tab.locate(".menu-list.what-is")
    expect(box).to_contain_text(text)
    place_of = box.bounding_box()
    assert place_of is not None
    assert place_of["x"] >= 0
    assert place_of["x"] + place_of["width"] <= 1600
    assert place_of["y"] + place_of["height"] <= 1000
    # It lies above everything: what is in its middle is it.
    on_top = box.evaluate(
        """e => { const {x, y, width, height} = e.getBoundingClientRect();
          const there = document.elementFromPoint(x + width / 2, y + Math.min(height / 2, 40));
          return e.contains(there); }"""
    )
    assert on_top
    tab.page.keyboard.press("Escape")
    expect(box).to_have_count(0)
    expect(button).to_be_focused()


def test_a_ratio_has_its_healthy_range_for_each_kind_of_tensor(tab: Tab) -> None:
    tab.locate(".overview .card-head h2 + .menu button").click()
    ranges = tab.locate(".what-is-text > ul li")
    expect(ranges.first).to_have_text(re.compile(r"^matrices: \S+ to \S+$"))
    expect(ranges).to_have_count(4)


def test_statistics_are_in_groups_and_can_be_searched(tab: Tab) -> None:
    tab.locate(".lines .menu-button").click()
    groups = tab.locate(".menu-list [role=group]")
    expect(groups).to_have_count(5)
    expect(groups.nth(1)).to_have_attribute("aria-label", "Weight")
    items = tab.locate(".menu-list .menu-item")
    every = items.count()
    tab.locate(".menu-search").fill("rows")
    expect(items).not_to_have_count(every)
    labels = items.all_inner_texts()
    assert len(labels) == 2, labels
    items.filter(has_text=re.compile(r"^\s*rows without gradient\s*$")).click()
    tab.page.keyboard.press("Escape")
    expect(tab.locate(".plot-title", has_text="rows without gradient")).to_have_count(1)
    more = tab.locate('select[aria-label="Colour by another statistic"] optgroup')
    expect(more).not_to_have_count(0)
