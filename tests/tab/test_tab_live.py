"""Only new steps are fetched while a run goes on."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from event_files import event, make_layout, step_tensors, write_events
from event_files import write_run as write_made_up_run
from playwright.sync_api import Browser
from tab_actions import number_of
from tab_page import open_tab
from tab_runs import wait_for_runs
from tensorboard_process import running_tensorboard

from tb_adam_plugin import schema

pytest_plugins = ["tab_fixtures"]


def test_only_new_steps_are_fetched_and_pause_keeps_what_is_shown(
    browser: Browser, tmp_path: Path
) -> None:
    layout = make_layout()
    run = tmp_path / "live"
    write_made_up_run(run / "adam_debug", range(1, 21), layout, histograms=True)
    with running_tensorboard(tmp_path) as process:
        wait_for_runs(process, 1)
        with open_tab(browser, process.url, shared=False) as tab:
            tab.shows(".overview .sub", "20 logged steps")
            tab.locate(".panel canvas").first.wait_for()
            tab.page.wait_for_timeout(500)
            tab.responses.clear()
            write_events(
                run / "adam_debug",
                [event(21, step_tensors(layout, 21, histograms=True))],
            )
            tab.shows(".overview .sub", "21 logged steps", seconds=12)
            tab.shows(".step-panel h3", "At step 21")
            tab.page.wait_for_timeout(500)
            data = [r for r in tab.responses if "?run=" in r.url and "/findings" not in r.url]
            assert {re.search(r"/(\w+)\?", r.url)[1] for r in data} >= {  # type: ignore[index]
                "overview",
                "series",
                "steps",
                "hyperparameters",
                "histograms",
            }
            assert all("since=20" in r.url for r in data), [r.url for r in data]

            tab.locate('button[aria-label="Pause: keep what is shown"]').click()
            tab.shows(".live", "Paused")
            write_events(run / "adam_debug", [event(22, step_tensors(layout, 22))])
            tab.page.wait_for_timeout(8000)
            tab.shows(".overview .sub", "21 logged steps")
            tab.locate('button[aria-label="Resume"]').click()
            tab.shows(".overview .sub", "22 logged steps")

            # Started again from step 15: what is known is not good any more.
            again = [event(t, step_tensors(layout, t, seed=9), 1.8e9 + t) for t in range(15, 19)]
            write_events(run / "adam_debug", again)
            expected = schema.statistics_tensor(layout, made_up(layout, 16)).tensor[0, 1]
            tab.page.wait_for_timeout(7000)
            for _ in range(9):
                tab.locate("body").press("ArrowLeft")
                tab.page.wait_for_timeout(150)
                if "At step 16" in tab.locate(".step-panel h3").inner_text():
                    break
            tab.shows(".step-panel h3", "At step 16")
            assert number_of(tab.number("update_rms")) == pytest.approx(float(expected), rel=1e-3)


def made_up(layout: schema.Layout, step: int) -> np.ndarray:  # type: ignore[type-arg]
    from event_files import statistics_of

    return statistics_of(layout, step, seed=9)
