"""Findings about a learning rate that is too high or too low."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rule_runs.adam_state import RESET
from rule_runs.diagnosed import found
from rule_runs.every_rule import PLANTED
from rule_runs.learning_rate import LOSS_ROSE, RADAM, RMSPROP, SLOW, TOO_FAST, gain
from rule_runs.parts import (
    LAYERS,
    NAN,
    WITHOUT_FIRST,
    WITHOUT_SECOND,
    flat_loss,
    in_second_group,
    lr_of_group,
)
from synthetic_runs import changed, column, hyperparameter, make_run, optimizer, statistic

from tb_adam_plugin.diagnosis.diagnose import diagnose
from tb_adam_plugin.diagnosis.engine.over_time import sum_over_steps


def test_advice_about_the_learning_rate_names_values() -> None:
    high = found(changed(*TOO_FAST))["lr_too_high"]
    assert high.severity == "warning"
    assert "Try lr 1e-4 instead of 1e-3: update-to-weight ratio 0.25 → about" in high.advice
    far = found(changed(statistic("update_to_weight_ratio", 0.68, to_step=16)))["lr_too_high"]
    assert far.severity == "error"
    assert "Try lr 3e-5 instead of 1e-3: update-to-weight ratio 0.68 → about 0.02" in far.advice
    low = found(changed(*SLOW))["lr_too_low"]
    assert "Try lr 0.01 instead of 1e-3: update-to-weight ratio 3e-5 → about 3e-4" in low.advice
    far_low = found(changed(*SLOW, statistic("momentum_gradient_cosine", 0.8)))["lr_too_low"]
    assert "Try lr 0.03 instead of 1e-3" in far_low.advice


def test_settings_are_those_of_the_group_that_holds_the_weights() -> None:
    high = found(lr_of_group(in_second_group(changed(*TOO_FAST)), 1, [0.5]))["lr_too_high"]
    assert "Try lr 0.05 instead of 0.5" in high.advice
    eps = [*PLANTED["eps_dominates"], in_second_group, hyperparameter("eps", 0.1, group=1)]
    assert "instead of 0.1" in found(changed(*eps))["eps_dominates"].advice
    decay = changed(*PLANTED["weight_decay_too_strong"], statistic("weight_decay_ratio", np.inf))
    assert "a tenth of the weight_decay" in found(decay)["weight_decay_too_strong"].advice
    beta2 = [statistic("second_moment_flicker", 0.5), in_second_group]
    low = found(changed(*beta2, hyperparameter("beta2", 0.3, group=1)))["beta2_too_low"]
    assert "instead of 0.3" in low.advice
    assert "beta2_too_low" not in found(changed(*beta2, hyperparameter("beta2", 0.3, group=0)))


def test_weights_that_are_overwritten_once_are_enough() -> None:
    finding = found(changed(statistic("update_to_weight_ratio", 3.0, to_step=1)))["lr_too_high"]
    assert finding.severity == "error"


BEARABLE = statistic("update_to_weight_ratio", 0.09, to_step=16)


def test_a_learning_rate_that_some_networks_bear_is_a_question_that_explains_no_facts() -> None:
    underflow = statistic("second_moment_frozen_fraction", 0.9)
    alarm, asked = diagnose(changed(BEARABLE, underflow)).findings
    assert (alarm.rule, alarm.severity) == ("second_moment_frozen", "warning")
    assert alarm.consequence_of is None
    assert (asked.rule, asked.severity) == ("lr_too_high", "info")
    assert asked.title == "Is the learning rate too high?"
    assert "?" in asked.text
    assert "Try lr" not in asked.advice


def test_a_question_is_the_cause_of_a_symptom_that_began_later() -> None:
    dead = statistic("dead_row_fraction", 1.0, of=LAYERS, from_step=100)
    cause, symptom = diagnose(changed(BEARABLE, dead)).findings
    assert (cause.rule, cause.severity) == ("lr_too_high", "error")
    assert cause.title == "Is the learning rate too high?"
    assert (symptom.rule, symptom.consequence_of) == ("dead_units", "lr_too_high")


def test_few_records_show_the_same_first_steps_as_many() -> None:
    steps = np.arange(1.0, 41.0)
    ratio = 0.9 / steps
    every = sum_over_steps(steps, ratio, 10)
    few = np.isin(steps, (1, 2, 4, 8, 16, 32))
    some = sum_over_steps(steps[few], ratio[few], 10)
    assert every == pytest.approx([ratio[max(0, i - 9) : i + 1].sum() for i in range(40)])
    assert some[3] == pytest.approx(every[7], rel=0.1)
    assert sum_over_steps(steps, np.full(40, NAN), 10) == pytest.approx(0)
    columns = sum_over_steps(steps, np.stack([ratio, 2 * ratio], axis=1), 10)
    assert columns == pytest.approx(np.stack([every, 2 * every], axis=1))


def test_a_loss_that_rises_at_first_makes_a_high_learning_rate_an_alarm() -> None:
    bearable = statistic("update_to_weight_ratio", 0.06, to_step=16)
    finding = found(changed(bearable, *LOSS_ROSE))["lr_too_high"]
    assert finding.severity == "warning"
    assert "and the loss rose from 2.3 to 4 and stayed above." in finding.text
    assert "Try lr" in finding.advice
    burst = changed(bearable, *LOSS_ROSE, column("loss", np.inf, from_step=9, to_step=9))
    assert "rose from 2.3 to ∞" in found(burst)["lr_too_high"].text


def test_the_first_steps_of_rmsprop_are_long_whatever_its_learning_rate() -> None:
    alarming = statistic("update_to_weight_ratio", 0.3, to_step=16)
    assert found(changed(alarming))["lr_too_high"].severity == "error"
    assert "lr_too_high" not in found(changed(*RMSPROP, alarming))
    far = statistic("update_to_weight_ratio", 1.5, to_step=16)
    finding = found(changed(*RMSPROP, far))["lr_too_high"]
    assert finding.severity == "error"
    # With a corrected bias the ratio would be 0.58 at step 16: a tenth, not a thirtieth.
    assert "Try lr 1e-4 instead of 1e-3" in finding.advice
    assert "Try lr 3e-5 instead of 1e-3" in found(changed(far))["lr_too_high"].advice


def test_a_warm_up_is_no_longer_than_the_run_bears() -> None:
    assert (
        "warm the learning rate up over 50 steps" in found(changed(*TOO_FAST))["lr_too_high"].advice
    )
    long = changed(*TOO_FAST, lambda run: replace(run, total_steps=100_000))
    assert "over 2000 steps" in found(long)["lr_too_high"].advice
    lost = found(changed(*RESET))["state_reset"]
    assert "over 50 steps" in lost.advice


def test_a_low_learning_rate_is_found_for_every_optimizer() -> None:
    lion = found(changed(optimizer("Lion", WITHOUT_SECOND), *SLOW))
    assert "cosine" in lion["lr_too_low"].text
    # RAdam's steps are a fifth of what the learning rate asks for, which is its own warm-up.
    assert "lr_too_low" in found(changed(*RADAM, statistic("update_to_weight_ratio", 3e-4)))
    without_first = optimizer("RMSprop", WITHOUT_FIRST)
    asked = found(changed(without_first, SLOW[1], column("loss", flat_loss)))["lr_too_low"]
    assert "without a first moment" in asked.text
    assert "Try lr 0.01 instead of 1e-3" in asked.advice


def test_a_gain_ratio_that_is_low_makes_a_high_learning_rate_an_error() -> None:
    findings = found(changed(*TOO_FAST, gain(0.3)))
    assert findings["lr_too_high"].severity == "error"
    assert findings["gain_ratio_low"].consequence_of == "lr_too_high"
    assert found(changed(*TOO_FAST, gain(0.8)))["lr_too_high"].severity == "warning"


def test_a_loss_that_blows_up_makes_a_high_learning_rate_an_error() -> None:
    run = changed(*TOO_FAST, column("loss", 50.0, from_step=30))
    findings = found(run)
    assert findings["lr_too_high"].severity == "error"
    assert findings["loss_blowup"].consequence_of == "lr_too_high"


def test_no_two_findings_advise_opposite_learning_rates() -> None:
    assert "Try lr 0.01" in found(changed(*SLOW))["lr_too_low"].advice
    for other in ([column("loss", lambda t: 18.0 + t / 20)], PLANTED["dead_units"]):
        findings = found(changed(*SLOW, *other))
        assert "argues against a higher" in findings["lr_too_low"].advice
        assert "Try lr" not in findings["lr_too_low"].advice


def test_the_first_steps_that_are_named_are_those_of_the_finding() -> None:
    first = statistic("update_to_weight_ratio", 0.01, to_step=8)
    later = statistic("update_to_weight_ratio", 0.246, from_step=10, to_step=20)
    finding = found(changed(first, later))["lr_too_high"]
    assert (finding.first_step, finding.last_step) == (11, 20)
    assert finding.text.startswith("Updates of the 10 steps up to step 20 add up to")
    at_once = statistic("update_to_weight_ratio", 0.5, to_step=8)
    fast = found(changed(lambda _: make_run(every=1), at_once))["lr_too_high"]
    assert (fast.first_step, fast.last_step) == (1, 10)
    assert fast.text.startswith("Updates of the first 10 steps add up to")


def test_a_loss_that_rose_a_little_gets_the_value_of_the_compass() -> None:
    bearable = statistic("update_to_weight_ratio", 0.2, to_step=16)
    rose = column("loss", 2.3 * 1.2, from_step=2, to_step=12)
    diagnosis = diagnose(changed(bearable, rose))
    (asked,) = diagnosis.findings
    assert asked.title == "Is the learning rate too high?"
    assert "and the loss rose at first, to 2.8." in asked.text
    assert asked.advice.startswith("Try lr 1e-4 instead of 1e-3. Or warm the learning rate up")
    assert diagnosis.compass is not None
    assert diagnosis.compass.run.text == "about 10× too high"
    # And where it did not, neither has a value.
    other = diagnose(changed(bearable))
    assert other.findings[0].advice.startswith("Compare with a run at lr 3e-4 instead of 1e-3")
    assert other.compass is not None
    assert other.compass.run.text == "no reading"


def test_nothing_is_about_right_beside_the_question_whether_it_is_too_high() -> None:
    bearable = statistic("update_to_weight_ratio", 0.09, to_step=16)
    agree = statistic("momentum_gradient_cosine", 0.06)
    diagnosis = diagnose(changed(bearable, agree))
    assert [f.rule for f in diagnosis.findings] == ["lr_too_high"]
    assert diagnosis.compass is not None
    assert diagnosis.compass.run.text == "no reading: see “Is the learning rate too high?” first"


def test_a_learning_rate_far_too_high_gets_a_value_that_is_low_enough() -> None:
    def advice(ratio: float, lr: float) -> str:
        fast = statistic("update_to_weight_ratio", ratio, to_step=16)
        return found(changed(fast, column("lr", lr)))["lr_too_high"].advice

    assert advice(465.0, 20.0).startswith("Try lr 2e-3 instead of 20: update-to-weight ratio 465 →")
    assert advice(1e6, 20.0).startswith("Lower the learning rate (20) until no update-to-weight")


def test_steps_are_not_advised_to_be_longer_than_is_usual() -> None:
    coherent = statistic("momentum_gradient_cosine", 0.9)
    long = found(changed(coherent, statistic("update_to_weight_ratio", 1.5e-3)))["lr_too_low"]
    assert "Try lr 3e-3 instead of 1e-3" in long.advice
