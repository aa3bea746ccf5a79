"""Findings about betas, eps and the optimizer's state."""

from __future__ import annotations

import numpy as np
from rule_runs.adam_state import EPS, LOST
from rule_runs.diagnosed import found, not_evaluated
from rule_runs.every_rule import PLANTED
from rule_runs.parts import NAN
from rule_runs.weight_decay import DECAY
from synthetic_runs import (
    changed,
    column,
    dtype,
    hyperparameter,
    make_run,
    optimizer,
    statistic,
    without,
)

from tb_adam_plugin.diagnosis.diagnose import diagnose


def test_a_state_that_counts_fewer_steps_was_lost() -> None:
    run = changed(without("momentum_gradient_cosine"), statistic("state_step", 3, only=[30]))
    assert found(run)["state_reset"].first_step == make_run().step[30]


def test_a_low_beta2_is_named_before_the_loss_is_infinite() -> None:
    flickers = statistic("second_moment_flicker", 1.2, to_step=30)
    run = make_run(last=100, every=2)
    for change in (statistic("second_moment_flicker", np.nan), flickers):
        run = change(run)
    assert "beta2_too_low" in found(hyperparameter("beta2", 0.1)(run))
    # The average of a higher one takes longer to be one.
    assert "beta2_too_low" not in found(hyperparameter("beta2", 0.85)(run))


def test_a_high_beta1_is_a_question_and_a_very_high_one_an_alarm() -> None:
    asked = found(changed(hyperparameter("beta1", 0.99)))["beta1_too_high"]
    assert (asked.severity, asked.title) == ("info", "Is beta1 too high?")
    alarm = found(changed(hyperparameter("beta1", 0.999)))["beta1_too_high"]
    assert alarm.severity == "warning"
    assert "takes 693 steps to halve" in alarm.text
    assert alarm.advice == "Try beta1 0.9 instead of 0.999."


def test_a_third_of_the_updates_lost_is_a_warning_in_half_precision() -> None:
    half = dtype("bfloat16", "bfloat16")
    run = changed(LOST[1], statistic("lost_update_fraction", 0.4), half)
    assert found(run)["lost_updates"].severity == "warning"
    assert found(changed(*PLANTED["lost_updates"]))["lost_updates"].severity == "error"


def test_one_matrix_that_falls_short_shows_that_updates_are_lost() -> None:
    """Large updates, which take effect, hide the loss of small ones."""
    half, lost = dtype("bfloat16", "bfloat16"), statistic("lost_update_fraction", 0.6)
    one = statistic("update_slope", 0.9, of=["layers.1.weight"])
    assert found(changed(half, lost, one))["lost_updates"].severity == "error"
    assert "lost_updates" not in found(changed(half, lost))


def test_chance_alone_loses_no_updates() -> None:
    """Rounded stochastically, small updates of a small matrix arrive more or less by chance."""
    half, lost = dtype("bfloat16", "bfloat16"), statistic("lost_update_fraction", 0.9)
    short = statistic("update_slope", 0.95, of=["head.weight"])  # 640 elements
    assert "lost_updates" in found(changed(half, lost, short))
    by_chance = statistic("update_rounding_error", 5.0)
    assert "lost_updates" not in found(changed(half, lost, short, by_chance))
    in_large = statistic("update_slope", 0.95, of=["layers.1.weight"])  # 4,096
    assert "lost_updates" in found(changed(half, lost, in_large, by_chance))


def test_a_gradient_that_outweighs_every_moment_is_no_lost_state() -> None:
    """What SGD shows where it diverges: exp_avg before the step is lost to rounding."""
    looks_new = [
        statistic("gradient_exp_avg_cosine", 1.0, only=[30]),
        statistic("momentum_gradient_cosine", NAN, only=[30]),
        statistic("gradient_surprise", NAN, only=[30]),
    ]
    assert "state_reset" in found(changed(*looks_new))
    grown = statistic("gradient_rms", 1e4, from_step=make_run().step[30])
    assert "state_reset" not in found(changed(*looks_new, grown))


def test_advice_about_eps_weight_decay_and_beta2_names_values() -> None:
    assert "Try eps 1e-5 instead of 0.1" in found(changed(*EPS))["eps_dominates"].advice
    decay = found(changed(*DECAY))["weight_decay_too_strong"]
    assert decay.severity == "warning"
    assert "Try weight_decay 3e-4 instead of 0.01" in decay.advice
    aligned = changed(*DECAY, statistic("update_weight_cosine", -0.96))
    assert found(aligned)["weight_decay_too_strong"].severity == "error"
    beta2 = found(changed(*PLANTED["beta2_too_low"]))["beta2_too_low"]
    assert "instead of 0.3" in beta2.advice


def test_eps_of_adadelta_is_not_judged() -> None:
    run = changed(*EPS, optimizer("Adadelta"))
    assert "under the root" in not_evaluated(diagnose(run))["eps_dominates"]
    assert not {"eps_dominates", "eps_influences"} & set(found(run))


def test_steps_that_nobody_counts_are_no_alarm() -> None:
    assert found(changed(statistic("state_step", NAN))) == {}


def test_updates_of_one_size_say_nothing_where_beta2_makes_them() -> None:
    signs = [*PLANTED["bimodal_update"], hyperparameter("beta2", 0.0)]
    assert "bimodal_update" not in found(changed(*signs))
    assert "beta2 is 0" in not_evaluated(diagnose(changed(*signs)))["bimodal_update"]
    low = [*PLANTED["bimodal_update"], *PLANTED["beta2_too_low"], hyperparameter("beta2", 0.6)]
    assert found(changed(*low))["bimodal_update"].consequence_of == "beta2_too_low"


def test_a_value_in_the_wrong_direction_is_not_advised() -> None:
    small = [statistic("epsilon_10_fraction", 0.8), statistic("exp_avg_sq_root", 1.0)]
    assert "Try eps" not in found(changed(*small))["eps_influences"].advice
    frozen = [*PLANTED["second_moment_frozen"], hyperparameter("beta2", 0.95)]
    assert "0.9" not in found(changed(*frozen))["second_moment_frozen"].advice
    stale = [*PLANTED["stale_second_moment"], hyperparameter("beta2", 0.9)]
    assert "beta2" not in found(changed(*stale))["stale_second_moment"].advice
    one = statistic("gradient_surprise", 80.0, of=["head.weight"], only=[30])
    spike = found(changed(one))["gradient_spike"]
    assert spike.advice.startswith("Try beta2 0.95 instead of 0.999. Look at the batch")
    assert "for up to 1,000 steps" in spike.text
    warmed = [
        statistic("update_to_weight_ratio", 0.246, to_step=80),
        column("lr", lambda t: 1e-3 * np.minimum(t, 80) / 80),
    ]
    assert "warm" not in found(changed(*warmed))["lr_too_high"].advice
