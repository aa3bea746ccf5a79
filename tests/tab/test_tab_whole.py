"""Nothing is cut or hidden: whole columns, the end of the map, small and large windows."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from generated_logs import write_run
from generated_runs import Run
from playwright.sync_api import Browser, expect
from tab_actions import BOTH, open_settings, save_picture
from tab_page import Tab, open_tab
from tab_runs import EMBEDDING, STEPS, share_of, wait_for_runs
from tensorboard_process import TensorBoard, running_tensorboard

pytest_plugins = ["tab_fixtures", "tab_demo_runs"]

ALL_FOUR = {
    "run": "dead_units/adam_debug",
    "runs": ",".join(
        f"{name}%2Fadam_debug"
        for name in ("dead_units", "learning_rate_jumped", "gradient_spike", "healthy")
    ),
}
# Cells of the step table that are in sight in part, or whose text is longer than they are.
_CUT = """
scroller => {
  const box = scroller.getBoundingClientRect();
  const head = scroller.querySelector('thead').getBoundingClientRect();
  const names = scroller.querySelector('tbody th').getBoundingClientRect();
  const cut = [];
  for (const cell of scroller.querySelectorAll('tbody td')) {
    const {left, right, top, bottom} = cell.getBoundingClientRect();
    const outside = right <= names.right + 1 || left >= box.right - 1
      || bottom <= head.bottom + 1 || top >= box.bottom - 1;
    if (outside) continue;
    const whole = left >= names.right - 1 && right <= box.right + 1
      && top >= head.bottom - 1.5 && bottom <= box.bottom + 1.5;
    const inner = [...cell.children].filter((e) => e.getClientRects().length);
    const fits = inner.every((e) => e.getBoundingClientRect().left >= left - 0.5);
    if (!whole || !fits) cut.push(cell.innerText);
  }
  return cut;
}
"""


def seen_runs(tab: Tab) -> list[str]:
    """The columns of the step table that are in sight."""
    found = tab.locate(".step-panel .table-scroll").evaluate(
        """scroller => {
          const box = scroller.getBoundingClientRect();
          const left = scroller.querySelector('tbody th').getBoundingClientRect().right;
          return [...scroller.querySelectorAll('thead th[data-run]')].filter((e) => {
            const middle = (e.getBoundingClientRect().left + e.getBoundingClientRect().right) / 2;
            return middle > left && middle < box.right;
          }).map((e) => e.dataset.run);
        }"""
    )
    return list(found)


@pytest.mark.parametrize(
    ("width", "settings", "reference"),
    [(1280, False, False), (1600, True, False), (1280, False, True), (1600, False, True)],
)
def test_the_step_table_shows_whole_columns_and_rows(
    browser: Browser, demo_board: TensorBoard, width: int, settings: bool, reference: bool
) -> None:
    link = {**ALL_FOUR, **({"ref": "healthy/adam_debug"} if reference else {})}
    with open_tab(browser, demo_board.url, link, size=(width, 900)) as tab:
        if settings:
            open_settings(tab)
        scroller = tab.locate(".step-panel .table-scroll")
        expect(scroller.locator("thead th[data-run]")).to_have_count(4)
        tab.page.wait_for_timeout(500)
        first = seen_runs(tab)
        assert len(first) >= 2
        assert first[0] == "dead_units/adam_debug"
        if reference:
            assert first[1] == "healthy/adam_debug"
        assert scroller.evaluate(_CUT) == []
        in_sight = tab.locate(".columns-in-sight [role=status]")
        expect(in_sight).to_have_text(f"runs 1–{len(first)} of 4")
        tab.locate('button[aria-label="Runs after"]').click()
        expect(in_sight).not_to_have_text(f"runs 1–{len(first)} of 4")
        tab.page.wait_for_timeout(500)
        assert seen_runs(tab) != first
        assert scroller.evaluate(_CUT) == []
        for _ in range(3):
            scroller.evaluate("e => e.scrollBy(0, 47)")
            tab.page.wait_for_timeout(300)
            assert scroller.evaluate(_CUT) == []
        while tab.locate('button[aria-label="Runs after"]').is_enabled():
            tab.locate('button[aria-label="Runs after"]').click()
            tab.page.wait_for_timeout(400)
        assert len(seen_runs(tab)) == len(first)
        save_picture(tab, f"columns-{width}-{settings}-{reference}")


def test_all_columns_that_fit_are_shown_without_a_word(
    browser: Browser, tensorboard: TensorBoard
) -> None:
    with open_tab(browser, tensorboard.url, BOTH, size=(1280, 900)) as tab:
        expect(tab.locate(".step-panel thead th[data-run]")).to_have_count(2)
        tab.page.wait_for_timeout(500)
        assert len(seen_runs(tab)) == 2
        assert tab.locate(".step-panel .table-scroll").evaluate(_CUT) == []
        expect(tab.locate(".columns-in-sight")).to_have_count(0)


def test_a_slider_moves_the_step(tab: Tab) -> None:
    slider = tab.locate(".step-slider").first
    slider.focus()
    tab.page.keyboard.press("ArrowLeft")
    tab.shows(".step-panel h3", "At step 195")
    assert "p.adam_debug.step=195" in tab.page.url
    tab.page.keyboard.press("Home")
    tab.shows(".step-panel h3", "At step 1")
    expect(slider).to_have_attribute("aria-valuetext", "step 1")
    tab.page.keyboard.press("End")
    tab.shows(".step-panel h3", f"At step {STEPS}")
    assert "p.adam_debug.step=" not in tab.page.url, "it follows the newest"
    box = slider.bounding_box()
    assert box is not None
    tab.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab.shows(".step-panel h3", "At step 90")
    assert "p.adam_debug.step=90" in tab.page.url


def test_the_map_ends_at_the_last_step_and_says_that_records_are_few(
    browser: Browser, tmp_path: Path
) -> None:
    write_run(tmp_path / "short", Run(steps=300, every=100))
    write_run(tmp_path / "long", Run(steps=500, every=5))
    link = {"run": "short/adam_debug", "runs": "short%2Fadam_debug,long%2Fadam_debug"}
    with running_tensorboard(tmp_path) as process:
        wait_for_runs(process, 2)
        with open_tab(browser, process.url, link) as tab:
            expect(tab.locate(".overview .thin")).to_contain_text("Only 9 of 300 steps")
            tab.locate('button[aria-label="Expand all modules"]').click()
            end = share_of(300, 500)
            before, after = tab.cells(EMBEDDING, end, [-6, 6])
            surface = tab.cell(EMBEDDING, 0.98)
            assert after == surface, "nothing is drawn beyond the last step"
            assert before != surface
            tab.locate(".run .name", has_text="long").click()
            expect(tab.locate(".overview .thin")).to_have_count(0)


def test_findings_and_compass_never_lie_on_each_other(
    browser: Browser, tensorboard: TensorBoard
) -> None:
    with open_tab(browser, tensorboard.url, BOTH, size=(1280, 720)) as tab:
        tab.locate(".finding").first.click()
        tab.locate(".compass-head > button").first.click()
        expect(tab.locate(".compass-body")).to_be_visible()
        boxes = [
            box
            for part in (".runs", ".findings-panel", ".compass", ".optimizer", ".keys")
            if (box := tab.locate(part).bounding_box())
        ]
        assert len(boxes) == 5
        for above, below in pairwise(boxes):
            assert above["y"] + above["height"] <= below["y"] + 1
        assert tab.locate(".findings-panel").evaluate("e => e.scrollHeight <= e.clientHeight")


def test_a_telephone_shows_all_of_it_in_one_column(
    browser: Browser, demo_board: TensorBoard
) -> None:
    with open_tab(browser, demo_board.url, ALL_FOUR, size=(390, 844), wait_for=".finding") as tab:
        page = tab.locate(".tab")
        assert page.evaluate("e => e.scrollWidth <= e.clientWidth")
        out = page.evaluate(
            """page => [...page.querySelectorAll('button, select, input, canvas, h2, .finding')]
              .filter((e) => e.getClientRects().length)
              .filter((e) => !e.closest('.table-scroll, .visually-hidden'))
              .filter((e) => e.getBoundingClientRect().right > innerWidth + 1)
              .map((e) => e.outerHTML.slice(0, 90))"""
        )
        assert out == []
        tab.locate(".finding", has_text="Dead units").click()
        heat = tab.locate(".heat-rows canvas")
        heat.scroll_into_view_if_needed()
        expect(heat).to_be_in_viewport()
        expect(tab.locate(".overview h2")).to_have_text("Rows without gradient")
        box = heat.bounding_box()
        assert box is not None
        assert box["width"] > 180
        table = tab.locate(".step-panel .table-scroll")
        table.scroll_into_view_if_needed()
        assert table.evaluate(_CUT) == []
        last = tab.locate(".panel").last
        last.scroll_into_view_if_needed()
        expect(last).to_be_in_viewport()
        save_picture(tab, "telephone")
        tab.locate(".settings-button").click()
        expect(tab.locate(".settings h4")).to_have_count(4)
        tab.locate('button[aria-label="Close settings"]').click()
        tab.locate("button", has_text="All findings").click()
        expect(tab.locate(".all-findings")).to_be_in_viewport()
        expect(tab.locate(".all-findings tbody tr")).not_to_have_count(0)
        listed = tab.locate(".all-findings").bounding_box()
        assert listed is not None
        frame = tab.page.locator("iframe").bounding_box()
        assert frame is not None
        assert abs(listed["y"] - frame["y"]) < 40


def test_a_large_window_is_filled(browser: Browser, demo_board: TensorBoard) -> None:
    with open_tab(browser, demo_board.url, ALL_FOUR, size=(2560, 1400)) as tab:
        content, card = tab.locate(".content").bounding_box(), tab.locate(".detail").bounding_box()
        assert content is not None
        assert card is not None
        assert card["y"] + card["height"] > content["y"] + content["height"] - 40
        assert card["width"] > content["width"] - 60
        expect(tab.locate(".step-panel thead th[data-run]")).to_have_count(4)
        assert len(seen_runs(tab)) == 4
        save_picture(tab, "large")
