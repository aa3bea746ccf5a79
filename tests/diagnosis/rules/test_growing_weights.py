"""Findings about growing weights."""

from __future__ import annotations

from rule_runs.diagnosed import found
from rule_runs.learning_rate import growing
from rule_runs.parts import MATRICES
from synthetic_runs import changed, hyperparameter, make_run, statistic

FIRST = [0.6 / 8] * 6
STEP = make_run().step


def _text(*factors: tuple[float, float]) -> str:
    """Of weights that have grown by a factor from a step on."""
    changes = [
        statistic("weight_rms", [f * x for x in FIRST], of=MATRICES, from_step=s)
        for s, f in factors
    ]
    return found(changed(*changes))["weights_grow"].text


def test_growth_at_the_first_record_of_the_rule_is_the_one_that_was_recorded() -> None:
    text = _text((2, 139.0), (50, 374.0))
    assert "By step 50 a typical weight matrix is 374 times" in text
    assert "; at step 30 it was 139 times. Steps" in text
    assert "; at step 100 it was 4.1 times. Steps" in _text((100, 4.1), (300, 6.0))


def test_growth_that_is_largest_at_first_is_said_once() -> None:
    text = _text((2, 8.0), (31, 5.0))
    assert "By step 30 a typical weight matrix is 8 times as large as at the start. Steps" in text


def test_growth_beyond_that_of_any_healthy_training_is_an_alarm() -> None:
    asked = found(changed(growing(7.0)))["weights_grow"]
    assert (asked.severity, asked.title[-1]) == ("info", "?")
    assert "lr 3e-4 instead of 1e-3" in asked.advice
    alarm = found(changed(growing(8.0)))["weights_grow"]
    assert (alarm.severity, alarm.title) == ("warning", "Weights grow several times too fast")
    assert alarm.advice == "Try lr 1e-4 instead of 1e-3, and compare the losses."


def test_a_jump_of_the_learning_rate_explains_the_growth_that_follows() -> None:
    jumped = hyperparameter("lr", 0.1, from_step=100)
    diagnosed = found(changed(jumped, statistic("weight_rms", 9.0, of=MATRICES, from_step=110)))
    assert diagnosed["lr_jump"].severity == "error"
    assert diagnosed["weights_grow"].consequence_of == "lr_jump"
