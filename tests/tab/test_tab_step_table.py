"""The numbers at a step: unknown values, and NaN."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from event_files import event, make_layout, statistics_of, step_tensors, write_events
from playwright.sync_api import Browser, expect
from tab_page import open_tab
from tab_runs import wait_for_runs
from tensorboard_process import running_tensorboard

from tb_adam_plugin import schema

pytest_plugins = ["tab_fixtures"]

ILL_STEP = 3


def test_what_is_not_known_is_no_nan(browser: Browser, tmp_path: Path) -> None:
    statistics = ("update_to_weight_ratio", "update_rms", "gradient_rms", "nonfinite_count")
    layout = make_layout(statistics=statistics)
    events = []
    for step in range(1, 6):
        values = statistics_of(layout, step)
        values[:, 2] = np.nan  # there is no gradient
        values[:, 3] = 8 if step == ILL_STEP else 0
        if step == ILL_STEP:
            values[:, 1] = np.nan
        rest = step_tensors(layout, step)[1:]
        events.append(event(step, [schema.statistics_tensor(layout, values), *rest]))
    write_events(tmp_path / "run" / "adam_debug", events)
    with running_tensorboard(tmp_path) as process:
        wait_for_runs(process, 1)
        with open_tab(browser, process.url) as tab:
            gradient, update = (
                tab.locate(f'tr[data-statistic="{name}"] td').first
                for name in ("gradient_rms", "update_rms")
            )
            expect(gradient.locator("span")).to_have_text("—")
            expect(gradient).to_have_attribute("title", "no value")
            expect(update).not_to_have_attribute("title", "no value")
            for _ in range(2):
                tab.locate("body").press("ArrowLeft")
            tab.shows(".step-panel h3", f"At step {ILL_STEP}")
            expect(update.locator("span")).to_have_text("NaN")
            expect(gradient.locator("span")).to_have_text("NaN")
            expect(gradient).not_to_have_attribute("title", "no value")
