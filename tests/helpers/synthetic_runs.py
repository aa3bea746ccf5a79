"""Recorded runs made of numbers, healthy or with one fault, without training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tb_adam_plugin.diagnosis.engine.recorded_run import RecordedNorms, RecordedRun
from tb_adam_plugin.schema import REPLACED, Group, Layout, Parameter, Unoptimized

Array = npt.NDArray[Any]
Change = Callable[[RecordedRun], RecordedRun]

START = 1_700_000_000.0
WEIGHTS = ("embedding.weight", *(f"layers.{i}.weight" for i in range(5)), "head.weight")
# Typical values of a healthy AdamW run at a good learning rate.
HEALTHY = {
    "update_to_weight_ratio": 1.5e-3,
    "weight_rms": 0.07,
    "weight_absmax": 0.2,
    "gradient_rms": 1e-3,
    "gradient_surprise": 0.9,
    "exp_avg_sq_root": 1e-3,
    "momentum_gradient_cosine": 0.02,
    "gradient_exp_avg_cosine": 0.45,
    "epsilon_fraction": 0.01,
    "epsilon_10_fraction": 0.03,
    "zero_second_moment_fraction": 0.0,
    "zero_gradient_fraction": 0.1,
    "lost_update_fraction": 0.02,
    "second_moment_frozen_fraction": 0.0,
    "second_moment_underflow_fraction": 0.0,
    "weight_decay_ratio": 0.02,
    "update_weight_cosine": 0.01,
    "nonfinite_count": 0.0,
    "dead_row_fraction": 0.1,
    "update_bimodality": 0.05,
    "second_moment_flicker": 0.01,
    "elasticity": 8.0,
    "update_slope": 1.0,
}


def make_parameters() -> tuple[Parameter, ...]:
    """An embedding, five square weights with biases, a head."""
    found = [Parameter("embedding.weight", (500, 64), "float32", 32_000, 0)]
    for i in range(5):
        found.append(Parameter(f"layers.{i}.weight", (64, 64), "float32", 4096, 0))
        found.append(Parameter(f"layers.{i}.bias", (64,), "float32", 64, 1))
    found.append(Parameter("head.weight", (10, 64), "float32", 640, 0))
    return tuple(found)


def make_run(
    last: int = 500, every: int = 10, first: int = 1, optimizer: str = "AdamW"
) -> RecordedRun:
    """A healthy run: a little noise, a falling loss, a constant learning rate.

    Args:
        last: Its last step.
        every: Interval of the records, after the steps 1, 2, 4, 8, 16 and 32.
        first: Its first step.
        optimizer: Class name.
    """
    steps = np.arange(first, last + 1, dtype=np.float64)
    early = {1, 2, 4, 8, 16, 32, first}
    step = np.array([t for t in steps if t in early or t % every == 0])
    parameters = make_parameters()
    random = np.random.default_rng(0)
    shape = (step.size, len(parameters))
    statistics = {
        name: (value * random.uniform(0.95, 1.05, shape)).astype(np.float32)
        for name, value in HEALTHY.items()
    }
    # It is not recorded which rows have no gradient, as in older runs.
    statistics["idle_row_fraction"] = np.full(shape, np.nan, np.float32)
    statistics["idle_row_fraction"][:, 0] = 0.02
    statistics["update_rounding_error"] = np.full(shape, 1e-3, np.float32)
    statistics["weight_rms"][0] = [
        0.6 / np.sqrt(p.elements / p.shape[0]) if len(p.shape) > 1 else 0.05 for p in parameters
    ]
    grown = 1 + 0.3 * np.sqrt(step[1:, None] / 500)
    statistics["weight_rms"][1:] *= grown * statistics["weight_rms"][0] / HEALTHY["weight_rms"]
    statistics["weight_absmax"][0] = 2 * statistics["weight_rms"][0]
    statistics["state_step"] = np.tile(step[:, None], len(parameters)).astype(np.float32)
    groups = tuple(
        Group(
            optimizer,
            {"amsgrad": False, "decoupled_weight_decay": optimizer == "AdamW"},
            storage={"exp_avg": "float32", "exp_avg_sq": "float32"},
        )
        for _ in range(2)
    )
    settings = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01}
    return RecordedRun(
        "run",
        parameters,
        groups,
        step,
        START + step,
        statistics,
        {name: np.full((step.size, 2), value) for name, value in settings.items()},
        {
            "step": steps,
            "wall_time": START + steps,
            "gradient_norm": np.exp(0.2 * random.normal(size=steps.size)),
            "lr": np.full(steps.shape, 1e-3),
            "loss": 0.2 + 2.1 * np.exp(-steps / 150) + 0.02 * random.normal(size=steps.size),
        },
    )


# --- changes ------------------------------------------------------------------------------------


def changed(*changes: Change) -> RecordedRun:
    """A healthy run with changes."""
    run = make_run()
    for change in changes:
        run = change(run)
    return run


def statistic(
    name: str,
    value: Any,
    *,
    of: Iterable[str] | None = None,
    from_step: float = 0,
    to_step: float = np.inf,
    only: Sequence[int] | None = None,
) -> Change:
    """Set a statistic.

    Args:
        name: Name of the statistic.
        value: A number, or an array that broadcasts to ``[records, parameters]``.
        of: Names of the parameters; all by default.
        from_step: The first record.
        to_step: The last record.
        only: Indices of the records instead.
    """

    def change(run: RecordedRun) -> RecordedRun:
        values = run.statistics.get(name, np.full((run.step.size, len(run.names)), np.nan))
        values = np.array(values, np.float32)
        records = np.flatnonzero((run.step >= from_step) & (run.step <= to_step))
        if only is not None:
            records = np.array(only)
        columns = np.array([i for i, n in enumerate(run.names) if of is None or n in of], np.intp)
        values[np.ix_(records, columns)] = value
        return replace(run, statistics={**run.statistics, name: values})

    return change


def column(name: str, value: Any, *, from_step: float = 0, to_step: float = np.inf) -> Change:
    """Set a column of every step: a number, or a function of the steps."""

    def change(run: RecordedRun) -> RecordedRun:
        steps = run.every_step["step"]
        values = run.every_step.get(name, np.full(steps.shape, np.nan)).copy()
        inside = (steps >= from_step) & (steps <= to_step)
        values[inside] = value(steps[inside]) if callable(value) else value
        return replace(run, every_step={**run.every_step, name: values})

    return change


def hyperparameter(
    name: str, value: Any, group: int | None = None, *, from_step: float = 0
) -> Change:
    """Set a hyperparameter of one group, or of all: a number, or a function of the steps."""

    def change(run: RecordedRun) -> RecordedRun:
        values = run.hyperparameters.get(name, np.full((run.step.size, 2), np.nan)).copy()
        inside = run.step >= from_step
        new = value(run.step[inside])[:, None] if callable(value) else value
        values[inside, slice(None) if group is None else slice(group, group + 1)] = new
        return replace(run, hyperparameters={**run.hyperparameters, name: values})

    return change


def optimizer(name: str, undefined: Sequence[str] = (), **options: Any) -> Change:
    """Set the optimizer of all groups; undefined statistics become NaN."""

    def change(run: RecordedRun) -> RecordedRun:
        groups = tuple(
            replace(g, optimizer=name, options={**g.options, **options}, undefined=tuple(undefined))
            for g in run.groups
        )
        nothing = np.full((run.step.size, len(run.names)), np.nan, np.float32)
        statistics = {n: nothing if n in undefined else v for n, v in run.statistics.items()}
        return replace(run, groups=groups, statistics=statistics)

    return change


def dtype(weights: str, storage: str) -> Change:
    """Set the types of weights and state."""

    def change(run: RecordedRun) -> RecordedRun:
        stored = {"exp_avg": storage, "exp_avg_sq": storage}
        return replace(
            run,
            parameters=tuple(replace(p, dtype=weights) for p in run.parameters),
            groups=tuple(replace(g, storage=stored) for g in run.groups),
        )

    return change


def unoptimized(name: str, *, trainable: bool) -> Change:
    """Add a parameter that is in no group."""
    return lambda run: replace(
        run, unoptimized=(*run.unoptimized, Unoptimized(name, (4, 4), trainable))
    )


def without(*names: str) -> Change:
    """Leave out statistics."""
    return lambda run: replace(
        run, statistics={n: v for n, v in run.statistics.items() if n not in names}
    )


def without_column(*names: str) -> Change:
    """Leave out columns of every step."""
    return lambda run: replace(
        run, every_step={n: v for n, v in run.every_step.items() if n not in names}
    )


def retyped_at(step: float, storage: str) -> Change:
    """Change the storage type of the state from a step on."""

    def change(run: RecordedRun) -> RecordedRun:
        def layout(stored: str) -> Layout:
            groups = tuple(replace(g, storage={"exp_avg_sq": stored}) for g in run.groups)
            return Layout(run.parameters, groups, tuple(run.statistics), ())

        return replace(run, layouts=((1.0, layout("float32")), (step, layout(storage))))

    return change


def replaced_at(step: float, name: str) -> Change:
    """Replace a tensor of the model by another with the same name from a step on."""

    def change(run: RecordedRun) -> RecordedRun:
        old = tuple(
            replace(p, name=f"{name}{REPLACED}") if p.name == name else p for p in run.parameters
        )
        before = Layout(run.parameters, run.groups, tuple(run.statistics), ())
        left = Unoptimized(name, (508, 64), True)
        after = replace(before, parameters=old, unoptimized=(left,))
        layouts = ((step, after),) if step == 1 else ((1.0, before), (step, after))
        return replace(run, parameters=old, unoptimized=(left,), layouts=layouts)

    return change


def loaded_at(step: float, **settings: tuple[float, float]) -> Change:
    """Let a checkpoint replace settings of all groups, used from a step on."""

    def change(run: RecordedRun) -> RecordedRun:
        groups = tuple(replace(g, replaced=settings) for g in run.groups)
        layout = Layout(run.parameters, groups, tuple(run.statistics), ())
        run = replace(run, layouts=(*run.layouts, (step, layout)), groups=groups)
        for name, (_, after) in settings.items():
            run = hyperparameter(name, after, from_step=step)(run)
        return run

    return change


def norms_around(step: float, spiking: str) -> Change:
    """Add the gradient norms around a step at which one parameter spikes."""

    def change(run: RecordedRun) -> RecordedRun:
        steps = np.arange(step - 20, step + 1)
        norms = np.full((steps.size, len(run.names)), 0.1)
        norms[-1, run.names.index(spiking)] = 50.0
        return replace(run, gradient_norms=RecordedNorms(steps, run.names, norms))

    return change
