"""Healthy runs whose loss nears 0 get no false findings, and faulty ones still get theirs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from rule_runs.diagnosed import found
from rule_runs.parts import MATRICES
from synthetic_runs import Change, changed, column, make_run, statistic, without_column

LOSSES = 2.0 * np.exp(-make_run().step / 15)
# Elasticity of a squared loss, and what rounding loses of the updates, as the loss nears 0.
SQUARED: list[Change] = [
    column("loss", lambda t: 2.0 * np.exp(-t / 15)),
    statistic("elasticity", 8 / np.sqrt(LOSSES / 2.0)[:, None]),
    statistic("gradient_rms", 1e-3 * np.sqrt(LOSSES / 2.0)[:, None]),
]
ALL_LOST: list[Change] = [
    statistic("lost_update_fraction", 0.9, of=MATRICES, from_step=250),
    statistic("update_slope", 0.4, of=MATRICES, from_step=250),
]


def test_the_elasticity_of_a_loss_near_0_is_no_scaling() -> None:
    assert "gradient_scale" not in found(changed(*SQUARED))
    later = [column("loss", 2.0), *SQUARED[1:2]]
    assert "gradient_scale" in found(changed(*later))


@pytest.mark.parametrize("scale", [2.0**12, 2.0**16])
def test_a_loss_scale_that_is_left_in_is_told_though_the_loss_nears_0(scale: float) -> None:
    scaled = statistic("elasticity", scale * 8 / np.sqrt(LOSSES / 2.0)[:, None])
    finding = found(changed(*SQUARED, scaled))["gradient_scale"]
    assert (finding.severity, finding.first_step) == ("error", 1)


@pytest.mark.parametrize("with_loss", [True, False])
def test_updates_that_rounding_loses_after_convergence_are_no_fault(with_loss: bool) -> None:
    unknown: Sequence[Change] = [] if with_loss else [without_column("loss")]
    assert "lost_updates" not in found(changed(*SQUARED, *ALL_LOST, *unknown))
    # A learning rate that is too small loses them while there is something left to learn.
    learning = [column("loss", 2.0), statistic("gradient_rms", 1e-3), *ALL_LOST, *unknown]
    assert found(changed(*learning))["lost_updates"].severity == "error"


def test_updates_that_are_lost_from_the_start_are_told_though_gradients_fade() -> None:
    lost = [statistic("lost_update_fraction", 0.9), statistic("update_slope", 0.4)]
    for unknown in ([], [without_column("loss")]):
        assert "lost_updates" in found(changed(*SQUARED, *lost, *unknown))


def test_a_run_that_is_resumed_where_its_loss_is_near_0_is_healthy() -> None:
    near_0 = [
        column("loss", 1e-7),
        statistic("elasticity", 3e4),
        statistic("lost_update_fraction", 0.9),
        statistic("update_slope", 0.4),
    ]
    run = make_run(first=1000, last=1500)
    for change in near_0:
        run = change(run)
    assert found(run).keys().isdisjoint({"gradient_scale", "lost_updates"})
    for change in (column("loss", 2.0), statistic("elasticity", 8 * 2.0**16)):
        run = change(run)
    assert found(run).keys() >= {"gradient_scale", "lost_updates"}


# --- an almost exhausted loss ---------------------------------------------------------------------


def test_steps_fit_noise_only_where_the_loss_stands_still_and_no_direction_is_shared() -> None:
    faded = statistic("gradient_surprise", 0.01, from_step=100)
    still = column("loss", lambda t: 0.01 + 2.3 * np.exp(-t / 10))
    falling = column("loss", lambda t: 1e-4 + 0.04 * np.exp(-t / 100) * (t > 1) + 2.3 * (t < 9))

    def said(*changes: Change) -> str:
        finding = found(changed(faded, *changes))["converged"]
        assert finding.title == "Little of the first loss is left"
        assert ("Stop where the validation" in finding.advice) == ("fit noise" in finding.text)
        return finding.text

    assert "further steps fit noise" in said(still)
    for others in (
        [falling],
        [still, statistic("momentum_gradient_cosine", -0.8)],
        [still, statistic("momentum_gradient_cosine", float("nan"))],
    ):
        assert "fit noise" not in said(*others)
        assert "The first loss may be mostly an offset" in said(*others)


def test_gradients_that_fall_from_the_start_are_no_burst_that_is_remembered() -> None:
    stale = statistic("gradient_surprise", 0.01, from_step=100)

    def asked(norm: Callable[[Any], Any], first: int = 1) -> bool:
        run = make_run(first=first, last=500)
        for change in (stale, column("gradient_norm", norm)):
            run = change(run)
        return "stale_second_moment" in found(run)

    def falling(t: Any) -> Any:
        return 0.01 + 3 * np.exp(-t / 30)

    assert not asked(falling)
    assert asked(lambda t: np.where(t == 90, 20.0, falling(t)))  # a burst on the way
    assert asked(lambda t: np.where(t == 2, 30.0, falling(t)))  # and one at the start
    assert not asked(lambda t: np.where(t == 2, 6.0, falling(t)))
    assert asked(lambda t: np.where(t <= 10, 300.0, 1.0))  # which ended at once
    assert asked(lambda t: falling(np.abs(t - 90)))  # they rose before they fell
    assert asked(lambda t: 1 + 0 * t)  # the norm did not fall
    assert asked(lambda t: float("nan") * t)
    assert asked(falling, first=50)  # resumed: what came before is not known
    # A small burst is forgotten beside the first gradients, and large after these are.
    assert not asked(lambda t: np.where(t == 90, 0.3, falling(t)) * 10)
