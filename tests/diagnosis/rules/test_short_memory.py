"""Where weight decay that makes weights forget is an alarm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from rule_runs.diagnosed import found
from rule_runs.parts import MATRICES
from synthetic_runs import Change, changed, hyperparameter, make_run, statistic

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
    assert "has shrunk to 40 % of its first size." in finding.text
    assert finding.advice.startswith("Try weight_decay 0.1 instead of 10: weights then forget")


def test_strong_decay_is_a_question_without_one_of_the_facts() -> None:
    def asked(*changes: Change, first: float = 1) -> bool:
        run = changed(STRONG, _shrinking(0.4), *changes)
        finding = found(replace(run, step=run.step + first - 1))["short_memory"]
        assert ("Is so short a memory meant?" in finding.text) == (finding.severity == "info")
        return finding.severity == "info" and finding.title.endswith("?")

    assert asked(_shrinking(0.6))
    assert asked(_only_from(420))
    usual = [hyperparameter("weight_decay", 0.3), hyperparameter("lr", 0.012)]
    assert asked(*usual)
    assert asked(first=50)  # resumed: the first weights are not known
