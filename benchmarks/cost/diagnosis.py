"""Time to diagnose a large run: as a whole, and for one more record.

    python benchmarks/cost/diagnosis.py --parameters 1000 --records 2000

Three runs of synthetic statistics: a healthy one, one with many faults in its second half, and one
with bad numbers everywhere. Only the diagnosis is measured, from arrays to findings.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tb_adam_plugin.diagnosis.diagnose import diagnose
from tb_adam_plugin.diagnosis.engine.recorded_run import RecordedRun
from tb_adam_plugin.diagnosis.rules.registry import STATISTICS_NEEDED
from tb_adam_plugin.schema import Group, Parameter

_FRACTIONS = ("fraction", "cosine", "ratio", "bimodality", "flicker", "count")


def make_run(parameters: int, records: int, steps_a_record: int) -> RecordedRun:
    """A healthy run of a deep network: every other parameter is a bias."""
    random = np.random.default_rng(0)
    described = tuple(
        Parameter(
            f"layers.{i // 2}.{'bias' if i % 2 else 'weight'}",
            (256,) if i % 2 else (256, 256),
            "float32",
            256 if i % 2 else 65_536,
            0,
        )
        for i in range(parameters)
    )
    shape = (records, parameters)
    values = {
        name: (
            (0.02 if any(word in name for word in _FRACTIONS) else 1.0)
            * random.lognormal(0, 0.3, shape)
        ).astype(np.float32)
        for name in STATISTICS_NEEDED
        if not name.startswith(("loss", "lr", "gradient_norm", "step", "eps"))
        and name != "weight_decay"
    }
    values["nonfinite_count"][:] = 0
    values["update_to_weight_ratio"] *= 0.05
    values["gradient_exp_avg_cosine"][:] = 0.4
    values["state_step"] = np.tile(np.arange(1, records + 1, dtype=np.float32)[:, None], parameters)
    values["weight_rms"][0] = 0.6 / 16
    values["weight_absmax"][0] = 0.1
    step = np.arange(1, records + 1, dtype=np.float64) * steps_a_record
    every = np.arange(1, records * steps_a_record + 1, dtype=np.float64)
    settings = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01}
    return RecordedRun(
        "made up",
        described,
        (Group("AdamW", {"decoupled_weight_decay": True}),),
        step,
        step,
        values,
        {name: np.full((records, 1), value) for name, value in settings.items()},
        {
            "step": every,
            "wall_time": every,
            "gradient_norm": random.lognormal(0, 0.3, every.size),
            "loss": 0.3 + 2 * np.exp(-every / every.size * 4),
            "lr": np.full(every.shape, 1e-3),
        },
    )


def broken(run: RecordedRun) -> RecordedRun:
    """Many faults in the second half, in every parameter."""
    half = run.step.size // 2
    values = {name: array.copy() for name, array in run.statistics.items()}
    for name in ("dead_row_fraction", "second_moment_underflow_fraction", "nonfinite_count"):
        values[name][half:] = 1
    values["update_to_weight_ratio"][half:, ::4] *= 1e3
    return replace(run, statistics=values)


def spoiled(run: RecordedRun) -> RecordedRun:
    """A tenth of all numbers is NaN."""
    random = np.random.default_rng(1)
    return replace(
        run,
        statistics={
            name: np.where(random.random(array.shape) < 0.1, np.float32(np.nan), array)
            for name, array in run.statistics.items()
        },
    )


def shorter(run: RecordedRun, records: int) -> RecordedRun:
    """The run as it was with this many records."""
    known = run.every_step["step"] <= run.step[records - 1]
    return replace(
        run,
        step=run.step[:records],
        wall_time=run.wall_time[:records],
        statistics={n: v[:records] for n, v in run.statistics.items()},
        hyperparameters={n: v[:records] for n, v in run.hyperparameters.items()},
        every_step={n: v[known] for n, v in run.every_step.items()},
    )


def seconds(function: Callable[[], object], repeats: int) -> float:
    """Median time of a call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parameters", type=int, default=1000)
    parser.add_argument("--records", type=int, default=2000)
    parser.add_argument("--steps-a-record", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    healthy = make_run(options.parameters, options.records, options.steps_a_record)
    print(f"{options.parameters} parameters × {options.records} records")
    print("run       whole    one more record   findings")
    for name, run in (
        ("healthy", healthy),
        ("broken", broken(healthy)),
        ("spoiled", spoiled(healthy)),
    ):
        whole = seconds(lambda run=run: diagnose(run), options.repeats)  # type: ignore[misc]
        earlier = diagnose(shorter(run, options.records - 1))
        one_more = seconds(
            lambda run=run, earlier=earlier: diagnose(run, earlier),  # type: ignore[misc]
            options.repeats,
        )
        count = len(diagnose(run).findings)
        print(f"{name:<8} {whole * 1e3:6.0f} ms {one_more * 1e3:12.0f} ms {count:10d}")


if __name__ == "__main__":
    main()
