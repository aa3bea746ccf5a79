"""Why a rule is not evaluated if there are records, but none that count."""

from __future__ import annotations

import numpy as np
from rule_runs.diagnosed import not_evaluated
from rule_runs.parts import WITHOUT_FIRST
from synthetic_runs import changed, column, hyperparameter, make_run, optimizer, statistic

from tb_adam_plugin.diagnosis.diagnose import diagnose
from tb_adam_plugin.diagnosis.engine.recorded_run import RecordedRun

NEAR_0 = column("loss", lambda t: 2.0 * np.exp(-t / 5))
LOW_LR = [
    column("lr", 1e-5, from_step=51),
    hyperparameter("lr", 1e-5, from_step=51),
]


def _reason(run: RecordedRun, rule: str = "lr_too_low") -> str | None:
    return not_evaluated(diagnose(run)).get(rule)


def test_a_rule_says_that_training_had_converged() -> None:
    converged = "training had converged at 45 of 45 records after step 50"
    assert _reason(changed(NEAR_0)) == converged
    assert _reason(changed(NEAR_0, optimizer("RMSprop", WITHOUT_FIRST))) == converged
    assert _reason(changed()) is None


def test_a_rule_says_that_the_learning_rate_had_decayed() -> None:
    decayed = "the learning rate was below 50 % of its peak at 45 of 45 records after step 50"
    assert _reason(changed(*LOW_LR)) == decayed
    later = [
        column("lr", 1e-5, from_step=111),
        column("loss", 1e-9, from_step=200),
        column("loss", 2.0, to_step=199),
        hyperparameter("lr", 1e-5, from_step=111),
    ]
    assert _reason(changed(*later)) == decayed.replace("45 of", "39 of", 1)


def test_what_is_left_out_for_either_reason_is_said() -> None:
    run = make_run(last=130)
    low = column("lr", 1e-5, from_step=33, to_step=81)
    for change in (low, column("loss", 2.0), column("loss", 1e-9, from_step=51)):
        run = change(run)
    below = "the learning rate was below 50 % of its peak"
    either = f"training had converged or {below} at 10 of 12 records after step 20"
    assert _reason(run) == either


def test_records_that_are_too_few_are_still_counted() -> None:
    run = make_run(last=60)
    reason = _reason(run)
    assert (
        reason
        == "5 records after step 20, needs 8: total_steps= or every_n_steps= records more often"
    )
    without = statistic("momentum_gradient_cosine", np.nan, from_step=50)
    assert "momentum_gradient_cosine" not in str(_reason(without(make_run())))


def test_records_of_few_steps_are_counted_in_steps() -> None:
    run = make_run(last=4, every=1)
    expected = "4 records within 5 steps, needs 15 steps"
    assert _reason(run, "parameter_without_gradient") == expected
    assert _reason(make_run(last=11, every=1), "parameter_without_gradient") is None
