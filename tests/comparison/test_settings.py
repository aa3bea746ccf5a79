"""Which settings differ between runs, and which value of a sweep won."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from synthetic_runs import (
    Change,
    changed,
    column,
    hyperparameter,
    make_run,
    optimizer,
    statistic,
)

from tb_adam_plugin.comparison.compare import compare
from tb_adam_plugin.comparison.settings import Setting, differing_settings, settings_of
from tb_adam_plugin.comparison.words import about_sweep
from tb_adam_plugin.diagnosis.engine.recorded_run import RecordedRun
from tb_adam_plugin.diagnosis.engine.signals import Signals

Array = npt.NDArray[Any]


def lr(value: float) -> Change:
    return lambda run: hyperparameter("lr", value)(column("lr", value)(run))


def differences(*runs: RecordedRun) -> dict[str, Setting]:
    return {setting.name: setting for setting in differing_settings([*map(Signals, runs)])}


def test_equal_runs_differ_in_nothing() -> None:
    assert differences(changed(), changed()) == {}


def test_settings_that_are_the_same_are_known_and_what_no_run_has_is_not_said() -> None:
    both = changed(), changed(hyperparameter("eps", 1e-6))
    same = {s.name: s.known for s in compare(dict(zip("ab", both, strict=True))).same}
    assert (same["optimizer"], same["lr"], same["beta2"]) == ("AdamW", "1e-3", "0.999")
    assert "eps" not in same
    assert all(same.values())
    every = {setting.name for setting in settings_of([*map(Signals, both)])}
    assert every >= {*same, "eps"}


@pytest.mark.parametrize(
    ("change", "name", "values"),
    [
        (lr(3e-3), "lr", ("1e-3", "3e-3")),
        (lr(1.001e-3), "lr", ("1e-3", "0.001001")),
        (hyperparameter("beta2", 0.95), "beta2", ("0.999", "0.95")),
        (hyperparameter("eps", 1e-6), "eps", ("1e-8", "1e-6")),
        (hyperparameter("weight_decay", 0.0, 1), "weight_decay", ("0.01", "0.01 / 0")),
        (hyperparameter("beta1", 0.85, from_step=300), "beta1", ("0.9", "0.9 → 0.85")),
        (optimizer("Lion"), "optimizer", ("AdamW", "Lion")),
        (optimizer("AdamW", amsgrad=True), "amsgrad", ("False", "True")),
    ],
)
def test_what_differs_is_named_with_both_values(
    change: Change, name: str, values: tuple[str, str]
) -> None:
    found = differences(changed(), changed(change))
    assert list(found) == [name]
    assert found[name].values == values
    assert found[name].same_as == (0, 1)


def test_a_learning_rate_of_another_group_is_a_difference() -> None:
    (found,) = differences(changed(), changed(hyperparameter("lr", 1e-4, 1))).values()
    assert found.values == ("1e-3", "1e-3 / 1e-4")


def test_how_the_optimizer_is_computed_is_no_setting() -> None:
    assert differences(changed(), changed(optimizer("AdamW", foreach=True, fused=None))) == {}


def scheduled(shape: Any) -> RecordedRun:
    return changed(column("lr", lambda steps: 1e-3 * shape(steps)))


def test_schedules_are_compared_by_their_shape() -> None:
    cosine = scheduled(lambda steps: (1 + np.cos(np.pi * steps / 500)) / 2)
    warm = scheduled(lambda steps: np.minimum(1, steps / 50))
    found = differences(changed(), cosine, warm, changed())["schedule"]
    assert found.same_as == (0, 1, 2, 0)
    constant, fallen, warmed, _ = found.values
    assert constant == "constant"
    assert fallen == "at 0 % of the peak at the end, 50 % half-way"
    assert warmed == "warm-up of 50 steps, constant"
    rising = scheduled(lambda steps: steps / 500)
    assert differences(changed(), rising)["schedule"].values[1] == ("warm-up, not over at step 500")


def test_initial_weights_of_another_seed_or_scale_are_told_apart() -> None:
    run = changed()
    rms = run.statistics["weight_rms"][0]
    seed = changed(statistic("weight_rms", rms * (1 + 1e-3), only=[0]))
    scale = changed(statistic("weight_rms", rms * 3, only=[0]))
    found = differences(run, seed, scale)["initial_weights"]
    assert found.same_as == (0, 1, 2)
    assert found.values[1].endswith("other random numbers")
    assert not found.values[2].endswith("other random numbers")
    later = make_run(first=5)
    assert "initial_weights" not in differences(run, later)


def test_other_parameters_and_types_are_differences() -> None:
    run = changed()
    wider = replace(
        run, parameters=(replace(run.parameters[0], shape=(600, 64)), *run.parameters[1:])
    )
    half = replace(run, parameters=tuple(replace(p, dtype="bfloat16") for p in run.parameters))
    assert list(differences(run, wider)) == ["parameters"]
    assert differences(run, half)["dtype"].values == ("float32", "bfloat16")
    assert differences(run, make_run(last=300))["steps"].values == ("500", "300")


# --- sweeps -------------------------------------------------------------------------------------


def trained(name: str, value: float, floor: float, seed: int = 0) -> RecordedRun:
    def loss(steps: Array) -> Array:
        noise = np.random.default_rng(seed).normal(size=steps.size)
        return np.asarray(floor + 2 * np.exp(-steps / 60) + 0.03 * noise)

    change = lr(value) if name == "lr" else hyperparameter(name, value)
    return changed(change, column("loss", loss))


def sweep(name: str, floors: dict[float, float]) -> Any:
    runs = {
        f"{name}{value}": trained(name, value, floor, seed)
        for seed, (value, floor) in enumerate(floors.items())
    }
    return compare(runs, parts=False).sweep


def test_a_winner_inside_is_the_best() -> None:
    found = sweep("lr", {1e-3: 0.3, 1e-4: 0.5, 1e-2: 0.6})
    assert found.values == ("1e-4", "1e-3", "0.01")
    assert (found.best, found.ties, found.edge) == (1, (), "")
    assert about_sweep(found) == "The best lr is 1e-3."


@pytest.mark.parametrize(
    ("floors", "edge", "said"),
    [
        ({1e-4: 0.6, 1e-3: 0.5, 3e-3: 0.3}, "largest", "try a larger one"),
        ({1e-4: 0.3, 1e-3: 0.5, 3e-3: 0.6}, "smallest", "try a smaller one"),
    ],
)
def test_a_winner_at_the_edge_asks_for_more(
    floors: dict[float, float], edge: str, said: str
) -> None:
    found = sweep("lr", floors)
    assert found.edge == edge
    assert said in about_sweep(found)


def test_there_is_nothing_smaller_than_zero() -> None:
    found = sweep("weight_decay", {0.0: 0.3, 0.1: 0.5, 1.0: 0.6})
    assert found.edge == "smallest"
    assert about_sweep(found) == "The best weight_decay is 0."


def test_values_within_noise_are_named_and_keep_the_edge_quiet() -> None:
    found = sweep("beta2", {0.9: 0.6, 0.95: 0.3, 0.99: 0.3})
    assert sorted([found.best, *found.ties]) == [1, 2]
    said = about_sweep(found)
    assert "within noise of it: " in said
    assert "try a" not in said


def test_nothing_won_where_all_are_alike() -> None:
    found = sweep("eps", {1e-8: 0.3, 1e-7: 0.3, 1e-6: 0.3})
    assert about_sweep(found) == ("eps: no difference beyond noise between 1e-8, 1e-7 and 1e-6.")


def test_a_value_that_diverged_did_not_win() -> None:
    runs = {
        "a": trained("lr", 1e-3, 0.5),
        "b": trained("lr", 3e-3, 0.3, 1),
        "c": column("loss", np.inf, from_step=50)(trained("lr", 1e-2, 0.1, 2)),
    }
    found = compare(runs, parts=False).sweep
    assert found is not None
    assert (found.values[found.best], found.edge) == ("3e-3", "")
    assert np.isinf(found.finals[2])


def test_seeds_of_one_value_count_as_one() -> None:
    runs = {
        f"{value}-{seed}": trained("lr", value, floor + 0.01 * seed, 10 * seed + place)
        for place, (value, floor) in enumerate({1e-4: 0.5, 1e-3: 0.4, 1e-2: 0.3}.items())
        for seed in range(3)
    }
    comparison = compare(runs, parts=False)
    found = comparison.sweep
    assert comparison.repeats == 3
    assert found is not None
    assert found.finals == pytest.approx((0.51, 0.41, 0.31), abs=0.02)
    assert (found.best, found.ties, found.edge) == (2, (), "largest")


def test_two_values_or_two_settings_are_no_sweep() -> None:
    assert sweep("lr", {1e-3: 0.3, 1e-2: 0.5}) is None
    runs = {
        "a": trained("lr", 1e-3, 0.3),
        "b": trained("lr", 1e-2, 0.4),
        "c": hyperparameter("eps", 1e-3)(trained("lr", 1e-1, 0.5)),
    }
    assert compare(runs, parts=False).sweep is None
