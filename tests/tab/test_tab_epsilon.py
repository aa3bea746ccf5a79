"""Where ε takes over, in the histograms of exp_avg_sq."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from event_files import event, make_layout, step_tensors, write_events
from playwright.sync_api import Browser, expect
from tab_page import open_tab
from tab_runs import wait_for_runs
from tensorboard_process import running_tensorboard

from tb_adam_plugin import schema

pytest_plugins = ["tab_fixtures"]

EPSILON = 1e-6
ADADELTA = {
    "exp_avg_sq": "square_avg, without bias correction",
    "acc_delta": "average of the squared updates before lr",
}


def write_run(folder: Path, group: schema.Group) -> None:
    """Write a run whose exp_avg_sq lies around ε."""
    quantity = next(q for q in schema.QUANTITIES if q.name == "exp_avg_sq")
    layout = replace(make_layout(["weight"], quantities=[quantity]), groups=(group,))
    events = []
    for step in range(1, 6):
        values = np.random.default_rng(step).lognormal(np.log(EPSILON), 2, 400)
        counts = np.array([[schema.count_values(values, quantity)]])
        settings = np.array([[1.0, np.nan, 0.9, EPSILON, 0.0]])
        statistics, _, row = step_tensors(layout, step)
        hyperparameters = schema.hyperparameters_tensor(layout, settings)
        histograms = schema.histogram_tensors(layout, counts)
        events.append(event(step, [statistics, hyperparameters, row, *histograms]))
    write_events(folder / "adam_debug", events)


def test_epsilon_under_the_root_is_compared_with_v(browser: Browser, tmp_path: Path) -> None:
    write_run(tmp_path / "adadelta", schema.Group("Adadelta", {}, meanings=ADADELTA))
    meanings = {"exp_avg_sq": ADADELTA["exp_avg_sq"]}
    write_run(tmp_path / "rmsprop", schema.Group("RMSprop", {}, meanings=meanings))
    with running_tensorboard(tmp_path) as process:
        wait_for_runs(process, 2)
        with open_tab(browser, process.url, {"run": "rmsprop/adam_debug"}) as tab:
            panel = tab.locate('section[aria-label="Histograms of exp_avg_sq"]')
            expect(panel.locator("canvas")).to_have_count(1)
            notes = panel.locator("h3 small")
            expect(notes).to_contain_text("√v = ε (1e-6) is beyond the axis")
            tab.locate("button.name", has_text="adadelta").click()
            tab.shows(".overview .sub", "adadelta")
            expect(panel.locator("canvas")).to_have_count(1)
            expect(notes).to_contain_text("square_avg")
            expect(notes).not_to_contain_text("beyond the axis")
