"""Findings about schedules, warm-up and replaced settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rule_runs.diagnosed import found, not_evaluated
from rule_runs.every_rule import PLANTED
from rule_runs.parts import BIASES, LAYERS, flat_loss, in_second_group, lr_of_group
from rule_runs.schedules import EPOCH_WARMUP, ZERO, cosine, stairs, warmed_up
from synthetic_runs import (
    Change,
    changed,
    column,
    hyperparameter,
    loaded_at,
    make_run,
    optimizer,
    statistic,
)

from tb_adam_plugin.diagnosis.diagnose import diagnose
from tb_adam_plugin.diagnosis.engine.signals import Signals
from tb_adam_plugin.diagnosis.rule import Finding


def test_a_learning_rate_that_jumps_in_another_group_than_the_first_one_is_found() -> None:
    values = [1e-3] * 20 + [0.3]
    run = lr_of_group(in_second_group(make_run()), 1, values)
    jump = found(run)["lr_jump"]
    assert "300-fold between steps 140 and 150, from 1e-3 to 0.3" in jump.text
    of_biases = found(lr_of_group(make_run(), 1, values))["lr_jump"]
    assert of_biases.parameters == tuple(BIASES)
    assert "of all 5 layers.*.bias rose 300-fold between steps" in of_biases.text
    assert "Go back to lr 1e-3" in of_biases.advice
    scheduled = in_second_group(changed(column("lr", warmed_up)))
    assert found(lr_of_group(scheduled, 1, [2e-3])) == {}


def test_the_learning_rate_of_another_group_follows_that_of_the_first_one() -> None:
    run = in_second_group(changed(column("lr", warmed_up)))
    at_records = warmed_up(run.step)
    lr = np.stack([at_records, 2 * at_records], axis=1)
    run = replace(run, hyperparameters={**run.hyperparameters, "lr": lr})
    assert Signals(run).lr == pytest.approx(2 * run.every_step["lr"])
    resting = changed(in_second_group, column("lr", 0.0, to_step=200))
    lr = np.where(resting.step[:, None] <= 200, [0.0, 1e-3], 1e-3)
    resting = replace(resting, hyperparameters={**resting.hyperparameters, "lr": lr})
    assert Signals(resting).lr == pytest.approx(1e-3)


def test_weights_of_a_group_without_learning_rate_do_not_count() -> None:
    resting = [*LAYERS, "embedding.weight"]
    run = changed(
        statistic("update_to_weight_ratio", 0.0, of=resting),
        statistic("momentum_gradient_cosine", 0.9, of=resting),
        statistic("epsilon_fraction", 0.9, of=resting),
    )
    groups = tuple(replace(p, group=int(p.name not in resting)) for p in run.parameters)
    run = lr_of_group(replace(run, parameters=groups), 0, [0.0])
    (frozen,) = diagnose(run).findings
    assert frozen.text == (
        "embedding.weight and all 5 layers.*.weight: the learning rate of the group is 0 at every "
        "record. Is that intended?"
    )
    assert frozen.severity == "info"
    (all_rest, *_) = diagnose(changed(hyperparameter("lr", 0.0))).findings
    assert (all_rest.rule, all_rest.severity) == ("frozen", "warning")
    # From when on they move they count.
    moving = lr_of_group(run, 0, [0.0] * 20 + [1e-3])
    early = replace(
        run,
        step=run.step[:20],
        wall_time=run.wall_time[:20],
        statistics={n: v[:20] for n, v in run.statistics.items()},
        hyperparameters={n: v[:20] for n, v in run.hyperparameters.items()},
    )
    assert found(moving)["eps_dominates"].first_step < early.step[-1]
    assert diagnose(moving, diagnose(early)).findings == diagnose(moving).findings
    # Two records may be those of a warm-up.
    lr = {"lr": np.zeros((2, 2))}
    begun = replace(early, step=early.step[:2], wall_time=early.wall_time[:2], hyperparameters=lr)
    assert not begun.resting.size


def test_a_schedule_that_is_stepped_too_often_is_told_by_its_shape() -> None:
    def advice(lr: Any) -> str:
        return found(changed(column("lr", lr)))["lr_decayed_early"].advice

    stairs = advice(lambda t: 1e-3 * 0.1 ** (t // 20))
    assert "as with StepLR" in stairs
    assert "once per epoch" in stairs
    assert "T_max" not in stairs
    exponential = advice(lambda t: 1e-3 * 0.95**t)
    assert "as with ExponentialLR" in exponential
    assert "once per epoch" in exponential
    cosine = advice(lambda t: 5e-4 * (1 + np.cos(np.pi * np.minimum(t, 100) / 100)) + 1e-9)
    assert "that counts epochs (StepLR, ExponentialLR) once per epoch" in cosine
    assert "T_max or total_steps = 500 or more" in cosine
    assert "as with" not in cosine


def test_a_warm_up_that_is_not_over_is_the_reason_why_nothing_is_judged() -> None:
    diagnosis = diagnose(changed(column("lr", lambda t: 1e-6 * t)))
    reasons = not_evaluated(diagnosis)
    for rule in ("lr_too_low", "dead_units", "plateau", "eps_dominates"):
        assert reasons[rule] == (
            "the learning rate still rises at the last step (500), needs a settled one"
        )
    short = replace(changed(column("lr", lambda t: 1e-6 * t)), total_steps=500)
    assert "warmup_not_over" in found(short)


def test_a_schedule_far_below_its_peak_is_told_by_how_it_rises() -> None:
    def finding(*changes: Change, total_steps: int = 500) -> Finding:
        run = replace(changed(*changes), total_steps=total_steps)
        return found(run)["lr_far_below_schedule"]

    one_cycle = optimizer("AdamW", initial_lr=2e-4, max_lr=5e-3)
    by_epoch = finding(stairs(125, 2e-4, 2.1e-4, 2.3e-4, 2.6e-4), one_cycle)
    assert by_epoch.severity == "warning"
    assert "never above 2.6e-4, which is 5 % of the 5e-3" in by_epoch.text
    assert "stays constant for 125 steps" in by_epoch.advice
    assert "once per optimizer step" in by_epoch.advice
    long = finding(column("lr", lambda t: 1e-6 * t), optimizer("AdamW", initial_lr=5e-3))
    assert "warm-up is longer than the run" in long.advice
    never = finding(column("lr", 2e-4), one_cycle)
    assert never.advice == "Call scheduler.step() once after each optimizer.step()."
    made_with = finding(column("lr", 2e-4), optimizer("AdamW", initial_lr=2e-3))
    assert made_with.severity == "info"
    assert made_with.advice == never.advice
    unknown = finding(column("lr", 2e-4), one_cycle, total_steps=0)
    assert unknown.severity == "info"
    assert unknown.title.endswith("?")


def test_a_learning_rate_that_rises_again_is_counted() -> None:
    finding = found(changed(cosine(60)))["lr_rises_again"]
    assert finding.severity == "info"
    assert "fell from 1e-3 to 0 at step 61 and rose again to 1e-3" in finding.text
    assert "4 times" in finding.text
    assert "500 if it is called every step" in finding.advice
    assert "time" not in found(changed(cosine(250)))["lr_rises_again"].text
    share = (1 + np.cos(np.pi * np.arange(25) / 6)) / 2
    by_epoch = found(changed(stairs(20, *(1e-3 * share))))["lr_rises_again"]
    assert "here there is one every 20 steps" in by_epoch.advice
    often = column("lr", lambda t: 1e-3 * ((1 + np.cos(np.pi * (t - 1) / 3)) / 2))
    assert "83 times." in found(changed(often))["lr_rises_again"].text
    longer = often(make_run(last=2000))
    assert "100 times or more." in found(longer)["lr_rises_again"].text
    # Several calls per step, so no step meets the lowest point.
    assert "lr_rises_again" in found(changed(cosine(17.3, low=0.1)))


def test_settings_that_a_checkpoint_replaced_are_named() -> None:
    finding = found(changed(*PLANTED["replaced_settings"]))["replaced_settings"]
    assert "lr 1e-4 → 3e-3, beta2 0.95 → 0.999." in finding.text
    assert finding.first_step == 200
    # A lower learning rate may be that of a schedule; not with other settings, or of a scheduler.
    lower = loaded_at(200, lr=(1e-3, 1e-4), eps=(1e-8, 1e-6))
    assert "eps 1e-8 → 1e-6" in found(changed(lower))["replaced_settings"].text
    scheduled = [optimizer("AdamW", initial_lr=1e-4), loaded_at(200, lr=(1e-3, 1e-4))]
    decayed = hyperparameter("lr", lambda t: 1e-4 * np.exp(-t / 200), from_step=200)
    assert "lr 1e-3 → 1e-4" in found(changed(*scheduled, decayed))["replaced_settings"].text


def test_a_jump_in_a_warm_up_by_epochs_is_the_schedules() -> None:
    def warmup(change: Change) -> float:
        return Signals(changed(change)).warmup_end

    assert warmup(stairs(60, *EPOCH_WARMUP)) == 301
    assert warmup(stairs(60, *EPOCH_WARMUP, 9e-4)) == 301
    assert warmup(stairs(60, 1e-5, 1e-3, 9e-4, 7e-4)) == 61
    assert warmup(stairs(90, *EPOCH_WARMUP)) == 500  # the last stair is as long as the others
    # By hand, and not in the rhythm of epochs.
    for by_hand in ((60, 1e-5, 1e-3), (60, 1e-4, 1e-4, 1e-3, 2e-3, 1e-3)):
        assert warmup(stairs(*by_hand)) == 0
        assert "lr_jump" in found(changed(stairs(*by_hand)))
    assert "lr_jump" in found(changed(stairs(60, *EPOCH_WARMUP, 1e-2)))
    above = [column("lr", 0.1, from_step=200), optimizer("AdamW", initial_lr=1e-2)]
    assert "lr_jump" in found(changed(*above))
    # A schedule that is made anew in a resumed run goes back to what it was made with.
    resumed = optimizer("AdamW", initial_lr=1e-2)(make_run(first=1001, last=1400))
    resumed = column("lr", 1e-2, from_step=1200)(resumed)
    assert "lr_jump" in found(resumed)


def test_what_a_decayed_schedule_loses_is_explained_by_it() -> None:
    stopped = [
        column("lr", 1e-10, from_step=100),
        hyperparameter("lr", 1e-10, from_step=100),
        statistic("lost_update_fraction", 0.99, from_step=100),
        statistic("update_slope", 0.01, from_step=100),
    ]
    (finding,) = diagnose(changed(*stopped)).findings
    assert finding.rule == "lr_decayed_early"
    # In half precision they are lost before, and that is another matter.
    half = found(changed(*stopped, *PLANTED["lost_updates"]))["lost_updates"]
    assert half.last_step < 100
    assert "float32" in half.advice


def test_a_learning_rate_of_zero_explains_what_follows() -> None:
    flat = [*ZERO, column("loss", flat_loss), statistic("momentum_gradient_cosine", 0.8)]
    diagnosis = diagnose(changed(*flat))
    first, *others = diagnosis.findings
    assert (first.rule, first.severity) == ("lr_zero", "error")
    assert {f.rule for f in others} == {"frozen", "plateau"}
    assert {f.consequence_of for f in others} == {"lr_zero"}
    assert not any("Raise" in f.advice for f in diagnosis.findings)
    assert diagnosis.compass is not None
    assert diagnosis.compass.run.text.startswith("no reading: see “The learning rate is 0")
    # As a warm-up begins, and as a linear schedule ends.
    assert "lr_zero" not in found(changed(column("lr", 0.0, to_step=1)))
    assert found(changed(column("lr", lambda t: 1e-3 * (1 - t / 500)))) == {}


def test_advice_speaks_of_the_peak_and_not_of_a_step_of_the_schedule() -> None:
    warm = column("lr", lambda t: 1e-3 * np.minimum(t, 40) / 40)
    bad = found(changed(warm, statistic("nonfinite_count", 3.0, from_step=2, to_step=2)))
    assert "lr 3e-4 instead of 1e-3" in bad["nonfinite"].advice
    at_first = found(changed(warm, statistic("nonfinite_count", 3.0)))["nonfinite"]
    assert " lr " not in at_first.advice
    rising = column("lr", lambda t: 1e-6 * t)
    unknown = found(changed(rising, statistic("nonfinite_count", 3.0, from_step=200)))["nonfinite"]
    assert " lr " not in unknown.advice
    decayed = column("lr", lambda t: 1e-3 * (1 - t / 501))
    late = found(changed(decayed, column("loss", 50.0, from_step=450)))["loss_blowup"]
    assert "Try lr 1e-4 instead of 1e-3" in late.advice
