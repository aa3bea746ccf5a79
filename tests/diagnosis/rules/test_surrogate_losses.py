"""Findings in a run whose only loss does not measure progress."""

from __future__ import annotations

import math

from rule_runs.diagnosed import found, not_evaluated
from rule_runs.learning_rate import SLOW
from rule_runs.loss import NOISY
from rule_runs.parts import NAN, flat_loss
from synthetic_runs import Change, changed, column

from tb_adam_plugin.diagnosis.diagnose import diagnose


def surrogate(*changes: Change) -> list[Change]:
    """Call the loss of a run a surrogate."""
    flat = column("surrogate_loss", flat_loss)
    return [*changes, flat, column("loss", NAN)]


def test_rules_that_lean_on_the_loss_stay_out() -> None:
    assert "plateau" in found(changed(column("loss", flat_loss)))
    run = changed(*surrogate())
    unknown = not_evaluated(diagnose(run))
    for rule in ("plateau", "converged", "noise_dominated", "loss_blowup", "lr_too_low"):
        assert "surrogate" in unknown[rule], rule
    assert not found(run)
    assert "noise_dominated" in found(changed(*NOISY))
    assert "noise_dominated" not in found(changed(*surrogate(*NOISY)))


def test_nothing_is_said_of_how_far_the_learning_rate_is_from_the_best_one() -> None:
    assert "lr_too_low" in found(changed(*SLOW))
    diagnosis = diagnose(changed(*surrogate(*SLOW)))
    assert "lr_too_low" not in {finding.rule for finding in diagnosis.findings}
    assert diagnosis.compass is not None
    assert diagnosis.compass.run.text == "no reading: this loss does not measure progress"
    assert math.isnan(diagnosis.compass.run.factor)


def test_a_loss_beside_a_surrogate_is_the_measure() -> None:
    run = changed(column("surrogate_loss", 0.0), column("loss", flat_loss))
    assert "plateau" in found(run)
