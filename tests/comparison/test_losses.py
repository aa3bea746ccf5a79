"""Which of two runs did better: known answers, and seed noise, which must give none."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from synthetic_runs import changed, column, without_column

from tb_adam_plugin.comparison.compare import Comparison, compare
from tb_adam_plugin.comparison.words import about_loss, about_losses, verdict
from tb_adam_plugin.diagnosis.engine.recorded_run import RecordedRun

Array = npt.NDArray[Any]


def losses(
    shape: Callable[[Array], Array], seed: int, noise: float = 0.05, to_step: float = np.inf
) -> RecordedRun:
    """A run with a loss of some shape, noise of a seed, and some slow drift."""

    def loss(steps: Array) -> Array:
        random = np.random.default_rng(seed)
        return np.asarray(shape(steps) + noise * random.normal(size=steps.size))

    return changed(column("loss", loss), column("loss", np.nan, from_step=to_step + 1))


def fall(time: float, floor: float = 0.2) -> Callable[[Array], Array]:
    return lambda steps: floor + 2.1 * np.exp(-steps / time)


def of_two(first: RecordedRun, second: RecordedRun) -> tuple[Comparison, str]:
    found = compare({"a": first, "b": second}, parts=False)
    return found, str(verdict(found.pairs[0], found))


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.1, 0.4])
def test_two_seeds_are_not_told_apart(noise: float) -> None:
    runs = [losses(fall(100 * (1 + 0.03 * (seed % 3))), seed, noise) for seed in range(6)]
    for first, second in itertools.combinations(runs, 2):
        found, said = of_two(first, second)
        assert found.pairs[0].lead is None
        assert said.endswith("no difference beyond noise at the end.")


@pytest.mark.parametrize(("noise", "floor"), [(0.0, 0.3), (0.05, 0.3), (0.2, 0.5)])
def test_a_lower_loss_is_better(noise: float, floor: float) -> None:
    found, said = of_two(losses(fall(60, floor), 1, noise), losses(fall(60), 2, noise))
    assert found.best == "b"
    lead = found.pairs[0].lead
    assert lead is not None
    assert lead.first
    assert said.startswith("b is better than a from ")
    assert found.losses[0].final == pytest.approx(floor, abs=0.05)
    assert found.losses[1].common == pytest.approx(0.2, abs=0.05)


def test_the_step_from_which_on_is_that_where_they_part() -> None:
    def parts(steps: Array) -> Array:
        return np.asarray(fall(60)(steps) + np.where(steps > 250, 0.4, 0.0))

    found, said = of_two(losses(fall(60), 1), losses(parts, 2))
    lead = found.pairs[0].lead
    assert lead is not None
    assert found.best == "a"
    assert 225 <= lead.start <= 276
    assert said == f"a is better than b from about step {lead.start:.0f} on."


def test_a_lead_that_is_lost_is_said() -> None:
    found, said = of_two(losses(fall(30, 0.6), 1), losses(fall(110), 2))
    assert found.best == "b"
    first, last = found.pairs[0].leads
    assert (first.first, last.first, last.lasts) == (False, True, True)
    assert said.startswith("a is ahead from about step 1 to ")
    assert "; b is better than a from about step " in said


def test_a_head_start_that_is_made_up_for_is_no_difference_at_the_end() -> None:
    _, said = of_two(losses(fall(20), 1), losses(fall(60), 2))
    assert said.startswith("a is ahead from about step 1 to ")
    assert said.endswith("no difference beyond noise at the end.")


def test_a_loss_that_is_not_finite_is_worse() -> None:
    gone = changed(column("loss", np.inf, from_step=301))
    found, said = of_two(gone, losses(fall(60, 1.5), 2))
    assert found.best == "b"
    assert said == (
        "a is ahead from about step 1 to 300; the loss of a is not finite from step 301 on."
    )
    assert np.isinf(found.losses[0].final)
    assert about_loss(found.losses[0]) == "the loss is not finite from step 301 on"


def test_a_run_that_ended_with_nan_does_not_shorten_the_others() -> None:
    nan = changed(
        column("loss_is_nan", 0.0),
        column("loss_is_nan", 1.0, from_step=200, to_step=200),
        column("loss", np.nan, from_step=200),
    )
    found = compare({"a": nan, "b": losses(fall(60), 2), "c": losses(fall(60), 3)}, parts=False)
    assert found.common_end == 500
    assert found.best in "bc"
    pair = next(pair for pair in found.pairs if pair.other == "a")
    assert pair.lead is not None
    assert verdict(pair, found).endswith("he loss of a is not finite from step 200 on.")


@pytest.mark.parametrize("end", [190, 200, 211, 224])
def test_a_run_that_was_better_until_its_loss_was_nan_is_never_called_worse_before(
    end: int,
) -> None:
    """The window that the step falls into must not be lost with it."""
    better = losses(fall(30, 0.02), 1, noise=0.01, to_step=end - 1)
    nan = column("loss_is_nan", 0.0)(better)
    nan = column("loss_is_nan", 1.0, from_step=end)(nan)
    _, said = of_two(nan, losses(fall(60, 1.0), 2, noise=0.01))
    assert said == (
        f"a is ahead from about step 1 to {end - 1}; the loss of a is not finite from step {end} "
        "on."
    )


def test_a_run_that_was_lost_at_once_has_nothing_to_compare_before() -> None:
    gone = changed(column("loss", np.inf, from_step=9))
    found, said = of_two(gone, losses(fall(60, 1.5), 2))
    assert found.best == "b"
    assert said == "The loss of a is not finite from step 9 on."


def test_a_single_loss_that_is_not_finite_does_not_end_a_run() -> None:
    once = changed(column("loss", np.inf, from_step=301, to_step=301))
    found, said = of_two(once, losses(fall(60, 1.5), 2))
    assert np.isnan(found.losses[0].gone_at)
    assert about_loss(found.losses[0]) == ""
    assert "not finite" not in said


def test_runs_are_compared_as_far_as_all_of_them_go() -> None:
    found, _ = of_two(losses(fall(60), 1, to_step=200), losses(fall(60), 2))
    assert found.common_end == 200
    assert found.losses[1].common > found.losses[1].final


def test_the_spread_of_the_same_settings_is_noise() -> None:
    """Repeats that end far apart turn an apparent difference into noise."""
    runs = {
        "a": losses(fall(60, 0.2), 1),
        "b": losses(fall(60, 0.3), 2),
        "c": changed_lr(losses(fall(60, 0.26), 3)),
    }
    found = compare(runs, parts=False)
    assert found.repeats == 1
    assert "spread of runs with the same settings" in about_losses(found)
    pair = next(pair for pair in found.pairs if pair.other == "c")
    assert pair.lead is None
    alone = compare({name: runs[name] for name in "ac"}, parts=False)
    assert alone.pairs[0].lead is not None


def changed_lr(run: RecordedRun) -> RecordedRun:
    return column("lr", 3e-3)(run)


@pytest.mark.parametrize("name", ["a", "b"])
def test_without_a_loss_nothing_is_said_of_it(name: str) -> None:
    runs = {"a": losses(fall(60), 1), "b": losses(fall(60, 1.0), 2)}
    runs[name] = without_column("loss")(runs[name])
    found = compare(runs, parts=False)
    assert found.best == ""
    assert verdict(found.pairs[0], found) == ""
    assert about_losses(found).startswith("Fewer than two of these runs have a loss")
    lacking = next(loss for loss in found.losses if loss.run == name)
    assert about_loss(lacking) == "no loss was recorded: call debug.record(loss=loss)"


def test_a_surrogate_loss_is_not_compared() -> None:
    surrogate = without_column("loss")(changed(column("surrogate_loss", 1.0)))
    found = compare(
        {"a": surrogate, "b": losses(fall(60), 1), "c": losses(fall(60, 1.0), 2)}, parts=False
    )
    assert found.best == "b"
    assert found.losses[0].lack == "surrogate"
    assert "surrogate loss does not measure progress" in about_loss(found.losses[0])
    assert [verdict(p, found) for p in found.pairs if p.other == "a"] == [""]


def test_too_few_losses_are_not_enough_data() -> None:
    found, said = of_two(losses(fall(60), 1, to_step=12), losses(fall(60, 1.0), 2))
    assert (found.best, said) == ("", "")
    assert about_losses(found).startswith("Not enough data")


def test_losses_that_start_far_apart_are_doubted() -> None:
    found, _ = of_two(losses(fall(60), 1), losses(lambda steps: 30 * fall(60)(steps), 2))
    assert "start at very different losses" in about_losses(found)
