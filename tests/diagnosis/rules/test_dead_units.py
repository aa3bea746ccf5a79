"""Claims about units without a gradient, and what remains unknown."""

from __future__ import annotations

from typing import Any

import numpy as np
from rule_runs.diagnosed import found
from synthetic_runs import changed, make_run, statistic

from tb_adam_plugin.diagnosis.rule import Finding

RECORDS = make_run().step.size


def _finding(share: Any, name: str = "layers.3.weight") -> Finding:
    values = np.broadcast_to(np.asarray(share, np.float32), RECORDS)[:, None]
    return found(changed(statistic("dead_row_fraction", values, of=[name])))["dead_units"]


def test_units_that_are_idle_now_and_then_are_a_question() -> None:
    random = np.random.default_rng(0).normal(0.74, 0.05, RECORDS).clip(0.68, 0.83)
    finding = _finding(random)
    assert (finding.severity, finding.title[-1]) == ("info", "?")
    assert "From step 30 to 500, 74 % of the units of layers.3.weight got no" in finding.text
    assert "whether these are always the same was not recorded" in finding.text
    assert "learn nothing" not in finding.text
    assert "Count over many batches which units never get a gradient." in finding.advice


def test_one_step_without_a_gradient_is_no_alarm() -> None:
    share = np.full(RECORDS, 0.8)
    share[20] = 1.0
    finding = _finding(share)
    assert finding.severity == "info"
    assert "80 % of the units" in finding.text


def test_a_high_share_is_an_alarm_where_it_is_steady() -> None:
    steady = 0.93 + 0.02 * np.sin(np.arange(RECORDS))
    finding = _finding(steady)
    assert finding.severity == "warning"
    assert (
        "93 % of the units of layers.3.weight got no gradient at all at a typical step"
        in finding.text
    )
    assert "The share is steady" in finding.text
    assert "Try LeakyReLU or GELU" in finding.advice
    swinging = 0.91 + 0.08 * np.sign(np.sin(np.arange(RECORDS)))
    assert _finding(swinging).severity == "info"


def test_a_layer_without_any_gradient_learns_nothing() -> None:
    finding = _finding(1.0)
    assert finding.severity == "error"
    assert finding.text.endswith("from step 30 to 500: they no longer learn anything.")


def test_the_rows_of_an_output_layer_get_no_other_activation() -> None:
    finding = _finding(0.95, "head.weight")
    assert "95 % of the rows (outputs, such as classes or tokens) of head.weight" in finding.text
    assert "LeakyReLU" not in finding.advice
    assert "check whether the logits are large, and try lr 3e-4 instead of 1e-3" in finding.advice
