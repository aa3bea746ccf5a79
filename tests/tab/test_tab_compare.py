"""The comparison of the checked runs: settings, losses, verdicts, and where statistics part."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Route, expect
from swept_runs import LRS, train
from tab_actions import save_picture
from tab_page import Tab, open_tab
from tab_runs import wait_for_runs
from tensorboard_process import TensorBoard, running_tensorboard

pytest_plugins = ["tab_fixtures"]

BEST, WORST = "sweep/1e-2", "sweep/1e-4"
RUNS = sorted(f"sweep/{name}" for name in LRS)


def link_to(*runs: str, **more: str) -> dict[str, str]:
    """What opens the comparison of some runs."""
    names = ",".join(f"{run}/adam_debug".replace("/", "%2F") for run in runs)
    return {"compare": "1", "runs": names, **more}


@pytest.fixture(scope="module")
def swept_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep, a run whose loss is lost, and two without a loss."""
    folder = tmp_path_factory.mktemp("swept")
    for name, lr in LRS.items():
        train(folder / "sweep" / name, lr)
    train(folder / "odd" / "lost", 1e-2, lost_at=120)
    for name in ("mute", "silent"):
        train(folder / "odd" / name, 1e-3, records_loss=False)
    return folder


@pytest.fixture(scope="module")
def quick(swept_folder: Path) -> Iterator[TensorBoard]:
    with running_tensorboard(swept_folder) as process:
        wait_for_runs(process, 6)
        yield process


@pytest.fixture(scope="module")
def slow(swept_folder: Path) -> Iterator[TensorBoard]:
    with running_tensorboard(swept_folder, "--load_fast=false", "--path_prefix=/a/b") as process:
        wait_for_runs(process, 6)
        yield process


@pytest.fixture(params=["quick", "slow"])
def url(request: pytest.FixtureRequest) -> str:
    found: TensorBoard = request.getfixturevalue(request.param)
    return found.url


def runs_of(tab: Tab) -> list[str]:
    return [name.strip() for name in tab.locate(".compare .run-link").all_inner_texts()]


def row(tab: Tab, key: str) -> list[str]:
    return tab.locate(f'.compare tr[data-row="{key}"] td').all_inner_texts()


def opened(tab: Tab) -> Locator:
    """The table, once it is there."""
    table = tab.locate(".compare table")
    table.wait_for()
    return table


def test_checked_runs_are_compared(browser: Browser, url: str) -> None:
    runs = ",".join(f"sweep%2F{name}%2Fadam_debug" for name in LRS)
    with open_tab(browser, url, {"run": f"{WORST}/adam_debug", "runs": runs}) as tab:
        control = tab.locate(".compare-runs")
        expect(control).to_have_text(re.compile(r"Compare\s+3"))
        control.click()
        opened(tab)
        expect(control).to_have_attribute("aria-pressed", "true")
        expect(tab.locate(".heat-rows canvas")).to_have_count(0)
        tab.shows(".compare .sweep", "The best lr is 0.01. It is the largest value tried")
        assert runs_of(tab) == [BEST, "sweep/1e-3", WORST]
        assert row(tab, "setting lr") == ["0.01", "1e-3", "1e-4"]
        assert row(tab, "verdict")[0] == "best"
        assert all(text.startswith("worse from") for text in row(tab, "verdict")[1:])
        losses = [float(loss) for loss in row(tab, "final_loss")]
        assert losses == sorted(losses)
        assert len(tab.locate(".compare tbody tr").all()) == 3, "what is the same is folded"
        same = tab.locate(".same-settings")
        expect(same.locator("summary")).to_have_text(re.compile(r"^\d\d settings are the same"))
        expect(same.locator("dd").first).not_to_be_visible()
        same.locator("summary").click()
        expect(same.locator("dl")).to_contain_text("AdamW")
        expect(same.locator("dl")).to_contain_text("1e-8")
        tab.shows(".verdict", f"{BEST} is better than sweep/1e-3 from")
        assert "compare=1" in tab.page.url
        save_picture(tab, "compare")


def test_where_runs_part_is_a_click_away_and_back_leads_here(browser: Browser, url: str) -> None:
    with open_tab(browser, url, link_to(*RUNS), wait_for=".compare table") as tab:
        parting = tab.locate(".pairs > li").last.locator(".parting").first
        text = parting.inner_text()
        said = re.match(r"step (\d+): update / weight of (\S+), (\S+) \(sweep/1e-2\)", text)
        assert said, text
        step, tensor, value = said.groups()
        others = tab.locate(".pairs > li").last.locator(".partings details").first
        others.locator("summary").click()
        other = others.locator(".tensors button").first.inner_text()
        parting.click()
        expect(tab.locate(".detail .crumb")).to_have_attribute("title", tensor)
        tab.shows(".step-panel h3", f"At step {step}")
        tab.shows(".step-panel h3", f"compared with {BEST}")
        expect(tab.locate('.run .name[aria-pressed="true"]')).to_have_text(WORST)
        columns = tab.locate(".step-panel th[data-run]")
        assert [name.strip() for name in columns.all_inner_texts()][:2] == [WORST, BEST]
        first = tab.locate('tr[data-statistic="update_to_weight_ratio"] td')
        expect(first.nth(1)).to_have_text(re.compile(r"\d"))
        assert float(tab.number("update_to_weight_ratio", 1)) == pytest.approx(
            float(value), rel=0.06
        )
        tab.page.go_back()
        opened(tab)
        assert runs_of(tab) == [BEST, "sweep/1e-3", WORST]
        tab.page.go_forward()
        tab.shows(".step-panel h3", f"At step {step}")
        tab.page.go_back()
        opened(tab)
        others = tab.locate(".pairs > li").last.locator(".partings details").first
        others.locator("summary").click()
        others.locator(".tensors button").first.click()
        expect(tab.locate(".detail .crumb")).to_have_attribute("title", other)


def test_a_run_that_is_lost_and_one_without_a_loss_say_so(browser: Browser, url: str) -> None:
    link = link_to(BEST, WORST, "odd/lost", "odd/mute")
    with open_tab(browser, url, link, wait_for=".compare table") as tab:
        assert runs_of(tab) == [BEST, WORST, "odd/lost", "odd/mute"]
        assert row(tab, "verdict")[2:] == ["not finite from step 120", "–"]
        assert row(tab, "final_loss")[2:] == ["not finite", "–"]
        about = tab.locate(".verdicts > .about")
        expect(about.filter(has_text="odd/mute")).to_contain_text("no loss was recorded")
        expect(about.filter(has_text="odd/lost")).to_contain_text("not finite from step 120")


def test_runs_without_losses_are_compared_by_their_settings(
    browser: Browser, quick: TensorBoard
) -> None:
    link = link_to("odd/mute", "odd/silent")
    with open_tab(browser, quick.url, link, wait_for=".verdicts") as tab:
        tab.shows(".compare", "No setting that is recorded differs.")
        tab.shows(".verdicts", "Fewer than two of these runs have a loss that can be compared.")
        expect(tab.locate(".compare table")).to_have_count(0)
        expect(tab.locate(".verdicts .about").filter(has_text="odd/mute")).to_contain_text(
            "odd/mute, odd/silent: no loss was recorded"
        )
        expect(tab.locate(".pairs > li")).to_contain_text("no statistic differs by more")


def test_columns_are_sorted_by_a_row(browser: Browser, quick: TensorBoard) -> None:
    with open_tab(browser, quick.url, link_to(*RUNS), wait_for=".compare table") as tab:
        head = tab.locate('tr[data-row="setting lr"] th')
        for order in ("ascending", "descending"):
            head.locator("button").click()
            expect(head).to_have_attribute("aria-sort", order)
            by_lr = sorted(LRS, key=LRS.__getitem__, reverse=order == "descending")
            assert runs_of(tab) == [f"sweep/{name}" for name in by_lr]
        head.locator("button").click()
        expect(head).not_to_have_attribute("aria-sort", re.compile(""))


def test_a_run_is_left_out_while_it_is_open(browser: Browser, quick: TensorBoard) -> None:
    with open_tab(browser, quick.url, link_to(*RUNS), wait_for=".compare table") as tab:
        tab.locate('.compare button[aria-label="Leave sweep/1e-3 out"]').press("Enter")
        expect(tab.locate(".compare-scroll")).to_be_focused()
        expect(tab.locate(".compare .run-link")).to_have_count(2)
        tab.shows(".compare .sub", "2 runs")
        expect(tab.locate(".pairs > li")).to_have_count(1)
        expect(tab.locate(".compare .sweep")).to_have_count(0)
        tab.locate(f'.check[aria-label="Draw {WORST} in comparisons"]').click()
        tab.shows(".compare-status", "Check two or more runs in the list to compare them.")
        expect(tab.locate(".compare table")).to_have_count(0)
        expect(tab.locate(".compare-runs")).to_be_enabled()
        tab.locate(".compare-runs").click()
        tab.locate(".heat-rows canvas").wait_for()
        expect(tab.locate(".compare-runs")).to_be_disabled()


def test_two_of_many_are_compared_alone(browser: Browser, quick: TensorBoard) -> None:
    with open_tab(browser, quick.url, link_to(*RUNS), wait_for=".compare table") as tab:
        name = f"Compare only these two: {BEST} and {WORST}"
        tab.locate(f'button[aria-label="{name}"]').press("Enter")
        expect(tab.locate(".compare .run-link")).to_have_count(2)
        expect(tab.locate(".compare h2")).to_be_focused()
        assert runs_of(tab) == [BEST, WORST]
        tab.page.go_back()
        expect(tab.locate(".compare .run-link")).to_have_count(3)


def test_it_works_by_keys(browser: Browser, quick: TensorBoard) -> None:
    runs = ",".join(f"sweep%2F{name}%2Fadam_debug" for name in LRS)
    with open_tab(browser, quick.url, {"runs": runs}) as tab:
        tab.locate("body").press("c")
        opened(tab)
        tab.page.keyboard.press("Escape")
        tab.locate(".heat-rows canvas").wait_for()
        tab.locate(".compare-runs").press("Enter")
        opened(tab)
        tab.locate(".parting").first.focus()
        tab.page.keyboard.press("Enter")
        tab.locate(".detail .crumb").wait_for()
        expect(tab.locate(".compare-runs")).to_be_focused()
        tab.page.keyboard.press("Enter")
        opened(tab)
        tab.locate('.compare button[aria-label="Close"]').press("Enter")
        expect(tab.locate(".compare-runs")).to_be_focused()


def test_a_link_to_runs_that_are_not_there_says_which(browser: Browser, quick: TensorBoard) -> None:
    link = link_to(BEST, "sweep/gone")
    with open_tab(browser, quick.url, link, wait_for=".compare") as tab:
        status = tab.locate(".compare-status")
        expect(status).to_contain_text(
            "1 checked run is not in the log folder: sweep/gone/adam_debug."
        )
        expect(status).to_contain_text("Check two or more runs")


def test_waiting_and_failing_are_said(browser: Browser, quick: TensorBoard) -> None:
    with open_tab(browser, quick.url, {"run": f"{BEST}/adam_debug"}) as tab:
        held: list[Route] = []
        tab.page.route("**/compare?*", lambda route: held.append(route))
        tab.locate(".compare-runs").click()
        tab.shows(".compare-status", "Comparing 6 runs …")
        while not held:
            tab.page.wait_for_timeout(50)
        held[0].fulfill(status=503, body="Run sweep/1e-2 cannot be read.")
        tab.shows(".compare .banner", "Run sweep/1e-2 cannot be read.")
        tab.shows(".compare", "uncheck it to compare the others.")
        expect(tab.locate(".compare-status")).to_have_text("")
        tab.page.unroute("**/compare?*")
        tab.locate('.check[aria-label="Draw odd/mute in comparisons"]').click()
        opened(tab)
        expect(tab.locate(".compare .banner")).to_have_count(0)
        assert [problem for problem in tab.problems if "503" not in problem] == []
        tab.problems.clear()


def test_a_run_that_cannot_be_read_is_named(browser: Browser, quick: TensorBoard) -> None:
    with open_tab(browser, quick.url, {"run": f"{BEST}/adam_debug"}) as tab:

        def leave_out(route: Route) -> None:
            answer = route.fetch()
            left_out = [{"run": "odd/mute/adam_debug", "text": "An event file cannot be read."}]
            route.fulfill(response=answer, json={**answer.json(), "left_out": left_out})

        tab.page.route("**/compare?*", leave_out)
        tab.locate(".compare-runs").click()
        opened(tab)
        expect(tab.locate(".verdicts > .about").filter(has_text="left out")).to_have_text(
            "odd/mute is left out. An event file cannot be read."
        )


def test_it_is_copied_as_markdown_and_saved_as_csv(browser: Browser, quick: TensorBoard) -> None:
    with open_tab(browser, quick.url, link_to(*RUNS), wait_for=".compare table") as tab:
        tab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        tab.locate('.compare button[aria-label="Copy as Markdown"]').click()
        tab.shows(".compare .copied", "Copied")
        lines = str(tab.page.evaluate("navigator.clipboard.readText()")).splitlines()
        assert lines[0] == f"|  | {BEST} | sweep/1e-3 | {WORST} |"
        assert "| lr | 0.01 | 1e-3 | 1e-4 |" in lines
        assert "The best lr is 0.01. It is the largest value tried: try a larger one." in lines
        with tab.page.expect_download() as found:
            tab.locate('.compare button[aria-label="Save as CSV"]').click()
        with Path(found.value.path()).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert [line["run"] for line in rows] == [BEST, "sweep/1e-3", WORST]
        assert [float(line["lr"]) for line in rows] == [0.01, 1e-3, 1e-4]
        assert {line["optimizer"] for line in rows} == {"AdamW"}
