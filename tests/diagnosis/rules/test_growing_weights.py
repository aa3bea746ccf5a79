"""What is said of weights that grow."""

from __future__ import annotations

from rule_runs.diagnosed import found
from rule_runs.parts import MATRICES
from synthetic_runs import changed, make_run, statistic

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
