"""Optimizers of other packages, each at the best learning rate of a scan without the callback.

    PYTHONPATH=benchmarks python -m real.families.third_party --cache FOLDER

trains the two small networks with every optimizer that only needs parameters and a learning rate,
over a grid, and writes the rates of those that train well next to this file.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.util
import inspect
import json
import math
import re
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

from real.families import classifier
from real.recipe.kinds import Kind, changed
from real.recipe.learner import Start
from real.recipe.optimizers import make_optimizers
from real.recipe.settings import HALVES, Half, Settings

RATES = Path(__file__).with_name("third_party_rates.json")
PACKAGES = (
    "timm.optim", "transformers.optimization", "torchao.optim", "bitsandbytes.optim",
    "pytorch_optimizer",
)  # fmt: skip
_GRID = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
# Indices in the grid where the search starts.
_FIRST = (2, 4)
# Private ones, those for a GPU's memory only, for several processes, and those that compile for
# minutes.
_LEFT_OUT = ("_", "Paged", "Distributed", "Kron")
# Limit of seconds per run: some optimizers are for large models only.
_LONGEST = 20.0
# As a share of the best optimizer's accuracy.
_TRAINS_WELL = 0.97
_SEED, _BATCHES = 7, 20


@functools.cache
def rates(half: Half) -> dict[str, float]:
    """Return the learning rates of a half by optimizer, "package:Class"."""
    if not RATES.exists():
        return {}
    found: dict[str, dict[str, float]] = json.loads(RATES.read_text(encoding="utf-8"))
    return found.get(half, {})


def kinds_of(half: Half) -> tuple[Kind, ...]:
    """Return a healthy kind for each installed optimizer of a half."""
    return tuple(
        Kind(name.replace(":", " "), changed(optimizer=name, learning_rate=rate))
        for name, rate in rates(half).items()
        if importlib.util.find_spec(re.split("[.:]", name)[0]) is not None
    )


def candidates() -> Iterator[str]:
    """Yield the names of all optimizer classes of the installed packages."""
    for package in PACKAGES:
        with contextlib.suppress(ImportError):
            module = importlib.import_module(package)
            for name, value in sorted(vars(module).items()):
                if (
                    inspect.isclass(value)
                    and issubclass(value, torch.optim.Optimizer)
                    and not value.__module__.startswith("torch.optim")
                    and not name.startswith(_LEFT_OUT)
                ):
                    yield f"{package}:{name}"


def scan(half: Half, scanned: Path) -> dict[str, float]:
    """Return the best learning rates of the optimizers that train the network of a half well.

    Args:
        half: Half of the laboratory.
        scanned: File with the results so far, to continue an interrupted scan.
    """
    found: dict[str, tuple[float, float]] = {}
    if scanned.exists():
        found = json.loads(scanned.read_text(encoding="utf-8"))
    for name in candidates():
        if name in found:
            continue
        found[name] = _best(half, name)
        print(f"{half} {name}: {found[name][0]:.3f} at {found[name][1]:g}", file=sys.stderr)
        scanned.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    most = max(accuracy for accuracy, _ in found.values())
    return {
        name: rate for name, (accuracy, rate) in found.items() if accuracy >= _TRAINS_WELL * most
    }


def _best(half: Half, name: str) -> tuple[float, float]:
    """Return the best accuracy on the grid and its learning rate: uphill from the middle."""
    tried: dict[int, float] = {}

    def at(i: int) -> float:
        if i not in tried:
            tried[i] = _accuracy(half, name, _GRID[i]) if 0 <= i < len(_GRID) else -1.0
        return tried[i]

    best = max(_FIRST, key=at)
    if at(best) == 0:  # it cannot train, or takes too long
        return 0.0, 0.0
    best = max(tried, key=at)
    while at(best - 1) > at(best) or at(best + 1) > at(best):
        best = max(best - 1, best + 1, key=at)
    return at(best), _GRID[best]


def _accuracy(half: Half, name: str, rate: float) -> float:
    """Train without the callback; 0 if the optimizer cannot."""
    settings = Settings(
        **{
            **classifier.plain_settings(half).as_json(),
            "optimizer": name,
            "learning_rate": rate,
        }
    )
    torch.manual_seed(_SEED)
    start = Start(half, settings, torch.Generator().manual_seed(_SEED), Path())
    learner = classifier.make_plain(start)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            begun = time.process_time()
            (optimizer,) = make_optimizers(settings, learner.model).values()
            for step in range(settings.steps):
                optimizer.zero_grad()
                loss = learner.loss(bad=False)
                loss.backward()
                optimizer.step()
                if time.process_time() - begun > _LONGEST:
                    return 0.0
                if step % _BATCHES == 0 and not math.isfinite(loss.item()):
                    return 0.0
        except Exception as error:  # anything it needs may be missing here
            if rate == _GRID[_FIRST[0]]:
                print(f"{name}: {type(error).__name__}: {error}"[:200], file=sys.stderr)
            return 0.0
    learner.model.eval()
    return learner.judge()


def main() -> None:
    """Scan both halves and write the rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, required=True, help="where a scan is kept")
    parser.add_argument("--half", choices=HALVES, action="append", help="default: both")
    options = parser.parse_args()
    cache: Path = options.cache
    cache.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    found: dict[str, dict[str, float]] = {}
    if RATES.exists():
        found = json.loads(RATES.read_text(encoding="utf-8"))
    for half in options.half or HALVES:
        found[half] = scan(half, cache / f"scanned-{half}.json")
        RATES.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
