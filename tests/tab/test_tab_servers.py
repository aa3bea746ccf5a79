"""The tab while its server gets new steps and new runs, or is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from event_files import START, event, make_layout, step_tensors, write_events
from event_files import write_run as write_made_up_run
from playwright.sync_api import Browser, expect
from tab_page import Tab, open_tab
from tab_runs import wait_for_runs
from tensorboard_process import running_tensorboard, wait_until

pytest_plugins = ["tab_fixtures"]


def test_new_steps_appear_without_reloading(browser: Browser, tmp_path: Path) -> None:
    layout = make_layout([f"layer{i}.weight" for i in range(60)])
    run = tmp_path / "live"
    write_made_up_run(run / "adam_debug", range(1, 21), layout, histograms=True)
    with running_tensorboard(tmp_path) as process:
        wait_for_runs(process, 1)
        with open_tab(browser, process.url, {"tensor": "layer40.weight"}) as tab:
            tab.shows(".overview .sub", "20 logged steps")
            tab.locate(".overview-scroll").evaluate("element => { element.scrollTop = 300 }")
            tab.locate("body").evaluate("() => { window.notReloaded = true }")
            events = [event(t, step_tensors(layout, t, histograms=True)) for t in range(21, 31)]
            write_events(run / "adam_debug", events)
            tab.shows(".overview .sub", "30 logged steps", seconds=20)
            tab.shows(".fob", "step 30")
            tab.shows(".step-panel h3", "At step 30")
            tab.shows(".run .step", "30")
            assert tab.locate("body").evaluate("() => window.notReloaded")
            assert tab.locate(".overview-scroll").evaluate("element => element.scrollTop") == 300
            tab.shows(".crumb", "layer40 / weight")


def forgive_replaced(tab: Tab, gone: list[str]) -> None:
    """A request may name a tensor of the run that is just being replaced: the tab asks again."""
    expect(tab.locate(".banner.error")).to_have_count(0)
    answers = [
        f"404: {response.url}"
        for response in tab.responses
        if response.status == 404 and any(f"parameter={name}" in response.url for name in gone)
    ]
    assert len(answers) <= 4, "not over and over"
    for answer in answers:
        tab.problems.remove(answer)
        said = next((p for p in tab.problems if p.startswith("console: ") and "404" in p), None)
        if said:
            tab.problems.remove(said)


@pytest.mark.parametrize("loader", ["true", "false"])
def test_another_model_takes_the_place_of_the_one_before_and_a_second_one_is_beside_it(
    browser: Browser, tmp_path: Path, loader: str
) -> None:
    before, model = make_layout(["conv.weight", "fc.weight"]), make_layout(["0.weight"])
    write_made_up_run(tmp_path / "gan" / "adam_debug", range(1, 21), before, histograms=True)
    with running_tensorboard(tmp_path, f"--load_fast={loader}") as process:
        wait_for_runs(process, 1)
        with open_tab(browser, process.url, {"tensor": "fc.weight"}) as tab:
            tab.shows(".overview .sub", "2 tensors · 20 logged steps")
            for folder, last in (("adam_debug", 5), ("adam_debug_2", 25)):
                events = [
                    event(t, step_tensors(model, t, histograms=True), START + 1000 + t)
                    for t in range(1, last + 1)
                ]
                write_events(tmp_path / "gan" / folder, events, "2")
            tab.shows(".overview .sub", "1 tensor · 5 logged steps", seconds=30)
            expect(tab.locate(".run .name")).to_have_text(["gan", "gan (2)"])
            expect(tab.locate(".run .step")).to_have_text(["5", "25"])
            expect(tab.row("0.weight")).to_have_count(1)
            expect(tab.row("conv.weight")).to_have_count(0)
            tab.locate(".run", has_text="gan (2)").locator(".name").click()
            tab.shows(".overview .sub", "gan (2) · 1 tensor · 25 logged steps")
            forgive_replaced(tab, ["conv.weight", "fc.weight"])


def test_empty_log_folder_shows_the_code_to_add_and_then_the_first_run(
    browser: Browser, tmp_path: Path
) -> None:
    with (
        running_tensorboard(tmp_path) as process,
        open_tab(browser, process.url, wait_for=".empty", shared=False) as tab,
    ):
        tab.shows(".empty pre", "debug = AdamDebugCallback(model, optimizer, log_dir=")
        tab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        tab.locate('button[aria-label="Copy the code"]').click()
        tab.shows(".snippet .copied", "Copied")
        assert "AdamDebugCallback" in tab.page.evaluate("navigator.clipboard.readText()")
        write_made_up_run(tmp_path / "first", range(1, 4))
        tab.shows(".overview .sub", "3 logged steps", seconds=20)


def hide_and_show(tab: Tab) -> None:
    """What TensorBoard does to the frame when another tab is opened, and then ours again."""
    frame = tab.page.locator("iframe")
    height = frame.evaluate("frame => frame.style.height")
    frame.evaluate("frame => { frame.style.height = '0' }")
    wait_until(lambda: tab.locate("body").evaluate("() => innerHeight === 0"), "the frame to hide")
    frame.evaluate("(frame, height) => { frame.style.height = height }", height)


def test_lost_server_is_said_and_nothing_is_lost(browser: Browser, tmp_path: Path) -> None:
    write_made_up_run(tmp_path / "run", range(1, 4))
    with running_tensorboard(tmp_path) as process:
        wait_for_runs(process, 1)
        with open_tab(browser, process.url, shared=False) as tab:
            tab.shows(".crumb", "weight")
            tab.page.context.set_offline(True)
            hide_and_show(tab)
            tab.shows(".banner", "TensorBoard does not answer", seconds=4)
            tab.shows(".overview .sub", "3 logged steps")
            tab.page.context.set_offline(False)
            hide_and_show(tab)
            expect(tab.locate(".banner")).to_have_count(0, timeout=10_000)
            assert all("ERR_INTERNET_DISCONNECTED" in problem for problem in tab.problems)
            tab.problems.clear()
