"""Thirty compared runs at every width, and a run that is deleted while they are compared."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from generated_logs import write_run
from generated_runs import Run
from playwright.sync_api import Browser, expect
from tab_actions import save_picture
from tab_page import open_tab
from tab_runs import wait_for_runs
from tensorboard_process import TensorBoard, running_tensorboard

pytest_plugins = ["tab_fixtures"]

COUNT = 30
NAMES = [f"grid/lr{1e-5 * (1 + i):.3g}_warmup-{i}" for i in range(COUNT - 1)]
LONG = "grid/" + "a_rather_long_name-of.a.run/" * 3 + "2026-11-30"


def link_to(*runs: str) -> dict[str, str]:
    names = ",".join(f"{run}/adam_debug".replace("/", "%2F") for run in runs)
    return {"compare": "1", "runs": names}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TensorBoard]:
    folder = tmp_path_factory.mktemp("many")
    for i, name in enumerate([*NAMES, LONG]):
        run = Run(parameters=4, steps=40 + i % 3, lr=1e-5 * (1 + i))
        write_run(folder / name, run, loss_writer=False)
    with running_tensorboard(folder) as process:
        wait_for_runs(process, COUNT)
        yield process


# Texts of the comparison that are not whole: a cell may be scrolled away, and be cut only by that.
_CUT = """
card => [...card.querySelectorAll('th, td, p, li, summary, button, h2, h3')]
  .filter((e) => e.getClientRects().length && !e.matches('.visually-hidden')
    && getComputedStyle(e).overflow !== 'auto' && e.scrollWidth > e.clientWidth + 1)
  .map((e) => e.outerHTML.slice(0, 120))
"""
# What reaches beyond the card, but for what the table's own region scrolls.
_OUTSIDE = """
card => [...card.querySelectorAll('*')].filter((e) => !e.closest('.compare-scroll table')
    && e.getClientRects().length && !e.closest('.visually-hidden'))
  .filter((e) => e.getBoundingClientRect().right > card.getBoundingClientRect().right + 1)
  .map((e) => e.outerHTML.slice(0, 120))
"""


@pytest.mark.parametrize("size", [(390, 844), (1280, 800), (2560, 1300)])
@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
def test_thirty_runs_are_scrolled_and_nothing_is_cut(
    browser: Browser, many: TensorBoard, size: tuple[int, int], locale: str
) -> None:
    link = link_to(*NAMES, LONG)
    with (
        browser.new_context(locale=locale) as context,
        open_tab(
            browser, many.url, link, size=size, wait_for=".compare table", context=context
        ) as tab,
    ):
        assert tab.locate(".compare .run-link").count() == COUNT
        card, region = tab.locate(".compare"), tab.locate(".compare-scroll")
        assert card.evaluate(_CUT) == []
        assert card.evaluate(_OUTSIDE) == []
        width = region.evaluate("e => [e.scrollWidth, e.clientWidth]")
        assert width[0] > width[1], "thirty columns do not fit"
        names = tab.locate(".compare tbody th").first
        before = names.bounding_box()
        region.focus()
        for _ in range(12):
            tab.page.keyboard.press("ArrowRight")
        tab.page.wait_for_timeout(400)
        assert region.evaluate("e => e.scrollLeft") > 0
        after = names.bounding_box()
        assert before is not None
        assert after is not None
        assert after["x"] == before["x"], "the names of the rows stay"
        region.evaluate("e => { e.scrollLeft = e.scrollWidth }")
        last = tab.locate(".compare thead th").last
        expect(last).to_be_in_viewport()
        head = tab.locate(".compare thead").bounding_box()
        assert head is not None
        assert head["height"] < 140, "a long name does not make the table start half a page below"
        tab.locate(".verdicts > details > summary").click()
        expect(tab.locate(".pairs > li")).to_have_count(COUNT - 1)
        assert card.evaluate(_CUT) == []
        assert card.evaluate(_OUTSIDE) == []
        save_picture(tab, f"compare-{size[0]}-{locale}")


def test_a_run_that_is_deleted_while_it_is_compared_is_named(
    browser: Browser, tmp_path: Path
) -> None:
    for i, name in enumerate(("a", "b", "c")):
        write_run(tmp_path / name, Run(parameters=4, steps=60, lr=1e-3 * (1 + i)))
    with running_tensorboard(tmp_path) as process:
        wait_for_runs(process, 3)
        with open_tab(
            browser, process.url, link_to("a", "b", "c"), wait_for=".compare table"
        ) as tab:
            expect(tab.locate(".compare .run-link")).to_have_count(3)
            shutil.rmtree(tmp_path / "b")
            expect(tab.locate(".compare .run-link")).to_have_count(2, timeout=60_000)
            tab.shows(
                ".compare-status",
                re.compile(r"1 checked run is not in the log folder: b/adam_debug\."),
            )
            expect(tab.locate(".pairs > li")).to_have_count(1)
            expect(tab.locate(".compare .banner")).to_have_count(0)
            # What was asked for before the server said that it is gone may be refused.
            tab.problems[:] = [p for p in tab.problems if "404" not in p and "503" not in p]
