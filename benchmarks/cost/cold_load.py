"""How long the tab takes to open when the browser has none of its files, near TensorBoard and far.

A run of 28 parameters and 200 steps, served by a real TensorBoard from a copy of the package, which
caches its files as an installed one does. Each visit has a browser context of its own.
TensorBoard's page is loaded first, at full speed; then network or processor are slowed down, and
the tab is opened. Timed from there, by the frame's clock, until the heat map has colours. Variants
of the tab's files take turns, so that other work on the machine hits all of them.

    PYTHONPATH=tests/helpers python benchmarks/cost/cold_load.py
    PYTHONPATH=tests/helpers python benchmarks/cost/cold_load.py --visits 15 --tab other=FOLDER
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from made_up_runs import transformer_layout, write_run
from playwright.sync_api import Browser, Page, Playwright, sync_playwright
from tab_page import launch
from tensorboard_process import TensorBoard, running_tensorboard, wait_until

ROOT = Path(__file__).resolve().parents[2]
MEGABIT = 1e6 / 8
STEPS = 200

# Runs in the frame from its first moment; says when the heat map has colours.
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
_REQUESTS = """() => performance.getEntriesByType('resource')
  .filter((entry) => entry.startTime < window.drawnAt)
  .map((entry) => entry.encodedBodySize)"""


class Conditions(NamedTuple):
    """What is slowed down.

    Attributes:
        latency: Milliseconds until an answer begins.
        megabits: Of a second, in both directions; 0 for as many as there are.
        slower: How many times slower the processor is.
    """

    latency: float = 0
    megabits: float = 0
    slower: float = 1


CONDITIONS = {
    "same machine": Conditions(),
    "20 ms, 10 Mbit/s": Conditions(20, 10),
    "100 ms, 2 Mbit/s": Conditions(100, 2),
    "100 ms, 100 Mbit/s": Conditions(100, 100),
    "processor 4 times slower": Conditions(slower=4),
}


class Visit(NamedTuple):
    """One opening.

    Attributes:
        seconds: Until the heat map has colours.
        requests: Of files and data before that.
        kilobytes: What they had, as sent.
    """

    seconds: float
    requests: int
    kilobytes: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--visits", type=int, default=11, help="of each variant (default 11)")
    parser.add_argument(
        "--tab", action="append", default=[], metavar="NAME=FOLDER",
        help="another version of frontend_static to compare; may be repeated",
    )  # fmt: skip
    options = parser.parse_args()
    others = dict(named.split("=", 1) for named in options.tab)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        write_run(folder / "logs" / "run", transformer_layout(28), STEPS, 20, seed=0)
        variants = {"as it is": None, "no preload hints": None} | {
            name: Path(other) for name, other in others.items()
        }
        boards = {}
        for number, (variant, tab) in enumerate(variants.items()):
            package = copy_package(folder / f"package{number}", tab)
            if variant == "no preload hints":
                forget_hints(package)
            boards[variant] = stack.enter_context(
                running_tensorboard(
                    folder / "logs", environment={"PYTHONPATH": str(package.parent)}
                )
            )
        for board in boards.values():
            wait_until(partial(is_read, board), "the run to be read")
        playwright = stack.enter_context(sync_playwright())
        measure(playwright, boards, options.visits)


def is_read(board: TensorBoard) -> bool:
    """Whether TensorBoard has read all of the run."""
    return any(run["last_step"] == STEPS for run in json.loads(board.ask("summary").text)["runs"])


def copy_package(folder: Path, tab: Path | None) -> Path:
    """Copy the package as a wheel has it, away from ``setup.py``: its files are then cached."""
    package = folder / "tb_adam_plugin"
    shutil.copytree(
        ROOT / "tb_adam_plugin", package, ignore=shutil.ignore_patterns("__pycache__", "callback")
    )
    if tab is not None:
        shutil.rmtree(package / "frontend_static")
        shutil.copytree(tab, package / "frontend_static")
    return package


def forget_hints(package: Path) -> None:
    """Let each module be asked for when another one imports it."""
    index = package / "frontend_static" / "index.js"
    text, count = re.subn(
        r"const FIRST = \[.*?\];", "const FIRST = [];", index.read_text("utf-8"), flags=re.DOTALL
    )
    assert count == 1, "index.js has no list of files"
    index.write_text(text, encoding="utf-8")


def measure(playwright: Playwright, boards: dict[str, TensorBoard], visits: int) -> None:
    """Print a table for each variant under each of the conditions."""
    browser = launch(playwright)
    for board in boards.values():
        open_once(browser, board.url, Conditions())  # reads the run into the plugin's caches
    print(f"{'':28}{'':20}{'least':>8}{'median':>8}{'most':>8}{'requests':>10}{'kB':>6}")
    for name, conditions in CONDITIONS.items():
        found: dict[str, list[Visit]] = defaultdict(list)
        for _ in range(visits):
            for variant, board in boards.items():
                found[variant].append(open_once(browser, board.url, conditions))
        for variant, seen in found.items():
            seconds = sorted(visit.seconds for visit in seen)
            print(
                f"{name:28}{variant:20}{seconds[0]:8.2f}{statistics.median(seconds):8.2f}"
                f"{seconds[-1]:8.2f}{statistics.median(v.requests for v in seen):10.0f}"
                f"{statistics.median(v.kilobytes for v in seen):6.0f}",
                flush=True,
            )
    browser.close()


def open_once(browser: Browser, url: str, conditions: Conditions) -> Visit:
    """Open the tab in a browser that knows TensorBoard's page and none of the tab's files."""
    with browser.new_context(viewport={"width": 1600, "height": 1000}) as context:
        page = context.new_page()
        page.add_init_script(_WATCH_DRAWING)
        page.goto(f"{url}#timeseries")
        page.locator("text=Adam Debug").first.wait_for(timeout=60_000)
        page.wait_for_load_state("networkidle")
        slow_down(page, conditions)
        page.evaluate("location.hash = '#adam_debug'")
        frame = frame_of(page)
        frame.wait_for_function("() => window.drawnAt", timeout=120_000)
        requests = frame.evaluate(_REQUESTS)
        return Visit(
            frame.evaluate("window.drawnAt") / 1000,
            len(requests),
            sum(requests) / 1024,
        )


def slow_down(page: Page, conditions: Conditions) -> None:
    """Slow down a page and its frames."""
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    throughput = conditions.megabits * MEGABIT or -1
    session.send("Network.emulateNetworkConditions", {
        "offline": False,
        "latency": conditions.latency,
        "downloadThroughput": throughput,
        "uploadThroughput": throughput,
    })  # fmt: skip
    session.send("Emulation.setCPUThrottlingRate", {"rate": conditions.slower})


def frame_of(page: Page) -> Any:
    """The plugin's frame, once it is there."""
    page.frame_locator("iframe").locator("body").wait_for(timeout=60_000, state="attached")
    return next(frame for frame in page.frames if "plugin_entry" in frame.url)


if __name__ == "__main__":
    main()
