"""Gradients that reach another level are not a spike, and are not clipped to the old one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rule_runs.diagnosed import found
from rule_runs.parts import LAYERS, NAN, flat_loss
from synthetic_runs import Change, changed, column, statistic

# At step 300 the norm is 40 times that of before, and then 12 times.
LEVEL: list[Change] = [
    column("gradient_norm", lambda t: 12 * np.exp(0.1 * np.sin(t)), from_step=301),
    column("gradient_norm", 40.0, from_step=300, to_step=300),
]


def _spike(*changes: Change) -> Sequence[str]:
    finding = found(changed(*LEVEL, *changes)).get("gradient_spike")
    return () if finding is None else (finding.severity, finding.advice)


def test_a_change_of_level_is_no_spike() -> None:
    assert not _spike()
    assert not _spike(column("surrogate_loss", flat_loss), column("loss", NAN))
    surprised = statistic("gradient_surprise", 25.0, of=LAYERS[:1], only=[36])
    assert not _spike(surprised)


def test_what_falls_back_or_does_harm_is_a_spike() -> None:
    back = column("gradient_norm", 1.0, from_step=301)
    assert "Clip the gradient norm to 2 (twice the median)" in _spike(back)[1]
    assert _spike(column("loss", 2.0, from_step=301))[0] == "error"
    far = column("gradient_norm", 200.0, from_step=300, to_step=300)
    assert _spike(far)
    assert _spike(column("loss", NAN))  # nothing tells whether it did harm


def test_no_more_than_that_step_is_clipped_at_a_new_level() -> None:
    far = column("gradient_norm", 200.0, from_step=300, to_step=300)
    assert "Clip the gradient norm to 20 (twice the median)" in _spike(far)[1]
    # Where the loss has risen, the norms before it are those of a healthy run.
    harmful = column("loss", 2.0, from_step=301)
    assert "Clip the gradient norm to 2 (twice the median)" in _spike(far, harmful)[1]


def test_a_run_that_has_just_jumped_is_not_judged_yet() -> None:
    short = column("gradient_norm", NAN, from_step=310)
    assert _spike(short)
