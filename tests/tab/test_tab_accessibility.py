"""axe-core finds no fault in any view of the tab, light and dark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect
from tab_page import Tab, open_tab
from tab_runs import HEALTHY, ILL
from tensorboard_process import TensorBoard

pytest_plugins = ["tab_fixtures", "tab_demo_runs"]

AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
# axe-core is given to the frame after it has loaded, which no policy of pages has to allow.
_FAULTS = """
async () => {
  const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
  const { violations } = await axe.run(document, { runOnly: tags });
  return violations.map(
    ({ id, nodes }) => `${id}: ${nodes.map((n) => `${n.html} ${n.failureSummary}`).join(' ')}`,
  );
}
"""


def faults(tab: Tab) -> list[Any]:
    expect(tab.locate(".plot.hint")).to_have_count(0)  # what loads is pale
    tab.page.wait_for_timeout(500)
    (frame,) = [frame for frame in tab.page.frames if frame.parent_frame is not None]
    frame.evaluate(AXE.read_text("utf-8"))
    found: list[Any] = frame.evaluate(_FAULTS)
    return found


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_no_view_has_a_fault(browser: Browser, demo_board: TensorBoard, dark: bool) -> None:
    link = {"run": f"{ILL}/adam_debug"}
    with open_tab(browser, demo_board.url, link) as tab:
        if dark:
            tab.page.evaluate("document.body.classList.add('dark-mode')")
        expect(tab.locate(".finding")).not_to_have_count(0)
        expect(tab.locate(".panel canvas")).not_to_have_count(0)
        assert faults(tab) == []
        tab.locate(".finding").first.click()
        expect(tab.locate('.finding[aria-current="true"]')).to_have_count(1)
        assert faults(tab) == []
        tab.locate("button", has_text="All findings").click()
        tab.locate(".all-findings").wait_for()
        assert faults(tab) == []
        tab.locate(".compare-runs").click()
        tab.locate(".compare table").wait_for()
        tab.locate('tr[data-row="final_loss"] th button').click()
        tab.locate(".same-settings summary").click()
        tab.locate(".compare .what-is button, .compare .what").first.click()
        tab.locate(".what-is-text").wait_for()
        assert faults(tab) == []
        tab.page.keyboard.press("Escape")
        tab.page.keyboard.press("Escape")
        tab.locate(".settings-button").click()
        tab.locate(".settings h4").first.wait_for()
        assert faults(tab) == []


def test_a_run_without_findings_has_no_fault(browser: Browser, demo_board: TensorBoard) -> None:
    with open_tab(browser, demo_board.url, {"run": f"{HEALTHY}/adam_debug"}) as tab:
        expect(tab.locate(".panel canvas")).not_to_have_count(0)
        assert faults(tab) == []
        tab.page.keyboard.press("?")
        tab.locate('[role="dialog"]').wait_for()
        assert faults(tab) == []
