"""What a large log folder costs: reading, memory, answers, and the first sight of the tab.

The folder is that of a decoder of 70 billion parameters, 723 tensors: four runs of 5,000 logged
steps, 1,000 of them with histograms. It is made up, written with the callback's own event log, and
served by a real TensorBoard, with both of its data loaders. The answers are those that the tab asks
for; of each the first one, which may decode a series, and the median of the next ones.

    PYTHONPATH=tests/helpers python benchmarks/cost/scale.py
    PYTHONPATH=tests/helpers python benchmarks/cost/scale.py --steps 500 --runs 1 --loader fast
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from made_up_runs import decoder_layout, write_run
from playwright.sync_api import sync_playwright
from tab import Visit
from tab_page import launch
from tensorboard_process import TensorBoard, running_tensorboard, wait_until

HISTOGRAM_EVERY = 5
ASKED = 5
PARAMETER = "model.layers.40.mlp.down_proj.weight"
# What is asked for when the tab opens, and when a parameter is looked at.
QUESTIONS = {
    "run list": "summary",
    "overview, 1,000 columns": "overview?run={run}&statistic=update_to_weight_ratio&columns=1000",
    "overview of another statistic": "overview?run={run}&statistic=gradient_rms&columns=1000",
    "overview of 500 steps": (
        "overview?run={run}&statistic=gradient_rms&columns=1000&from={middle}&to={end}"
    ),
    "all statistics of a parameter": "series?run={run}&parameter={parameter}",
    "rows of all steps": "steps?run={run}",
    "histograms of a parameter": (
        "histograms?run={run}&parameter={parameter}&quantity=exp_avg_sq&columns=300"
    ),
    "histograms, another quantity": (
        "histograms?run={run}&parameter={parameter}&quantity=update&columns=300"
    ),
    "findings": "findings?run={run}",
}


def main() -> None:
    """Write the folder, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--loader", choices=("fast", "python"), action="append")
    parser.add_argument(
        "--folder", type=Path, help="keep the log folder here, or use the one there"
    )
    options = parser.parse_args()
    with _folder(options.folder) as folder:
        _write(folder, options)
        sizes = [path.stat().st_size for path in folder.rglob("events*")]
        print(f"{len(sizes)} runs, {sum(sizes) / 1e9:.2f} GB, {options.steps} logged steps each\n")
        for loader in options.loader or ("fast", "python"):
            _measure(folder, loader, options)


@contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept.resolve()
        return
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def _write(folder: Path, options: argparse.Namespace) -> None:
    layout = decoder_layout()
    elements = sum(parameter.elements for parameter in layout.parameters)
    print(f"{elements / 1e9:.1f} billion parameters in {len(layout.parameters)} tensors")
    for run in range(options.runs):
        if not (folder / f"run{run}").exists():
            write_run(folder / f"run{run}", layout, options.steps, HISTOGRAM_EVERY, run)


def _measure(folder: Path, loader: str, options: argparse.Namespace) -> None:
    start = time.perf_counter()
    arguments = (
        f"--load_fast={'true' if loader == 'fast' else 'false'}",
        "--samples_per_plugin=adam_debug=10000",
    )
    with running_tensorboard(folder, *arguments) as tensorboard:
        wait_until(lambda: _runs(tensorboard), "the first run", timeout=3600)
        first = time.perf_counter() - start
        wait_until(lambda: _is_complete(tensorboard, options), "all steps", timeout=3600)
        print(f"{loader} loader")
        print(f"  first run listed after {first:.0f} s, everything read after", end=" ")
        print(f"{time.perf_counter() - start:.0f} s")
        print(f"  {tensorboard.resident_megabytes:.0f} MB of memory before the first question")
        for name, route in QUESTIONS.items():
            print(f"  {name:32}{_ask(tensorboard, route, options)}")
        print(f"  {tensorboard.resident_megabytes:.0f} MB of memory after them")
        _open_tab(tensorboard)


def _runs(tensorboard: TensorBoard) -> list[dict[str, int]]:
    return [run for run in json.loads(tensorboard.ask("summary").text)["runs"] if run["last_step"]]


def _is_complete(tensorboard: TensorBoard, options: argparse.Namespace) -> bool:
    steps = [run["last_step"] for run in _runs(tensorboard)]
    return steps == [options.steps] * options.runs


def _ask(tensorboard: TensorBoard, route: str, options: argparse.Namespace) -> str:
    path = route.format(
        run=urllib.parse.quote("run0/adam_debug"),
        parameter=urllib.parse.quote(PARAMETER),
        middle=options.steps // 2,
        end=options.steps // 2 + 500,
    )
    times = []
    for _ in range(ASKED + 1):
        start = time.perf_counter()
        answer = tensorboard.ask(path)
        times.append(1000 * (time.perf_counter() - start))
        assert answer.status == 200, (path, answer.text)
    # The client here asks for no compression; browsers do.
    sizes = (
        f"{len(answer.body) / 1000:.0f} kB, gzipped {len(gzip.compress(answer.body)) / 1000:.0f}"
    )
    return f"first {times[0]:8.0f} ms, then {statistics.median(times[1:]):6.0f} ms  {sizes}"


def _open_tab(tensorboard: TensorBoard) -> None:
    with sync_playwright() as playwright:
        browser = launch(playwright)
        for name in ("first", "second"):
            visit = Visit(browser, tensorboard.url)
            drawn = visit.frame().evaluate("window.drawnAt") / 1000
            print(f"  overview drawn {drawn:.2f} s after opening, {name} visit")
            visit.close()
        browser.close()


if __name__ == "__main__":
    main()
