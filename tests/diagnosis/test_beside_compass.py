"""Which finding the compass names instead of a reading."""

from __future__ import annotations

from rule_runs.learning_rate import SLOW
from rule_runs.weight_decay import DECAY
from synthetic_runs import Change, changed, column, statistic, unoptimized

from tb_adam_plugin.diagnosis.diagnose import diagnose

TOO_LOW = "no reading: see “Is the learning rate too low?” first"


def reading(*changes: Change) -> str:
    diagnosis = diagnose(changed(*changes))
    assert diagnosis.compass is not None
    return diagnosis.compass.run.full_text


def test_why_the_needle_is_silent_does_not_contradict_that_steps_are_too_short() -> None:
    assert reading(*SLOW).startswith("about ")
    # Steps are short enough for the question, and too long for what so high a cosine says.
    agree = statistic("momentum_gradient_cosine", 0.95)
    assert reading(*SLOW, agree, statistic("update_to_weight_ratio", 1.5e-3)) == TOO_LOW
    faded = statistic("gradient_surprise", 0.01, from_step=30)  # so that nothing is asked
    assert "gradients have become small" in reading(*SLOW, faded)


def test_the_compass_names_the_cause_rather_than_its_consequence() -> None:
    assert "Weight decay too strong" in reading(*DECAY)
    left_out = unoptimized("head2.weight", trainable=True)
    cause = "Trainable parameters are in no group"
    assert reading(*DECAY, left_out) == f"no reading: see “{cause}” first"


def test_gradients_that_turn_back_may_overshoot() -> None:
    turning = statistic("momentum_gradient_cosine", -0.7), column("loss", lambda t: 1 / t + 0.2)
    assert "the steps overshoot, or two networks play against each other" in reading(*turning)
