"""Which finding is the cause of which, and the effect of a cause on the others."""

from __future__ import annotations

from rule_runs.diagnosed import found
from rule_runs.every_rule import PLANTED
from rule_runs.learning_rate import SLOW
from rule_runs.missing_gradients import STALE
from rule_runs.parts import LAYERS
from rule_runs.weight_decay import DECAY
from synthetic_runs import WEIGHTS, changed, column, statistic

from tb_adam_plugin.diagnosis.diagnose import diagnose


def test_a_question_that_has_ended_does_not_silence_the_compass() -> None:
    slow = statistic("momentum_gradient_cosine", 0.1), statistic("update_to_weight_ratio", 1.5e-3)

    def reading(to_step: float) -> str:
        gone = statistic("dead_row_fraction", 0.75, of=["layers.3.weight"], to_step=to_step)
        diagnosis = diagnose(changed(*slow, gone))
        assert diagnosis.findings[0].title == "Are these units dead?"
        assert diagnosis.compass is not None
        return diagnosis.compass.run.text

    assert reading(200) == "about 3× too low"
    assert reading(500) == "no reading: see “Are these units dead?” first"


def test_what_may_be_no_fault_is_no_cause() -> None:
    stale = statistic("gradient_surprise", 0.01, from_step=100)

    def cause(fraction: float) -> str | None:
        dead = statistic("dead_row_fraction", fraction, of=["layers.3.weight"])
        return found(changed(stale, dead))["stale_second_moment"].consequence_of

    assert cause(0.75) is None
    assert cause(0.95) == "dead_units"


def test_root_causes_come_first_and_explain_the_others() -> None:
    run = changed(
        column("lr", 0.1, from_step=200),
        column("loss", 50.0, from_step=210),
        statistic("dead_row_fraction", 1.0, of=LAYERS, from_step=220),
        column("gradient_norm", 500.0, from_step=205, to_step=205),
    )
    diagnosis = diagnose(run)
    assert diagnosis.findings[0].rule == "lr_jump"
    assert {f.consequence_of for f in diagnosis.findings[1:]} == {"lr_jump"}
    # Both lower the learning rate: a second value would assume the one to be replaced.
    advice = {f.rule: f.advice for f in diagnosis.findings}
    assert advice["loss_blowup"] == "Fix “Learning rate jumped” first."
    assert "If this remains" in advice["gradient_spike"]


def test_what_came_before_a_cause_is_no_consequence_of_it() -> None:
    run = changed(
        column("lr", 0.1, from_step=400),
        statistic("dead_row_fraction", 1.0, of=LAYERS, from_step=100, to_step=300),
    )
    assert found(run)["dead_units"].consequence_of is None


def test_a_cause_is_as_severe_as_its_consequences() -> None:
    run = changed(*DECAY, statistic("dead_row_fraction", 1.0, of=LAYERS, from_step=100))
    findings = found(run)
    assert findings["dead_units"].consequence_of == "weight_decay_too_strong"
    assert findings["weight_decay_too_strong"].severity == "error"
    assert found(changed(*DECAY))["weight_decay_too_strong"].severity == "warning"


def test_of_two_that_may_explain_each_other_the_earlier_is_the_cause() -> None:
    late_decay = statistic("weight_decay_ratio", 3.0, of=WEIGHTS, from_step=310)
    first, second = diagnose(changed(*PLANTED["gradient_spike"], late_decay)).findings
    assert (first.rule, second.rule) == ("gradient_spike", "weight_decay_too_strong")
    assert second.consequence_of == "gradient_spike"
    first, second = diagnose(changed(*PLANTED["gradient_spike"], *DECAY)).findings
    assert (first.rule, second.rule) == ("weight_decay_too_strong", "gradient_spike")


def test_a_consequence_says_to_see_to_its_cause_first() -> None:
    findings = found(changed(*SLOW, *STALE))
    assert findings["lr_too_low"].advice.startswith(
        "Fix “Gradients add up from step to step” first. If this remains: Try lr "
    )
    assert found(changed(*SLOW))["lr_too_low"].advice.startswith("Try lr ")
