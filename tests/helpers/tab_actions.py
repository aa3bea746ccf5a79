"""Actions of tests in the tab, and values they read from it."""

from __future__ import annotations

import json
import re
from pathlib import Path

from playwright.sync_api import Locator, expect
from tab_page import Tab

SPIKED_LAYER = "transformer.h.1.mlp.c_proj.weight"
BETWEEN_RECORDS = 152  # every fifth step is recorded
BOTH = {"run": "spiked/adam_debug", "runs": "spiked%2Fadam_debug,plain%2Fadam_debug"}
INK = {"light": (33, 33, 33), "dark": (255, 255, 255)}  # of text
PICTURES = Path(__file__).parents[2] / "screenshots"


def number_of(text: str) -> float:
    return float(text.split()[0])


def center(box: Locator) -> tuple[float, float]:
    found = box.bounding_box()
    assert found is not None
    return found["x"] + found["width"] / 2, found["y"] + found["height"] / 2


def visible_steps(tab: Tab) -> tuple[float, float]:
    match = re.search(r"range=([\d.]+)%2C([\d.]+)", tab.page.url)
    assert match, tab.page.url
    return float(match[1]), float(match[2])


def choose_statistic(tab: Tab, label: str) -> None:
    tab.locate(".lines .menu-button").click()
    tab.locate(".menu-item", has_text=re.compile(f"^\\s*{re.escape(label)}\\s*$")).click()
    tab.page.keyboard.press("Escape")
    expect(tab.locate(".menu-list")).to_have_count(0)


def tab_colours(canvas: Locator) -> int:
    return int(
        canvas.evaluate(
            """canvas => new Set(new Uint32Array(canvas.getContext('2d').getImageData(
                0, 0, canvas.width, canvas.height).data.buffer)).size"""
        )
    )


def picture(canvas: Locator) -> str:
    return str(canvas.evaluate("canvas => canvas.toDataURL()"))


def open_settings(tab: Tab) -> Locator:
    tab.locate(".settings-button").click()
    pane = tab.locate(".settings")
    pane.locator("select").first.wait_for()  # it is loaded on first opening
    return pane


def preferences(tab: Tab) -> dict[str, object]:
    kept = tab.locate("body").evaluate("() => localStorage.getItem('adam_debug.preferences')")
    return dict(json.loads(kept))


def download(tab: Tab, menu: Locator, item: str) -> Path:
    menu.click()
    with tab.page.expect_download() as found:
        tab.locate(".menu-item", has_text=item).click()
    return Path(found.value.path())


SAVE_MENUS = [
    'button[aria-label="Save the heat map"]',
    'button[aria-label="Save the lines"]',
    'button[aria-label="Save the histograms of update"]',
    'button[aria-label="Save the histograms of exp_avg_sq"]',
    'button[aria-label="Save the histograms of gradient"]',
]


def save_picture(tab: Tab, name: str) -> None:
    """Save a screenshot of the tab, to look at."""
    PICTURES.mkdir(exist_ok=True)
    tab.page.wait_for_timeout(300)
    tab.page.screenshot(path=PICTURES / f"{name}.png")
