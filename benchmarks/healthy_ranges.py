"""Measure the update-to-weight ratios of healthy trainings, by kind of tensor and optimizer.

    PYTHONPATH=benchmarks python benchmarks/healthy_ranges.py --small CACHE --real CACHE

Reads what ``python -m faults`` and ``python -m real`` have recorded, trains nothing, and prints the
table of tb_adam_plugin/diagnosis/engine/healthy_ranges.py next to the measured values.
"""

from __future__ import annotations

import argparse
import json
import math
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tb_adam_plugin.diagnosis.engine.healthy_ranges import RANGES, Family, Kind, family_of, kind_of
from tb_adam_plugin.diagnosis.engine.recorded_run import RecordedRun
from tb_adam_plugin.run_data import load_runs

FIRST_SHARE = 0.1  # of the steps, left out
ENDS = (0.05, 0.95)

Medians = dict[tuple[Family, Kind], list[float]]


def main() -> None:
    """Read the options, measure, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", type=Path, required=True, help="the --cache of faults")
    parser.add_argument("--real", type=Path, required=True, help="the --cache of real")
    options = parser.parse_args()
    default = options.small / "default"
    sources = {
        "small, tuning": list(default.glob("tuning/*/healthy_*")),
        "small, reporting": list(default.glob("reporting/*/healthy_*")),
        "real": list(_healthy_recipes(options.real)),
    }
    widest: Medians = {}
    for source, folders in sources.items():
        runs = [_medians(folder) for folder in folders]
        print(f"{source}: {len(runs)} trainings")
        for key in sorted({key for run in runs for key in run}):
            low, high = _ends([run[key] for run in runs if key in run])
            print(f"  {' '.join(key):<20} {low:.2g} to {high:.2g}")
            ends = widest.setdefault(key, [low, high])
            ends[:] = min(ends[0], low), max(ends[1], high)
    print("widest, rounded outwards, and what the table says:")
    for key, (low, high) in sorted(widest.items()):
        said = "{:g} to {:g}".format(*RANGES[key[0]][key[1]])
        print(f"  {' '.join(key):<20} {_down(low):g} to {-_down(-high):g}; {said}")


def _healthy_recipes(cache: Path) -> Iterator[Path]:
    """Recordings of published recipes, including those with optimizers of other packages."""
    for path in cache.rglob("outcome.json"):
        kind = json.loads(path.read_text())["kind"]
        if kind.startswith("healthy") or "optim" in kind:
            yield path.parent


def _medians(folder: Path) -> Medians:
    """The median ratio of each tensor, by family and kind."""
    found: Medians = {}
    for run in load_runs(folder):
        recorded: RecordedRun = run.diagnosis.signals.run
        ratios = recorded.statistics.get("update_to_weight_ratio")
        if ratios is None or not recorded.step.size:
            continue
        late = recorded.step > FIRST_SHARE * recorded.step[-1]
        for parameter, values in zip(recorded.parameters, ratios[late].T, strict=True):
            kind, known = kind_of(parameter), values[np.isfinite(values) & (values > 0)]
            if kind is None or not known.size:
                continue
            family = family_of(recorded.groups[parameter.group])
            found.setdefault((family, kind), []).append(float(np.median(known)))
    return found


def _ends(runs: list[list[float]]) -> tuple[float, float]:
    """Quantiles of the medians of all tensors, with the same weight for each run."""
    values = np.concatenate(runs)
    weights = np.concatenate([np.full(len(run), 1 / len(run)) for run in runs])
    order = np.argsort(values)
    share = np.cumsum(weights[order]) / weights.sum()
    low, high = (values[order][np.searchsorted(share, end)] for end in ENDS)
    return float(low), float(high)


def _down(value: float) -> float:
    """Round towards minus infinity to one digit."""
    unit = 10.0 ** math.floor(math.log10(abs(value)))
    return math.floor(value / unit) * unit


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        main()
