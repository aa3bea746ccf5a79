"""What remains reachable in a narrow window."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect
from tab_actions import BOTH
from tab_page import open_tab
from tensorboard_process import TensorBoard

pytest_plugins = ["tab_fixtures"]

WIDTHS = [800, 1000, 1001, 1100, 1150, 1200, 1261, 1361, 1421, 1501, 1600]
# Parts of the bar that are cut by the window or by the bar, or lie on each other.
_CUT = """
bar => {
  const parts = [...bar.children].filter((e) => e.getClientRects().length);
  const boxes = parts.map((e) => e.getBoundingClientRect());
  const whole = bar.getBoundingClientRect();
  const cut = (b) => b.left < whole.left || b.right > Math.min(whole.right, innerWidth)
    || b.top < whole.top || b.bottom > whole.bottom;
  const apart = (a, b) => a.right <= b.left + 1 || b.right <= a.left + 1
    || a.bottom <= b.top + 1 || b.bottom <= a.top + 1;
  const on = (b, i) => boxes.some((other, j) => j < i && !apart(b, other));
  const ill = (_, i) => cut(boxes[i]) || on(boxes[i], i);
  return parts.filter(ill).map((e) => e.outerHTML.slice(0, 80));
}
"""


@pytest.mark.parametrize("reference", [{}, {"ref": "plain/adam_debug"}])
def test_nothing_in_the_bar_is_cut_at_any_width(
    browser: Browser, tensorboard: TensorBoard, reference: dict[str, str]
) -> None:
    link = {**BOTH, **reference}
    with open_tab(browser, tensorboard.url, link) as tab:
        more = tab.locate('select[aria-label="Colour by another statistic"]')
        labels = more.locator("option").all_inner_texts()
        bar = tab.locate(".main > .bar")
        for label in ("", max(labels, key=len)):
            if label:
                more.select_option(label=label)
                expect(more).to_have_class("other-metric chosen")
            for width in WIDTHS:
                tab.page.set_viewport_size({"width": width, "height": 800})
                expect(tab.locate("body")).to_have_js_property("clientWidth", width)
                assert bar.evaluate(_CUT) == [], (width, label)
                field = tab.locate(".tensor-filter input").bounding_box()
                assert field is not None
                assert field["width"] > 85, (width, label)
        tab.page.set_viewport_size({"width": 1100, "height": 800})
        tab.locate(".settings-button").click()
        expect(tab.locate(".settings h4")).to_have_count(4)


@pytest.mark.parametrize("width", [820, 1100])
def test_heat_map_fills_a_narrow_tab_without_scrolling(
    browser: Browser, tensorboard: TensorBoard, width: int
) -> None:
    with open_tab(browser, tensorboard.url, BOTH, size=(width, 700)) as tab:
        tab.locate('.overview button[aria-label="Full size"]').click()
        expect(tab.locate(".detail")).to_be_hidden()
        expect(tab.locate(".x-axis")).to_be_in_viewport(ratio=1)
