"""Shared fixtures of the browser tests: one browser, and one TensorBoard on ``tab_runs``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from generated_logs import write_run
from playwright.sync_api import Browser, sync_playwright
from tab_page import Tab, launch, open_tab
from tab_runs import PLAIN, SPIKED, WITH_NAN, wait_for_runs
from tensorboard_process import TensorBoard, running_tensorboard


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = launch(playwright)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def log_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of one model, one of a different model."""
    folder = tmp_path_factory.mktemp("logs")
    write_run(folder / "spiked", SPIKED)
    write_run(folder / "plain", PLAIN)
    write_run(folder / "with_nan", WITH_NAN)
    return folder


@pytest.fixture(scope="session")
def tensorboard(log_folder: Path) -> Iterator[TensorBoard]:
    with running_tensorboard(log_folder) as process:
        wait_for_runs(process, 3)
        yield process


@pytest.fixture
def tab(browser: Browser, tensorboard: TensorBoard) -> Iterator[Tab]:
    """The tab on the run with the spike, every module open, at full resolution."""
    with open_tab(browser, tensorboard.url, {"run": "spiked/adam_debug"}) as opened:
        opened.locate('button[aria-label="Expand all modules"]').click()
        yield opened
