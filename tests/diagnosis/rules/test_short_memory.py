"""When weight decay that makes weights forget is an alarm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from rule_runs.diagnosed import found
from rule_runs.parts import MATRICES
from synthetic_runs import Change, changed, column, hyperparameter, make_run, statistic

from tb_adam_plugin.diagnosis.diagnose import diagnose

STEP = make_run().step
STRONG = hyperparameter("weight_decay", 10.0)


def _only_from(first: float) -> Change:
    """Without decay before a step: it has not taken a weight down to a third yet."""
    return hyperparameter("weight_decay", lambda step: np.where(step < first, 0.0, 10.0))


def _shrinking(share: float) -> Change:
    """Weights that shrink to a share of their first size."""
    rms = 0.6 / 8 * share ** (STEP[:, None] / 500)
    return statistic("weight_rms", np.tile(rms, len(MATRICES)), of=MATRICES)


def test_strong_decay_that_has_shrunk_the_weights_is_an_alarm() -> None:
    finding = found(changed(STRONG, _shrinking(0.4)))["short_memory"]
    assert (finding.severity, finding.title) == (
        "warning",
        "Weight decay too strong: weights forget",
    )
    assert "has shrunk to 40 % of its initial size." in finding.text
    assert finding.advice.startswith("Try weight_decay 0.1 instead of 10: weights then forget")


def test_strong_decay_is_a_question_without_one_of_the_facts() -> None:
    def asked(*changes: Change, first: float = 1) -> bool:
        run = changed(STRONG, _shrinking(0.4), *changes)
        finding = found(replace(run, step=run.step + first - 1))["short_memory"]
        assert ("Is such a short memory intended?" in finding.text) == (finding.severity == "info")
        return finding.severity == "info" and finding.title.endswith("?")

    assert asked(_shrinking(0.6))
    assert asked(_only_from(420))
    usual = [hyperparameter("weight_decay", 0.3), hyperparameter("lr", 0.012)]
    assert asked(*usual)
    assert asked(first=50)  # resumed: the first weights are not known


def test_strong_decay_under_which_the_loss_no_longer_falls_is_an_alarm() -> None:
    rises = column("loss", lambda t: 2.3 - 0.3 * np.minimum(t, 100) / 100 + 4e-4 * t)
    grown = _shrinking(1.2)  # weights that began small
    finding = found(changed(STRONG, grown, rises))["short_memory"]
    assert finding.severity == "warning"
    assert "The loss no longer falls: it is 10" in finding.text
    assert found(changed(STRONG, grown))["short_memory"].severity == "info"
    usual = [hyperparameter("weight_decay", 0.3), hyperparameter("lr", 0.012)]
    assert found(changed(*usual, grown, rises))["short_memory"].severity == "info"


def test_whether_labels_belong_to_inputs_is_asked_once_and_after_decay() -> None:
    agree = statistic("momentum_gradient_cosine", 0.9, from_step=330, to_step=410)
    stands = column("loss", 2.3)
    findings = [f for f in diagnose(changed(stands, agree)).findings if f.rule == "noise_dominated"]
    assert [f.consequence_of for f in findings] == [None]
    said = diagnose(changed(STRONG, _shrinking(1.2), stands, agree)).findings
    assert said[0].rule == "short_memory"
    assert [f.consequence_of for f in said if f.rule == "noise_dominated"] == ["short_memory"]


def test_decay_that_also_outweighs_the_update_gets_one_value_and_no_promised_ratio() -> None:
    """The ratio does not fall with the decay: weights and updates change with it."""
    ratio = statistic("weight_decay_ratio", 1.8, of=MATRICES)
    both = found(changed(STRONG, ratio))
    strong, forgets = both["weight_decay_too_strong"], both["short_memory"]
    assert strong.advice.startswith("Try weight_decay 0.1 instead of 10: weights then forget")
    assert "decay / update" not in strong.advice
    assert "median matrix is 1.8 times the rest of the update" in strong.text
    assert forgets.consequence_of == "weight_decay_too_strong"
    assert forgets.advice == "Fix “Weight decay too strong” first."
