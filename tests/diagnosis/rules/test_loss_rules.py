"""Findings about the loss."""

from __future__ import annotations

import numpy as np
from rule_runs.diagnosed import found
from rule_runs.every_rule import PLANTED
from rule_runs.learning_rate import TOO_FAST
from rule_runs.loss import NOISY
from rule_runs.parts import NAN, flat_loss
from synthetic_runs import Change, changed, column, statistic


def test_a_loss_that_rises_from_the_start_may_have_the_wrong_sign() -> None:
    rises = found(changed(column("loss", lambda t: 2.3 * np.exp(t / 50))))["loss_blowup"]
    assert rises.advice.endswith("It never fell: is the sign of the loss right?")
    assert "sign" not in found(changed(*PLANTED["loss_blowup"]))["loss_blowup"].advice


def test_a_loss_that_grows_is_an_alarm_only_where_something_else_went_wrong() -> None:
    grows: list[Change] = [column("loss", lambda t: 18.0 + t / 20)]
    asked = found(changed(*grows))["loss_blowup"]
    assert (asked.severity, asked.title) == ("info", "Did the loss blow up?")
    assert "In reinforcement learning and adversarial training" in asked.text
    assert "Try lr" not in asked.advice
    assert "plateau" not in found(changed(*grows))
    grown = [*grows, statistic("weight_rms", 10.0, from_step=300)]
    assert found(changed(*grown))["loss_blowup"].severity == "error"
    jumped = [*grows, column("lr", 0.1, from_step=200)]
    assert found(changed(*jumped))["loss_blowup"].severity == "error"
    bad = [*grows, statistic("nonfinite_count", 3.0, of=["head.weight"], from_step=400)]
    assert found(changed(*bad))["loss_blowup"].severity == "error"
    too_fast = [*TOO_FAST, *grows]
    assert found(changed(*too_fast))["loss_blowup"].severity == "error"
    far = [column("loss", lambda t: 18.0 + t)]
    assert found(changed(*far))["loss_blowup"].severity == "error"
    came_down = [*far, column("loss", 40.0, from_step=400)]
    assert found(changed(*came_down))["loss_blowup"].severity == "info"


def test_a_loss_is_said_never_to_have_fallen_only_where_that_is_so() -> None:
    grows = [column("loss", lambda t: 18.0 + t / 20)]
    fell = [*grows, column("loss", 17.0, from_step=2, to_step=20)]
    assert "never fell" in found(changed(*grows))["loss_blowup"].advice
    assert "never fell" not in found(changed(*fell))["loss_blowup"].advice


def test_a_loss_is_said_to_have_begun_with_the_first_one() -> None:
    steps = [column("loss", 7.24, to_step=1), column("loss", 585.0, from_step=2, to_step=9)]
    rose = found(changed(*steps, column("loss", 7000.0, from_step=10)))["loss_blowup"]
    assert "it began at 7.2." in rose.text


def test_nothing_is_said_of_a_loss_that_is_no_number_any_more() -> None:
    flat = column("loss", flat_loss)
    assert "plateau" in found(changed(flat))
    lost = column("loss", NAN, from_step=100)
    assert "plateau" not in found(changed(flat, lost))
    assert "noise_dominated" not in found(changed(*NOISY, lost))
    seldom = column("loss", lambda t: np.where(t % 50 == 1, 2.3, NAN))
    assert "plateau" in found(changed(seldom))


def test_a_loss_that_is_no_measure_is_asked_about() -> None:
    for loss in (
        [column("loss", lambda t: 0.3 * np.sin(t)), column("loss", 4.0, from_step=300)],
        [column("loss", lambda t: 0.01 + 0 * t), column("loss", 4.0, from_step=300)],
    ):
        asked = found(changed(*loss))["loss_blowup"]
        assert (asked.severity, asked.title) == ("info", "Did the loss blow up?")
        assert "does not measure progress. Does this one?" in asked.text
        assert asked.advice == ""
        # It makes no other finding worse.
        high = found(changed(*TOO_FAST, *loss))["lr_too_high"]
        assert high.severity == "warning"
        assert "rose" not in high.text
    # A loss far below 0 is not exhausted.
    negative = changed(column("loss", lambda t: 1 - t / 10), statistic("gradient_surprise", 0.01))
    assert "converged" not in found(negative)
