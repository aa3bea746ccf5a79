"""In which tensors two runs part first, beyond the tensors' own variation."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_runs import changed, make_run, statistic

from tb_adam_plugin.comparison.compare import MOST_PARTED, Pair, compare
from tb_adam_plugin.comparison.losses import Lead
from tb_adam_plugin.comparison.parting import MOST_PARTINGS, MOST_RECORDS, common_steps, partings
from tb_adam_plugin.comparison.words import about_parting, about_partings


def test_equal_runs_do_not_part() -> None:
    assert partings(changed(), changed()) == []
    found = compare({"a": changed(), "b": changed()})
    assert about_partings(found.pairs[0]).startswith(
        "At common recorded steps no statistic differs"
    )


def test_the_first_step_and_the_tensors_are_found() -> None:
    other = changed(
        statistic("gradient_rms", 5e-3, of=["layers.2.weight"], from_step=200),
        statistic("gradient_rms", 3e-3, of=["layers.1.weight"], from_step=200),
        statistic("epsilon_fraction", 0.9, of=["head.weight"], from_step=100),
    )
    epsilon, gradient = partings(changed(), other)
    assert (epsilon.statistic, epsilon.step) == ("epsilon_fraction", 100)
    assert (gradient.statistic, gradient.step) == ("gradient_rms", 200)
    assert gradient.parameters == ("layers.2.weight", "layers.1.weight")
    assert gradient.second == pytest.approx(5e-3)
    pair = Pair("a", "b", (), (), parted=True)
    assert about_parting(gradient, pair) == (
        "step 200: gradient RMS of layers.2.weight, 9.7e-4 (a) against 5e-3 (b), and of 1 more"
    )
    ahead = Pair("a", "b", (Lead(False, 1, 9, False), Lead(True, 20, 40, True)), (), parted=True)
    assert about_parting(gradient, ahead) == (
        "step 200: gradient RMS of layers.2.weight, 5e-3 (b) against 9.7e-4 (a), and of 1 more"
    )


def test_what_varies_by_itself_does_not_part() -> None:
    random = np.random.default_rng(0)
    shape = changed().statistics["gradient_rms"].shape
    for seed in range(4):
        noise = [np.exp(random.normal(size=shape)) * 1e-3 for _ in range(2)]
        first, second = (changed(statistic("gradient_rms", 1.0)) for _ in noise)
        first.statistics["gradient_rms"][:] = noise[0]  # type: ignore[index]
        second.statistics["gradient_rms"][:] = 1.5 * noise[1]  # type: ignore[index]
        assert partings(first, second) == [], seed


def test_a_difference_that_passes_is_none() -> None:
    assert partings(changed(), changed(statistic("gradient_rms", 1.0, only=[20, 21, 22]))) == []


def test_small_differences_and_small_tensors_do_not_count() -> None:
    assert partings(changed(), changed(statistic("gradient_rms", 1.5e-3))) == []
    run = changed()
    tiny = [p.name for p in run.parameters if p.elements < 64]
    assert tiny == []
    assert partings(changed(), changed(statistic("gradient_rms", np.nan))) == []


def test_runs_with_few_common_steps_do_not_part() -> None:
    late = make_run(first=451, last=500, every=7)
    early = make_run(last=460, every=11)
    assert partings(early, late) == []


def test_long_runs_are_thinned_but_not_at_first() -> None:
    steps = common_steps(make_run(last=5000, every=1), make_run(last=6000, every=1))
    assert steps.size <= MOST_RECORDS
    assert steps[:10].tolist() == list(range(1, 11))
    assert steps[-1] == 5000


def test_at_most_so_many_are_named_and_so_many_runs_looked_at() -> None:
    names = ("gradient_rms", "update_to_weight_ratio", "elasticity", "exp_avg_sq_root",
             "gradient_surprise", "weight_decay_ratio")  # fmt: skip
    other = changed(*(statistic(name, 100.0) for name in names))
    assert len(partings(changed(), other)) == MOST_PARTINGS
    runs = {f"run{i}": changed() for i in range(MOST_PARTED + 3)}
    found = compare(runs)
    assert [pair.parted for pair in found.pairs] == [True] * MOST_PARTED + [False] * 2
    assert "were not compared" in about_partings(found.pairs[-1])
