"""Cost of the tab on a large log folder: opening, moving the cursor, colours, memory, cold load.

Four synthetic runs of a thousand parameters and two thousand logged steps, with all statistics, are
served by a real TensorBoard; the tab is opened in headless Chromium without a GPU. Times of the
main thread are processor time, which excludes other load on the machine, minus those of an idle
page: of the tab itself (script, style, layout), and of all tasks (including painting, and counted
twice, because a move sent by a debugger takes two frames). Chromium's own share is measured on a
page with a single element that follows the pointer. For recolouring it is the tab's script.

    PYTHONPATH=tests/helpers python benchmarks/cost/tab.py
    PYTHONPATH=tests/helpers python benchmarks/cost/tab.py --parameters 300 --steps 500 --runs 2
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from made_up_runs import transformer_layout, write_run
from playwright.sync_api import Browser, CDPSession, Page, sync_playwright
from tab_page import Tab, launch
from tensorboard_process import TensorBoard, running_tensorboard, wait_until

VISITS = 5
FAR = 50  # latency of a TensorBoard on another machine
MOVES = 100
RECOLOURINGS = 12
HISTOGRAM_EVERY = 100

# Heat map of 1000 by 2000, canvas of 1200 by 700: medians of an earlier comparison of libraries on
# a similar machine, wall time. One sample of ECharts; both hovers draw their own tooltips.
PEERS = {
    "overview drawn": ("28.0 s", "1.3 s"),
    "cursor move": ("2420 ms", "3 ms"),
    "recolour": ("25.6 s", "983 ms"),
    "memory": ("2568 MB", "256 MB"),
}

# One element in a separate layer, moved in the next frame, as the tab moves its step lines.
_BARE_PAGE = """
<style>div {position: absolute; width: 2px; height: 700px; background: black}</style><div></div>
<script>
  const moved = document.querySelector('div').animate(
    {transform: ['none', 'translateX(2048px)']}, {duration: 2048, fill: 'both'});
  moved.pause();
  let waiting = 0;
  addEventListener('pointermove', (event) => waiting ||= requestAnimationFrame(() => {
    waiting = 0;
    moved.currentTime = event.clientX;
  }));
</script>
"""

_OWN_WORK = ("ScriptDuration", "RecalcStyleDuration", "LayoutDuration")

# Runs in the frame from the start; reports when the heat map has colours.
_WATCH_DRAWING = """
if (window !== window.parent) {
  const look = () => {
    const canvas = document.querySelector('.heat-rows canvas');
    const pixel = canvas?.width &&
      canvas.getContext('2d').getImageData(canvas.width >> 1, canvas.height >> 1, 1, 1).data;
    if (pixel && pixel[3]) window.drawnAt = performance.now();
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parameters", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        layout = transformer_layout(options.parameters)
        for seed in range(options.runs):
            write_run(folder / f"run{seed}", layout, options.steps, HISTOGRAM_EVERY, seed)
        size = sum(path.stat().st_size for path in folder.rglob("events*")) / 1e6
        print(
            f"{options.runs} runs, {options.parameters} parameters, {options.steps} logged steps, "
            f"{len(layout.statistics)} statistics: {size:.0f} MB"
        )
        with running_tensorboard(folder) as tensorboard, sync_playwright() as playwright:
            start = time.perf_counter()
            wait_until(lambda: complete(tensorboard, options), "all runs", timeout=600)
            print(f"read by TensorBoard within {time.perf_counter() - start:.0f} s of its start")
            browser = launch(playwright)
            report(measure(browser, tensorboard))
            browser.close()


def complete(tensorboard: TensorBoard, options: argparse.Namespace) -> bool:
    """Whether TensorBoard has read everything."""
    runs = json.loads(tensorboard.ask("summary").text)["runs"]
    return len(runs) == options.runs and all(r["last_step"] == options.steps for r in runs)


class Meter:
    """Chromium's counters for a page."""

    def __init__(self, page: Page) -> None:
        """Start counting."""
        self.page = page
        self.session: CDPSession = page.context.new_cdp_session(page)
        self.session.send("Performance.setTimeDomain", {"timeDomain": "threadTicks"})
        self.session.send("Performance.enable")

    def worked(self) -> npt.NDArray[np.float64]:
        """Seconds of work of the main thread: in script, style and layout, and in total."""
        metrics = self.session.send("Performance.getMetrics")["metrics"]
        named = {m["name"]: m["value"] for m in metrics}
        own = sum(named[part] for part in _OWN_WORK)
        return np.array([own, named["TaskDuration"]])

    def work(self, act: Callable[[int], None], times: int, pause: float) -> str:
        """Milliseconds of the main thread for an action, minus those at rest: medians."""
        self.page.wait_for_timeout(1500)  # let earlier work settle
        before, start = self.worked(), time.perf_counter()
        self.page.wait_for_timeout(3000)
        rest = (self.worked() - before) / (time.perf_counter() - start)
        found = []
        for i in range(times):
            before, start = self.worked(), time.perf_counter()
            act(i)
            self.page.wait_for_timeout(1000 * pause)
            found.append(self.worked() - before - rest * (time.perf_counter() - start))
        own, everything = 1000 * np.median(found, axis=0)
        return f"{own:.1f} ms, all tasks {everything:.1f}"

    def script(self, act: Callable[[int], None], times: int, pause: float) -> str:
        """Milliseconds in the tab's own code and its callees for an action: mean, by sampling."""
        act(0)  # creates what is only created once
        self.page.wait_for_timeout(500)
        self.session.send("Profiler.enable")
        self.session.send("Profiler.setSamplingInterval", {"interval": 200})
        self.session.send("Profiler.start")
        for i in range(1, times + 1):
            act(i)
            self.page.wait_for_timeout(1000 * pause)
        profile = self.session.send("Profiler.stop")["profile"]
        ours = {n["id"] for n in profile["nodes"] if "/static/" in n["callFrame"]["url"]}
        deltas = zip(profile["samples"], profile["timeDeltas"], strict=True)
        return f"{sum(d for node, d in deltas if node in ours) / 1000 / times:.1f} ms"


class Visit:
    """An open tab."""

    def __init__(self, browser: Browser, url: str, link: str = "", latency: int = 0) -> None:
        """Open it, with this latency in milliseconds for each answer, and wait for the heat map."""
        self.context = browser.new_context(viewport={"width": 1600, "height": 1000})
        self.page: Page = self.context.new_page()
        self.page.add_init_script(_WATCH_DRAWING)
        self.tab = Tab(self.page)
        if latency:
            network = self.context.new_cdp_session(self.page)
            network.send("Network.enable")
            network.send("Network.emulateNetworkConditions", {
                "offline": False,
                "latency": latency,
                "downloadThroughput": -1,
                "uploadThroughput": -1,
            })  # fmt: skip
        self.page.goto(f"{url}#adam_debug{link}")
        self.frame().wait_for_function("() => window.drawnAt", timeout=120_000)
        self.meter = Meter(self.page)

    def frame(self) -> Any:
        """The plugin's frame, once it is there."""
        self.tab.locate("body").wait_for(timeout=60_000)
        return next(f for f in self.page.frames if "plugin_entry" in f.url)

    def close(self) -> None:
        """Close it and forget its cache."""
        assert self.tab.problems == [], self.tab.problems
        self.context.close()


def measure(browser: Browser, tensorboard: TensorBoard) -> dict[str, str]:
    """All reported results."""
    url = tensorboard.url
    results: dict[str, str] = {}

    visit = Visit(browser, url)  # the first one also reads the statistics into the plugin's cache
    results["first visit ever"] = f"{visit.frame().evaluate('window.drawnAt') / 1000:.2f} s"
    visit.page.wait_for_load_state("networkidle")
    files = [r for r in visit.tab.responses if "/static/" in r.url or "plugin_entry" in r.url]
    kilobytes = sum(len(gzip.compress(r.body())) for r in files) / 1024
    results["cold load"] = f"{len(files)} requests, {kilobytes:.0f} KB gzipped"
    visit.close()

    for name, latency in (("overview drawn", 0), (f"overview drawn, {FAR} ms away", FAR)):
        drawn = []
        for _ in range(VISITS):
            visit = Visit(browser, url, latency=latency)
            drawn.append(visit.frame().evaluate("window.drawnAt") / 1000)
            visit.close()
        results[name] = f"{statistics.median(drawn):.2f} s"

    visit = Visit(browser, url)
    tab, page = visit.tab, visit.page
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(2000)
    heat = tab.locate(".heat").bounding_box()
    lines = tab.locate(".lines-plot").first.bounding_box()
    assert heat is not None
    assert lines is not None

    def move(x: float, y: float, width: float) -> Callable[[int], None]:
        return lambda i: page.mouse.move(x + 60 + (i + 1) * (width - 80) / MOVES, y)

    for name, box in (("cursor move", heat), ("cursor move over the lines", lines)):
        along = move(box["x"], box["y"] + box["height"] / 2, box["width"])
        results[name] = visit.meter.work(along, MOVES, 0.03)
    page.mouse.move(5, 5)
    results["cursor move on a bare page"] = bare_page(browser)

    tab.locate(".settings-button").click()
    field = tab.locate(".pair input").nth(2)

    def recolour(i: int) -> None:
        field.evaluate(
            """(input, value) => {
              input.value = value;
              input.dispatchEvent(new Event('change', {bubbles: true}));
            }""",
            "1e-5" if i % 2 else "1e-6",
        )

    results["recolour"] = visit.meter.script(recolour, RECOLOURINGS, 0.3)
    tab.locate(".settings-button").click()

    for metric in ("Gradient", "√v̂", "Update / weight"):
        tab.locate("button", has_text=metric).first.click()
        page.wait_for_load_state("networkidle")
    for _ in range(20):
        tab.locate("body").press("j")
        page.wait_for_timeout(150)
    page.wait_for_load_state("networkidle")
    visit.meter.session.send("HeapProfiler.collectGarbage")
    results["memory"] = f"{renderer_megabytes(browser, page):.0f} MB"
    page.goto(f"{url}#scalars")
    page.reload()
    page.wait_for_timeout(4000)
    results["memory of TensorBoard without the tab"] = f"{renderer_megabytes(browser, page):.0f} MB"
    visit.close()
    return results


def bare_page(browser: Browser) -> str:
    """Cost of a move on a page with a single element that follows it."""
    with browser.new_context(viewport={"width": 1600, "height": 1000}) as context:
        page = context.new_page()
        page.set_content(_BARE_PAGE)
        return Meter(page).work(lambda i: page.mouse.move(300 + 10 * i, 300), MOVES, 0.03)


def renderer_megabytes(browser: Browser, page: Page) -> float:
    """Resident memory of the largest renderer."""
    page.bring_to_front()
    processes = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    sizes = []
    for process in processes:
        if process["type"] == "renderer":
            status = Path(f"/proc/{process['id']}/status").read_text()
            line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
            sizes.append(int(line.split()[1]) / 1024)
    return max(sizes)


def report(results: dict[str, str]) -> None:
    """Print a table, with the peers where they were measured."""
    print(f"\n{'':40}{'this tab':>28}{'ECharts':>12}{'Plotly':>12}")
    for name, value in results.items():
        echarts, plotly = PEERS.get(name, ("", ""))
        print(f"{name:40}{value:>28}{echarts:>12}{plotly:>12}")


if __name__ == "__main__":
    main()
