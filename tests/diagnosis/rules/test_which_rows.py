"""Whether the rows without a gradient are the same at each record."""

from __future__ import annotations

from typing import Any

import numpy as np
from rule_runs.diagnosed import found
from rule_runs.network import stack, unused
from rule_runs.weight_decay import KEPT, PLANTED
from synthetic_runs import Change, changed, make_run, statistic

from tb_adam_plugin.diagnosis.engine.idle_rows import same_rows
from tb_adam_plugin.diagnosis.engine.signals import Signals
from tb_adam_plugin.diagnosis.rule import Finding

LAYER = "layers.3.weight"


def dead(*changes: Change) -> Finding | None:
    return found(changed(*changes)).get("dead_units")


def test_the_same_units_are_dead_whatever_the_spread_of_their_share() -> None:
    records = make_run().step.size
    swinging = 0.95 + 0.04 * np.sign(np.sin(np.arange(records)))[:, None]
    share = [statistic("dead_row_fraction", swinging, of=[LAYER])]
    finding = dead(*share, statistic("idle_row_fraction", 0.905, of=[LAYER], from_step=70))
    assert finding is not None
    assert finding.severity == "warning"
    assert (
        f"the same rows of {LAYER} got no gradient at any record: 90 % of the units."
        in finding.text
    )
    assert "They no longer learn anything." in finding.text
    assert "not recorded" not in finding.text
    assert "Try LeakyReLU or GELU" in finding.advice
    # Which of them it is decides, and not how many have none at a record.
    few = dead(*share, statistic("idle_row_fraction", 0.5, of=[LAYER], from_step=70))
    assert few is None
    not_recorded = dead(*share)
    assert not_recorded is not None
    assert "whether these are always the same was not recorded" in not_recorded.text


def test_units_are_dead_from_where_they_had_no_gradient_any_more() -> None:
    died = [
        statistic("dead_row_fraction", 0.95, of=[LAYER], from_step=200),
        statistic("idle_row_fraction", 0.1, of=[LAYER], from_step=70),
    ]
    # A window of 16 records that are 10 steps apart: full 160 steps later.
    full = statistic("idle_row_fraction", 0.95, of=[LAYER], from_step=350)
    finding = dead(*died, full)
    assert finding is not None
    assert finding.first_step == 200
    assert dead(*died) is None


def test_a_record_speaks_for_those_of_its_window_and_for_no_others() -> None:
    run = changed(
        statistic("idle_row_fraction", 0.0, of=[LAYER]),
        statistic("idle_row_fraction", 0.9, of=[LAYER], only=[40]),
    )
    column = np.array([run.names.index(LAYER)])
    spoken_for = np.flatnonzero(same_rows(Signals(run), column, np.array([0.5], np.float32)))
    assert spoken_for.tolist() == list(range(25, 41))


def test_a_layer_whose_units_are_all_dead_is_an_error() -> None:
    finding = dead(*unused(1.0, 1.0, LAYER))
    assert finding is not None
    assert finding.severity == "error"
    assert finding.text.endswith("they no longer learn anything.")


def test_entries_of_a_codebook_are_asked_about() -> None:
    (finding,) = [f for f in [found(changed(*unused(0.95, 0.93))).get("unused_rows")] if f]
    assert finding.severity == "info"
    assert "The same 93 % of the rows of embedding.weight had no gradient" in finding.text
    assert "they do not take turns" in finding.text
    assert "If it is a table of tokens that never occur, nothing is wrong." in finding.advice


def test_what_may_be_a_codebook_is_asked_about_as_a_table_is() -> None:
    for share, rules in ((0.95, {"unused_rows"}), (0.7, set())):
        bare = stack(shape=(64, 64), name="prototypes")
        findings = found(changed(*unused(share, share - 0.02, LAYER), bare))
        assert set(findings) == rules
        for finding in findings.values():
            assert finding.parameters == ("prototypes",)
            assert "If its rows are units of a layer, they are dead" in finding.advice


def test_one_expert_that_is_never_chosen_is_asked_about() -> None:
    changes = [*unused(0.25, 0.125, LAYER), stack()]
    finding = found(changed(*changes))["unused_rows"]
    assert finding.parameters == ("experts.w1",)
    assert "Up to 12 % of the 8 slices of experts.w1" in finding.text
    assert "router" in finding.advice
    # If most are never chosen, they are not units that need another activation.
    most = found(changed(*unused(0.95, 0.875, LAYER), stack()))
    assert set(most) == {"unused_rows"}


def test_rare_rows_are_told_how_many_take_turns() -> None:
    rare: list[Any] = list(PLANTED["rare_rows"])
    idle = statistic("idle_row_fraction", 0.4, of=["embedding.weight"], from_step=70)
    text = found(changed(*rare, idle))["rare_rows"].text
    assert "40 % of them had none in at least 64 steps; the others take turns." in text
    kept = found(changed(*KEPT, statistic("idle_row_fraction", 0.98, of=["embedding.weight"])))
    assert "The same 98 % had none for 64 steps and more" in kept["idle_rows_decay"].text
