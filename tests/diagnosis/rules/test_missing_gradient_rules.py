"""Findings about left-out parameters, and about missing or leftover gradients."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rule_runs.diagnosed import found, not_evaluated
from rule_runs.every_rule import PLANTED
from rule_runs.missing_gradients import LEFT, LEFTOVER, STALE
from rule_runs.parts import NAN
from synthetic_runs import (
    changed,
    column,
    replaced_at,
    statistic,
    unoptimized,
    without,
    without_column,
)

from tb_adam_plugin.diagnosis.diagnose import diagnose
from tb_adam_plugin.diagnosis.engine.recorded_run import RecordedRun


def test_gradients_that_were_left_are_told_by_what_was_recorded_of_them() -> None:
    finding = found(changed(*LEFT))["stale_gradient"]
    assert (finding.first_step, finding.last_step) == (200, 204)
    assert ".grad already held up to 0.3 times its norm" in finding.text
    assert "cosine" in found(changed(*STALE))["stale_gradient"].text
    unknown = changed(without("momentum_gradient_cosine"))
    reason = not_evaluated(diagnose(unknown))["stale_gradient"]
    assert reason == "what was left in .grad between steps was not recorded"
    norm = changed(without_column("gradient_norm"), *LEFT)
    assert "stale_gradient" in found(norm)


def test_gradients_of_another_loss_need_not_be_left_at_steps_in_a_row() -> None:
    finding = found(changed(*LEFTOVER))["leftover_gradient"]
    assert (finding.severity, finding.first_step, finding.last_step) == ("warning", 5, 500)
    assert "Seen at 100 steps" in finding.text
    assert "zero_grad() right before the backward() of its own loss" in finding.advice
    three = changed(*LEFTOVER, column("leftover_gradient_ratio", 0.0, from_step=16))
    assert "Seen at 3 steps" in found(three)["leftover_gradient"].text


@pytest.mark.parametrize("at", [1, 200])
def test_a_tensor_that_the_model_has_exchanged_is_said_to_be(at: int) -> None:
    finding = found(changed(replaced_at(at, "embedding.weight")))["not_in_optimizer"]
    assert (finding.first_step, finding.last_step) == (at, 500)
    when = "before step 1" if at == 1 else "at about step 200"
    assert f"embedding.weight of the model was replaced {when}" in finding.text
    assert "add_param_group()" in finding.advice
    both = changed(replaced_at(at, "embedding.weight"), unoptimized("new.weight", trainable=True))
    finding = found(both)["not_in_optimizer"]
    assert (finding.first_step, set(finding.parameters)) == (1, {"embedding.weight", "new.weight"})
    assert "new.weight: trainable (requires_grad is True)" in finding.text


def test_several_tensors_are_spoken_of_as_several() -> None:
    one = found(changed(unoptimized("a.weight", trainable=True)))["not_in_optimizer"]
    assert one.text.endswith("so this optimizer never updates it.")
    assert one.advice.startswith("Add it to the optimizer. If another optimizer updates it,")
    names = ("a.weight", "a.bias")
    both = found(changed(*(unoptimized(name, trainable=True) for name in names)))
    finding = both["not_in_optimizer"]
    assert finding.text.startswith("a.weight and a.bias: trainable")
    assert finding.text.endswith("so this optimizer never updates them.")
    assert finding.advice.startswith("Add them to the optimizer. If another optimizer updates them")


def test_nothing_is_asked_of_the_old_one() -> None:
    without_gradient = statistic("zero_gradient_fraction", NAN, of=["embedding.weight (replaced)"])
    run = changed(replaced_at(1, "embedding.weight"), without_gradient)
    assert "parameter_without_gradient" not in found(run)
    assert "not_in_optimizer" not in found(replace(run, unoptimized=()))


def test_what_is_left_of_a_clipped_gradient_is_left_over() -> None:
    assert "stale_gradient" in found(changed(column("stale_gradient_ratio", 0.02, from_step=2)))
    assert "stale_gradient" not in found(changed(column("stale_gradient_ratio", 0.005)))


def test_a_parameter_that_another_optimizer_holds_is_no_alarm() -> None:
    def held(run: RecordedRun) -> RecordedRun:
        (missing,) = run.unoptimized
        return replace(run, unoptimized=(replace(missing, other_optimizer="SGD"),))

    assert "not_in_optimizer" in found(changed(*PLANTED["not_in_optimizer"]))
    assert found(changed(*PLANTED["not_in_optimizer"], held)) == {}
