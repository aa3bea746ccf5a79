"""The tab on runs of one step, without histograms, of plain SGD, and of many tensors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from event_files import make_layout
from event_files import write_run as write_made_up_run
from playwright.sync_api import Browser, expect
from tab_page import open_tab
from tab_runs import WHITE, wait_for_runs
from tensorboard_process import TensorBoard, running_tensorboard

from tb_adam_plugin import schema

pytest_plugins = ["tab_fixtures"]


@pytest.fixture(scope="module")
def odd_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TensorBoard]:
    """Runs that are unlike what the tab is made for."""
    folder = tmp_path_factory.mktemp("odd")
    write_made_up_run(folder / "one_step", [1], make_layout(["weight"]), histograms=True)
    write_made_up_run(folder / "no_histograms", range(1, 4))
    write_made_up_run(folder / "sgd", range(1, 4), sgd_layout(), histograms=True)
    many = [f"experts.{i // 100}.{'very_long_name_' * 6}{i}" for i in range(1000)]
    write_made_up_run(folder / "many", range(1, 4), make_layout(many))
    write_made_up_run(folder / "long", range(1, 1501))
    with running_tensorboard(folder) as process:
        wait_for_runs(process, 5)
        yield process


def sgd_layout() -> schema.Layout:
    layout = make_layout(statistics=("update_rms", "exp_avg_sq_root"))
    group = schema.Group("SGD", {"nesterov": True}, ("exp_avg_sq_root", "exp_avg_sq"))
    return replace(layout, groups=(group,))


def test_crowded_pixel_can_show_the_latest_or_the_mean(
    browser: Browser, odd_runs: TensorBoard
) -> None:
    with open_tab(browser, odd_runs.url, {"run": "long", "runs": "long"}) as tab:
        tab.locate(".settings-button").click()
        label = tab.locate(".settings label", has_text="When cells overlap, show")
        heat = tab.locate(".heat-rows canvas")
        seen = {heat.evaluate("canvas => canvas.toDataURL()")}
        for shows in ("latest", "mean"):
            with tab.page.expect_response(f"**/overview?*crowded={shows}*"):
                label.locator("select").select_option(shows)
            tab.page.wait_for_timeout(300)
            seen.add(heat.evaluate("canvas => canvas.toDataURL()"))
        assert len(seen) == 3
        # Of a thousand tensors in ten folded rows, too, which the server has not thinned.
        tab.locate("button.name", has_text="many").click()
        tab.shows(".overview .sub", "1,000 tensors")
        mean = heat.evaluate("canvas => canvas.toDataURL()")
        label.locator("select").select_option("worst")
        tab.page.wait_for_timeout(500)
        assert heat.evaluate("canvas => canvas.toDataURL()") != mean


def test_run_of_one_step_is_shown(browser: Browser, odd_runs: TensorBoard) -> None:
    with open_tab(browser, odd_runs.url, {"run": "one_step", "runs": "one_step"}) as tab:
        tab.shows(".fob", "step 1")
        assert tab.cell("weight", 0.5) != WHITE
        expect(tab.locate('section[aria-label^="Histograms of"] canvas').first).to_be_visible()


def test_run_without_histograms_says_so(browser: Browser, odd_runs: TensorBoard) -> None:
    with open_tab(browser, odd_runs.url, {"run": "no_histograms"}) as tab:
        expect(tab.locate(".plot.hint", has_text="No histogram has been logged yet")).to_have_count(
            1
        )
        expect(tab.locate(".plot.hint", has_text="no histograms of gradient")).to_have_count(1)


def test_what_an_optimizer_does_not_have_is_said(browser: Browser, odd_runs: TensorBoard) -> None:
    with open_tab(browser, odd_runs.url, {"run": "sgd", "runs": "sgd"}) as tab:
        tab.shows('tr[data-statistic="exp_avg_sq_root"] td', "not defined for SGD")
        hint = tab.locate(".plot.hint", has_text="exp_avg_sq is not defined for SGD.")
        expect(hint).to_have_count(1)
        tab.shows(".chip.group", "SGD group 0")
        tab.shows(".chip.group", "nesterov")


def test_thousand_tensors_with_long_names_stay_light(
    browser: Browser, odd_runs: TensorBoard
) -> None:
    with open_tab(browser, odd_runs.url, {"run": "many"}, size=(1280, 800)) as tab:
        tab.locate('button[aria-label="Expand all modules"]').click()
        tab.shows(".overview .sub", "1,000 tensors")
        assert 5 < tab.locate(".tree-row").count() < 60
        tab.locate(".overview-scroll").evaluate("element => { element.scrollTop = 9000 }")
        expect(tab.locate(".tree-row").first).not_to_contain_text("experts.0")
        body = tab.locate("body")
        assert body.evaluate("() => document.documentElement.scrollWidth") <= 1280
