"""Cost of a large log folder: reading, memory, answers, and the first view of the tab.

The folder is that of a decoder of 70 billion parameters, 723 tensors: four runs of 5,000 logged
steps, 1,000 of them with histograms, and small runs beside them. It is synthetic, written with the
callback's own event log in its blocks of histograms, and served by a real TensorBoard, with both of
its data loaders, first with files that are not in the operating system's cache, then with cached
files. A growing run comes last. Each answer is one that the tab asks for.

    PYTHONPATH=tests/helpers python benchmarks/cost/scale.py --folder FOLDER
    PYTHONPATH=tests/helpers python benchmarks/cost/scale.py --steps 500 --runs 1 --loader fast
    PYTHONPATH=tests/helpers python benchmarks/cost/scale.py --runs 0 --small 3000

Files leave the cache only if they are on a disk, and the system is asked to drop them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from made_up_runs import decoder_layout, transformer_layout, write_run
from playwright.sync_api import sync_playwright
from tab import Visit
from tab_page import launch
from tensorboard_process import TensorBoard, running_tensorboard, wait_until

HISTOGRAM_EVERY = 5
ASKED = 5
ROUNDS = 3
SMALL_STEPS, SMALL_PARAMETERS = 200, 16
PARAMETER = "model.layers.40.mlp.down_proj.weight"
OVERVIEW = "overview?run={run}&statistic=update_to_weight_ratio&columns=1000"
# Requests when a run and a parameter are opened, after the first overview.
QUESTIONS = {
    "overview again": OVERVIEW,
    "overview of another statistic": "overview?run={run}&statistic=gradient_rms&columns=1000",
    "overview of 500 steps": (
        "overview?run={run}&statistic=gradient_rms&columns=1000&from={middle}&to={end}"
    ),
    "all statistics of a parameter": "series?run={run}&parameter={parameter}",
    "rows of all steps": "steps?run={run}",
    "histograms of a parameter": (
        "histograms?run={run}&parameter={parameter}&quantity=exp_avg_sq&columns=300"
    ),
    "findings": "findings?run={run}",
}
# The peak of the process itself: getrusage() would return its parent's if that is larger.
DIAGNOSE = """
import re, sys
from pathlib import Path
from tb_adam_plugin.cli import main
main(["diagnose", sys.argv[1], "--json"])
status = Path("/proc/self/status").read_text()
print(re.search(r"VmHWM:\\s+(\\d+)", status)[1], file=sys.stderr)
"""


def main() -> None:
    """Write the folder, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--small", type=int, default=300, help="small runs beside the large ones")
    parser.add_argument("--loader", choices=("fast", "python"), action="append")
    parser.add_argument(
        "--folder", type=Path, help="keep the log folder here, or use the one there"
    )
    options = parser.parse_args()
    with _folder(options.folder) as folder:
        _write(folder, options)
        files = [path for path in folder.rglob("events*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        print(f"{len(files)} runs, {size / 1e9:.2f} GB, {options.steps} logged steps a large one")
        if not options.runs:
            _listing(folder / "small")
            return
        for loader in options.loader or ("fast", "python"):
            print(f"\n{loader} loader")
            _first_overviews(folder, loader, options)
            _answers(folder, loader, options)
        _listing(folder)
        _listing(folder / "small")
        _diagnose(folder / "large" / "run0")
        _growing(folder.parent / f"{folder.name}-growing", options)


@contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept.resolve()
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "runs"
        folder.mkdir()
        yield folder


def _write(folder: Path, options: argparse.Namespace) -> None:
    layout = decoder_layout()
    elements = sum(parameter.elements for parameter in layout.parameters)
    print(f"{elements / 1e9:.1f} billion parameters in {len(layout.parameters)} tensors")
    for run in range(options.runs):
        if not (folder / "large" / f"run{run}").exists():
            write_run(folder / "large" / f"run{run}", layout, options.steps, HISTOGRAM_EVERY, run)
    small = folder / "small"
    if options.small and not (small / "run0").exists():
        write_run(small / "run0", transformer_layout(SMALL_PARAMETERS), SMALL_STEPS, 10**9, 0)
    for run in range(1, options.small):
        if not (small / f"run{run}").exists():
            shutil.copytree(small / "run0", small / f"run{run}")


@contextmanager
def _serving(folder: Path, loader: str) -> Iterator[TensorBoard]:
    with running_tensorboard(
        folder, f"--load_fast={'true' if loader == 'fast' else 'false'}", timeout=600
    ) as tensorboard:
        yield tensorboard


def _first_overviews(folder: Path, loader: str, options: argparse.Namespace) -> None:
    """From TensorBoard's first response to the complete first overview."""
    for where in ("cold", "warm"):
        times = []
        for _ in range(ROUNDS):
            if where == "cold":
                _forget(folder)
            with _serving(folder, loader) as tensorboard:
                start = time.perf_counter()
                assert tensorboard.ask("summary").status == 200
                _get(tensorboard, OVERVIEW, options)
                times.append(time.perf_counter() - start)
        print(f"  first overview, files {where}: {_in_words(times)}")


def _answers(folder: Path, loader: str, options: argparse.Namespace) -> None:
    with _serving(folder, loader) as tensorboard:
        tensorboard.ask("summary")
        _get(tensorboard, OVERVIEW, options)
        print(f"  {tensorboard.resident_megabytes:.0f} MB of memory after the first overview")
        for name, route in QUESTIONS.items():
            first = _get(tensorboard, route, options)
            times = [_get(tensorboard, route, options) for _ in range(ASKED)]
            print(f"  {name:32}first {1000 * first:6.0f} ms, then {_in_words(times)}")
        for run in range(1, options.runs):
            _get(tensorboard, OVERVIEW, options, run)
            taken = _get(tensorboard, QUESTIONS["findings"], options, run)
            print(f"  findings of run{run}: {taken:.2f} s")
        print(f"  {tensorboard.resident_megabytes:.0f} MB after overviews and findings of all runs")
        polls = [_ask(tensorboard, "revision") for _ in range(ASKED)]
        print(f"  has anything changed? {_in_words(polls)}")
        _open_tab(tensorboard)


def _listing(folder: Path) -> None:
    """Lists all runs in a separate process, and lists them again."""
    code = (
        "import sys, time\n"
        "from tb_adam_plugin.event_files.log_roots import LogRoots\n"
        "from tb_adam_plugin.reading.file_scalars import FileScalars\n"
        "from tb_adam_plugin.reading.file_source import FileSource\n"
        "from tb_adam_plugin.reading.record_source import Experiment\n"
        "from tb_adam_plugin.reading.store import Store\n"
        "roots = LogRoots.of_folder(sys.argv[1])\n"
        "source = FileSource(roots, FileScalars(roots))\n"
        "store = Store(source)\n"
        "for _ in range(4):\n"
        "    source._good_until = 0.0\n"
        "    start = time.perf_counter()\n"
        "    runs = store.runs(Experiment(None, '')).runs\n"
        "    print(len(runs), time.perf_counter() - start)\n"
    )
    command = [sys.executable, "-c", code, str(folder)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (count, first), *polls = (line.split() for line in said.splitlines())
    again = [float(seconds) for _, seconds in polls]
    print(f"{count} runs listed in {float(first):.2f} s, looked at again: {_in_words(again)}")


def _diagnose(run: Path) -> None:
    start = time.perf_counter()
    command = [sys.executable, "-c", DIAGNOSE, str(run)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    peak = int(ended.stderr.split()[-1]) / 1024
    taken = time.perf_counter() - start
    print(f"adam-debug diagnose of a large run: {taken:.1f} s, at most {peak:.0f} MB")


def _growing(folder: Path, options: argparse.Namespace) -> None:
    """A large run that gets a record, and the time of the next requests."""
    shutil.rmtree(folder, ignore_errors=True)
    growing = folder / "large" / "run0"
    layout = decoder_layout()
    write_run(growing, layout, options.steps, HISTOGRAM_EVERY, 0)
    with _serving(folder, "fast") as tensorboard:
        tensorboard.ask("summary")
        _get(tensorboard, OVERVIEW, options)
        _get(tensorboard, QUESTIONS["findings"], options)
        overviews, findings = [], []
        for more in range(1, ROUNDS + 1):
            steps = options.steps + more
            write_run(growing, layout, steps, HISTOGRAM_EVERY, more, first=steps)
            wait_until(partial(_has_step, tensorboard, steps), "the new record")
            overviews.append(_get(tensorboard, OVERVIEW, options))
            findings.append(_get(tensorboard, QUESTIONS["findings"], options))
        print(f"one record more: overview {_in_words(overviews)}, findings {_in_words(findings)}")
    shutil.rmtree(folder)


def _has_step(tensorboard: TensorBoard, step: int) -> bool:
    last: int = json.loads(tensorboard.ask("summary").text)["runs"][0]["last_step"]
    return last == step


def _get(tensorboard: TensorBoard, route: str, options: argparse.Namespace, run: int = 0) -> float:
    """Request data about a large run, and return the seconds that the answer took."""
    path = route.format(
        run=urllib.parse.quote(f"large/run{run}/adam_debug"),
        parameter=urllib.parse.quote(PARAMETER),
        middle=options.steps // 2,
        end=options.steps // 2 + 500,
    )
    return _ask(tensorboard, path)


def _ask(tensorboard: TensorBoard, path: str) -> float:
    start = time.perf_counter()
    answer = tensorboard.ask(path)
    taken = time.perf_counter() - start
    assert answer.status == 200, (path, answer.text)
    return taken


def _forget(folder: Path) -> None:
    """Ask the operating system to drop the files from its cache."""
    for path in folder.rglob("events*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def _in_words(seconds: list[float]) -> str:
    least, middle, most = min(seconds), statistics.median(seconds), max(seconds)
    return f"{1000 * middle:.0f} ms ({1000 * least:.0f} to {1000 * most:.0f})"


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
