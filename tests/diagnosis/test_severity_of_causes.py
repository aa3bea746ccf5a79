"""Which finding takes the severity of its consequence: a rule's alarm rather than its question."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_runs import changed

from tb_adam_plugin.diagnosis.diagnose import diagnose
from tb_adam_plugin.diagnosis.engine.conditions import at_every_step
from tb_adam_plugin.diagnosis.engine.rule import Condition, Evidence, Persistence, Rule, Severity
from tb_adam_plugin.diagnosis.engine.signals import Signals


def rule(name: str, values: dict[int, float], explains: tuple[str, ...] = ()) -> Rule:
    """A rule that finds some steps: above 1 they are an alarm, below a question."""

    def condition(signals: Signals) -> Condition:
        value = np.zeros(signals.steps.shape)
        for step, found in values.items():
            value[signals.steps == step] = found
        return at_every_step(signals, value, value > 0, 0.5)

    def severity(evidence: Evidence) -> Severity:
        return "warning" if evidence.value > 1 else "info"

    return Rule(
        id=name,
        title=name,
        needs=(),
        condition=condition,
        persistence=Persistence(),
        severity=severity,
        message=lambda e: name,
        advice=lambda e: "",
        reference="",
        explains=explains,
        symptom=not explains,
    )


@pytest.mark.parametrize(
    ("of_cause", "severities"),
    [
        # A question that explains an alarm which began later is raised.
        ({20: 0.9}, {20: "warning"}),
        # Beside an alarm of the same rule it stays a question.
        ({20: 0.9, 300: 2.0}, {20: "info", 300: "warning"}),
    ],
)
def test_a_question_is_raised_where_no_alarm_of_its_rule_explains(
    of_cause: dict[int, float], severities: dict[int, str]
) -> None:
    rules = [rule("cause", of_cause, ("symptom",)), rule("symptom", {400: 2.0})]
    findings = diagnose(changed(), rules=rules).findings
    found = {int(f.first_step): f.severity for f in findings if f.rule == "cause"}
    assert found == severities
    (symptom,) = (f for f in findings if f.rule == "symptom")
    assert symptom.consequence_of == "cause"
