"""What is not said of healthy runs whose loss nears 0, and is said of those at fault."""

from __future__ import annotations

from collections.abc import Sequence

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
