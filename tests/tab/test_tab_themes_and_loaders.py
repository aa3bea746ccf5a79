"""Every view of the tab in both themes and under both of TensorBoard's loaders."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, expect
from tab_page import Tab, open_tab
from tab_runs import ATTENTION, EMBEDDING, NOT_UPDATED, SPIKE, share_of, wait_for_runs
from tensorboard_process import TensorBoard, running_tensorboard

pytest_plugins = ["tab_fixtures"]

PREFIX = "/some/prefix"
LINK = {
    "run": "spiked/adam_debug",
    "runs": "spiked%2Fadam_debug,plain%2Fadam_debug",
    "ref": "plain/adam_debug",
    "open": "transformer,transformer.h,transformer.h.0,transformer.h.0.attn",
}
LEAST_CONTRAST = 4.5  # WCAG 2, level AA

# Texts whose contrast to what is behind them is too low. Disabled controls are exempt.
_LOW_CONTRAST = """
(body, least) => {
  const context = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
  const rgba = (colour) => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data].map((v) => v / 255);
  };
  const over = ([r, g, b, a], below) => [r, g, b].map((v, i) => a * v + (1 - a) * below[i]);
  const behind = (element) => {
    if (!element) return [1, 1, 1];
    const colour = rgba(getComputedStyle(element).backgroundColor);
    return colour[3] === 1 ? colour.slice(0, 3) : over(colour, behind(element.parentElement));
  };
  const luminance = (colour) => {
    const [r, g, b] = colour.map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  const texts = document.createTreeWalker(body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.nodeValue.trim() || !element.checkVisibility()) continue;
    if (element.closest(':disabled, .visually-hidden, script, style, option')) continue;
    seen += 1;
    const ground = behind(element);
    const ink = over(rgba(getComputedStyle(element).color), ground);
    const [low, high] = [luminance(ink), luminance(ground)].sort((a, b) => a - b);
    const contrast = (high + 0.05) / (low + 0.05);
    if (contrast < least) found.push(`${contrast.toFixed(2)} ${element.outerHTML.slice(0, 90)}`);
  }
  if (seen < 40) found.push(`only ${seen} texts`);
  return found;
}
"""

# Of each canvas in sight the share of its most frequent colour, and how many colours it has.
_COLOURS = """
canvases => canvases.filter((canvas) => canvas.checkVisibility()).map((canvas) => {
  const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  const counts = new Map();
  for (const pixel of new Uint32Array(data.buffer)) counts.set(pixel, (counts.get(pixel) ?? 0) + 1);
  const share = Math.max(...counts.values()) * 4 / data.length;
  return [canvas.getAttribute('aria-label'), share, counts.size];
})
"""


@pytest.fixture(scope="module")
def slow_loader(log_folder: Path) -> Iterator[TensorBoard]:
    with running_tensorboard(log_folder, "--load_fast=false", f"--path_prefix={PREFIX}") as process:
        wait_for_runs(process, 3)
        yield process


@pytest.fixture(params=["Rust loader", "Python loader"])
def url(request: pytest.FixtureRequest) -> str:
    name = "slow_loader" if request.param == "Python loader" else "tensorboard"
    found: TensorBoard = request.getfixturevalue(name)
    return found.url


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_view_is_drawn_readable_and_within_reach_of_the_keyboard(
    browser: Browser, url: str, theme: str
) -> None:
    with open_tab(browser, url, LINK) as tab:
        if theme == "dark":
            tab.page.evaluate("document.body.classList.add('dark-mode')")
            expect(tab.locate("html")).to_have_class("dark")
        check_overview(tab)
        check_parameter(tab)
        check_comparison(tab)
        check_optimizer(tab)
        check_findings(tab)
        check_live(tab)
        check_keyboard(tab)
        prefix = PREFIX if PREFIX in url else ""
        assert all(f"{prefix}/data/plugin" in response.url for response in tab.responses)


def check_overview(tab: Tab) -> None:
    """The spike stands out, what was not updated is hatched, and folding does not hide it."""
    spike, before = (tab.cell(EMBEDDING, share_of(step)) for step in (SPIKE, SPIKE - 25))
    assert sum(abs(a - b) for a, b in zip(spike, before, strict=True)) > 30, (spike, before)
    assert spike.red - spike.blue > before.red - before.blue, (spike, before)
    hatched = {tab.cell(NOT_UPDATED, 0.5, dy) for dy in range(-5, 6)}
    assert len(hatched) > 1, hatched
    assert all(pixel.is_grey for pixel in hatched), hatched
    check_readable(tab)


def check_parameter(tab: Tab) -> None:
    """A click on a cell leads to its charts and numbers; none of the pictures is blank."""
    tab.click_cell(ATTENTION, share_of(SPIKE))
    tab.shows(".detail .crumb", "attn / c_attn / weight")
    tab.shows(".fob", f"step {SPIKE}")
    tab.shows(".step-panel h3", f"At step {SPIKE}")
    ratio = tab.locate('tr[data-statistic="update_to_weight_ratio"] td').first
    expect(ratio).to_have_text(re.compile(r"[1-9]"), timeout=15_000)
    histograms = tab.locate('canvas[aria-label*="logged histograms"]')
    expect(histograms).to_have_count(3, timeout=15_000)
    canvases = tab.locate("canvas").evaluate_all(_COLOURS)
    assert len(canvases) >= 7, canvases  # legend, two strips, heat map, lines, three histograms
    blank = [found for found in canvases if found[1] > 0.995 or found[2] < 4]
    assert blank == []
    tab.shows(".tip", ATTENTION)  # the pointer is over the cell
    check_readable(tab)


def check_comparison(tab: Tab) -> None:
    """Coloured by the ratio to the other run, and the numbers beside each other."""
    heat = tab.locate(".heat-rows canvas")
    expect(tab.locate(".step-panel th[data-run]")).to_have_count(2)
    before = picture(heat)
    toggle = tab.locate(".toggle")
    toggle.press("Enter")
    tab.shows(".overview .sub", "÷ plain")
    expect(toggle).to_have_attribute("aria-pressed", "true")
    assert picture(heat) != before
    check_readable(tab)
    toggle.press("Enter")
    expect(tab.locate(".overview .sub").first).not_to_contain_text("÷")


def check_optimizer(tab: Tab) -> None:
    tab.locate(".optimizer button.link").press("Enter")
    card = tab.locate('section[aria-label^="Optimizer"] canvas, .optimizer-card canvas')
    card.first.wait_for()
    assert all(share < 0.995 for _, share, _ in card.evaluate_all(_COLOURS))
    check_readable(tab)
    tab.locate(".optimizer button.link").press("Enter")
    expect(card).to_have_count(0)


def check_findings(tab: Tab) -> None:
    """A key leads to what was found, and it says what to change."""
    tab.locate(".finding").first.wait_for()
    tab.locate("body").press("n")
    found = tab.locate('.finding[aria-current="true"]')
    expect(found.locator(".advice")).not_to_be_empty()
    check_readable(tab)
    tab.locate("body").press("Escape")
    tab.locate("body").press("Escape")


def check_live(tab: Tab) -> None:
    tab.shows(".live", re.compile("Last data|Live"))
    pause = tab.locate('button[aria-label^="Pause"]')
    pause.press("Enter")
    tab.locate('button[aria-label="Resume"]').press("Enter")
    expect(pause).to_be_visible()


def check_keyboard(tab: Tab) -> None:
    """The focus is seen wherever it goes; settings and help open, are readable, and close."""
    body = tab.locate("body")
    tab.locate(".settings-button").press("Enter")
    expect(tab.locate(".settings h4")).to_have_count(4)
    check_readable(tab)
    body.press("Escape")
    body.press("?")
    expect(tab.locate('[role="dialog"]')).to_be_focused()
    check_readable(tab)
    body.press("Escape")
    expect(tab.locate('[role="dialog"]')).to_have_count(0)
    tab.locate(".tensor-filter input").focus()
    focused = set()
    for _ in range(30):
        tab.page.keyboard.press("Tab")
        name, seen = body.evaluate(
            """() => {
              const e = document.activeElement;
              const {outlineStyle, outlineWidth, borderBottomWidth} = getComputedStyle(e);
              const outlined = outlineStyle !== 'none' && parseFloat(outlineWidth) >= 1.5;
              return [e.outerHTML.slice(0, 100), outlined || parseFloat(borderBottomWidth) >= 2];
            }"""
        )
        assert seen, name
        focused.add(name)
    assert len(focused) > 25, focused


def check_readable(tab: Tab) -> None:
    assert tab.locate("body").evaluate(_LOW_CONTRAST, LEAST_CONTRAST) == []


def picture(canvas: Locator) -> str:
    return str(canvas.evaluate("canvas => canvas.toDataURL()"))
