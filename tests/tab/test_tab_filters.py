"""Filters of runs and tensors: an expression that would take hours leaves the tab alive."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from generated_logs import write_run
from generated_runs import Run
from playwright.sync_api import Browser, expect
from tab_page import open_tab
from tensorboard_process import TensorBoard, running_tensorboard

pytest_plugins = ["tab_fixtures"]

RUN = "a_run_with_a_rather_long_name_of_letters_alone"
# For a name of 40 letters there are 2^40 ways to part it, and each is tried.
ENDLESS = "([a-z_.]+[a-z_.]*)+@"
SLOW = "Takes too long, so it is matched as plain text"


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TensorBoard]:
    folder = tmp_path_factory.mktemp("filters")
    write_run(folder / RUN, Run(steps=20))
    write_run(folder / "other", Run(steps=20))
    with running_tensorboard(folder) as process:
        yield process


def test_a_link_with_an_endless_filter_opens(browser: Browser, board: TensorBoard) -> None:
    link = {"run": f"{RUN}/adam_debug", "q": ENDLESS}
    with open_tab(browser, board.url, link, wait_for=".field-error") as tab:
        expect(tab.locate(".field-error")).to_have_text(SLOW)
        box = tab.locate('input[aria-label="Filter tensors (regex)"]')
        box.fill("h.(0|1).*attn")
        expect(tab.locate(".field-error")).to_have_count(0)
        rows = tab.locate(".tree-row", has_text="attn")
        expect(rows.first).to_be_visible()
        expect(tab.locate(".tree-row", has_text="mlp")).to_have_count(0)


def test_an_endless_filter_of_runs_is_plain_text(browser: Browser, board: TensorBoard) -> None:
    with open_tab(browser, board.url, {"run": f"{RUN}/adam_debug"}) as tab:
        box = tab.locate('input[aria-label="Filter runs (regex)"]')
        box.fill(ENDLESS)
        expect(tab.locate(".field-error")).to_have_text(SLOW)
        expect(tab.locate(".run")).to_have_count(0)
        box.fill("(oth|x)er")
        expect(tab.locate(".run")).to_have_count(1)
        expect(tab.locate(".run")).to_contain_text("other")
        box.fill("oth(")
        expect(tab.locate(".field-error")).to_have_text("Invalid regular expression")
        expect(tab.locate(".run")).to_have_count(2)
