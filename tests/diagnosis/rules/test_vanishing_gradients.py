"""When gradients that vanish towards the first layers are an alarm, and when not."""

from __future__ import annotations

from rule_runs.diagnosed import found
from rule_runs.network import VANISHING, profile
from rule_runs.parts import MATRICES
from synthetic_runs import Change, changed, column, statistic

from tb_adam_plugin.diagnosis.diagnose import diagnose

SHORT_STEPS: list[Change] = [
    *VANISHING,
    statistic("weight_rms", 0.07, of=MATRICES),
    statistic("momentum_gradient_cosine", 0.9),
    statistic("update_to_weight_ratio", 1e-4),
]


def _healed(step: float) -> Change:
    return statistic("gradient_rms", 1e-3, of=MATRICES, from_step=step)


def test_the_profile_of_the_initial_weights_does_not_explain_a_low_learning_rate() -> None:
    run = changed(*SHORT_STEPS)
    findings = found(run)
    vanishing, low = findings["vanishing_gradient"], findings["lr_too_low"]
    assert (vanishing.severity, vanishing.title[-1]) == ("info", "?")
    assert "still close to their initial values" in vanishing.text
    assert vanishing.advice == "First find out whether the learning rate is too low."
    assert (low.severity, low.consequence_of) == ("info", None)
    assert "Try lr" in low.advice
    compass = diagnose(run).compass
    assert compass is not None
    assert "too low" in compass.run.text


def test_vanishing_gradients_are_an_alarm_where_steps_are_long_or_gradients_disagree() -> None:
    for change in (
        statistic("momentum_gradient_cosine", 0.2),
        statistic("update_to_weight_ratio", 3e-3),
    ):
        finding = found(changed(*SHORT_STEPS, change))["vanishing_gradient"]
        assert (finding.severity, finding.consequence_of) == ("warning", None)


def _grown(step: float) -> list[Change]:
    """A profile that steps make steeper by 2 decades, and that heals at a step."""
    steeper = statistic("gradient_rms", profile(5.0), of=MATRICES, from_step=4)
    return [*VANISHING, steeper, _healed(step)]


def test_what_steps_made_and_ended_early_is_a_question() -> None:
    falls = column("loss", 2.0, from_step=100)
    early = found(changed(*_grown(40), falls))["vanishing_gradient"]
    assert (early.severity, early.last_step, early.advice) == ("info", 32, "")
    assert "Up to step 32 the loss was up to 1e5 times less sensitive" in early.text
    assert "This has ended. The loss has fallen from 2.3 to 2 since." in early.text


def test_what_ended_late_or_did_harm_or_was_there_from_the_start_is_an_alarm() -> None:
    falls = column("loss", 2.0, from_step=100)
    late = [*_grown(200), column("loss", 2.0, from_step=210)]
    for changes in (_grown(40), late, [*VANISHING, _healed(40), falls]):
        assert found(changed(*changes))["vanishing_gradient"].severity == "warning"
