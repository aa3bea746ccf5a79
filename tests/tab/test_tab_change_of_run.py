"""Another run is chosen while a finding is open."""

from __future__ import annotations

from urllib.parse import unquote

from made_up_findings import FINDINGS
from playwright.sync_api import Browser, Route, expect
from tab_page import Tab
from tensorboard_process import TensorBoard

pytest_plugins = ["tab_fixtures"]

SPIKE = {**FINDINGS[1], "statistic": "gradient_rms"}
FOUND = {
    "spiked": [SPIKE],
    "plain": [
        {**FINDINGS[0], "run": "plain/adam_debug"},
        {**SPIKE, "id": "other", "run": "plain/adam_debug", "at": 80, "from": 80, "to": 81},
    ],
    "with_nan": [],
}


def serve(route: Route) -> None:
    """Answer with the findings of the run that is asked for."""
    run = unquote(route.request.url.split("run=")[1]).split("/")[0]
    answer = {"findings": FOUND[run], "not_evaluated": [], "compass": None, "recording": ""}
    route.fulfill(json=answer)


def test_findings_colours_and_lines_follow_the_run(
    browser: Browser, tensorboard: TensorBoard
) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.set_viewport_size({"width": 1600, "height": 1000})
        page.route("**/adam_debug/findings?*", serve)
        tab = Tab(page)
        page.goto(f"{tensorboard.url}#adam_debug&p.adam_debug.run=spiked%2Fadam_debug")
        opened = tab.locate('.finding[aria-current="true"]')
        lines = tab.locate(".lines .menu-button")
        expect(lines).to_have_text("update / weight")
        tab.locate(".finding").click()
        tab.shows(".overview h2", "Gradient RMS")
        expect(lines).to_have_text("gradient RMS")

        # This run has the same finding, at other steps.
        tab.locate("button.name", has_text="plain").click()
        tab.shows(".step-panel h3", "At step 80")
        expect(opened).to_have_count(1)
        expect(opened).to_contain_text("steps 80–81")
        tab.shows(".overview h2", "Gradient RMS")
        tab.shows(".overview .sub", "plain")
        assert "p.adam_debug.finding=other" in page.url

        # That one has not.
        tab.locate("button.name", has_text="with_nan").click()
        tab.shows(".overview .sub", "with_nan")
        tab.shows(".overview h2", "Update / weight")
        expect(lines).to_have_text("update / weight")
        expect(tab.locate(".finding")).to_have_count(0)
        assert "finding=" not in page.url

        tab.locate("button", has_text="Gradient").first.click()
        tab.shows(".overview h2", "Gradient RMS")
        expect(lines).to_have_text("gradient RMS")
        assert tab.problems == []
