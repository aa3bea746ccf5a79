"""What a zoom shows beside the heat map."""

from __future__ import annotations

import re

from playwright.sync_api import Browser, expect
from tab_actions import picture
from tab_page import open_tab
from tensorboard_process import TensorBoard

pytest_plugins = ["tab_fixtures"]


def test_ridgeline_shows_the_histograms_of_the_zoomed_steps(
    browser: Browser, tensorboard: TensorBoard
) -> None:
    link = {"run": "spiked/adam_debug", "range": "90,165"}
    with open_tab(browser, tensorboard.url, link) as tab:
        ridgeline = tab.locate('section[aria-label="Histograms of update"] canvas')
        part = re.compile("over 4 logged histograms")  # of the steps 100, 120, 140 and 160
        expect(ridgeline).to_have_attribute("aria-label", part)
        tab.page.wait_for_timeout(300)
        zoomed = picture(ridgeline)
        box = ridgeline.bounding_box()
        assert box is not None
        tab.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] - 26)
        tab.shows(".step-panel h3", "At step 160")
        tab.locate("button", has_text="Show all steps").click()
        whole = re.compile("over 11 logged histograms")
        expect(ridgeline).to_have_attribute("aria-label", whole)
        tab.page.wait_for_timeout(300)
        assert picture(ridgeline) != zoomed
