"""Findings about gradients that are clipped, scaled, spiking or not finite."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from rule_runs.diagnosed import found
from rule_runs.every_rule import PLANTED
from rule_runs.gradient_sizes import CLIPPED, SKIPPING, UNSCALED_LATE
from rule_runs.parts import LAYERS, NAN, WITHOUT_SECOND
from synthetic_runs import Change, changed, column, optimizer, statistic, without_column

from tb_adam_plugin.diagnosis.diagnose import diagnose
from tb_adam_plugin.diagnosis.rule import Finding


def test_skipped_steps_are_told_by_the_loss_scale_where_nothing_counts_them() -> None:
    counted = found(changed(*SKIPPING))["steps_skipped"]
    assert (counted.severity, counted.first_step) == ("warning", 206)
    assert "skipped 50 % of the steps before step" in counted.text
    halved = column("loss_scale", lambda t: 2.0 ** (16 - np.maximum(t - 200, 0) // 4))
    (finding,) = diagnose(changed(halved)).findings
    assert finding.rule == "steps_skipped"
    assert "21 % of the steps" in finding.text
    assert "The loss scale is down to" in finding.text
    collapsing = column("skipped_steps", lambda t: np.maximum(t - 200, 0) * 9)
    assert found(changed(collapsing))["steps_skipped"].severity == "error"
    rarely = column("loss_scale", NAN, from_step=0)
    some = column("loss_scale", lambda t: np.where(t % 10 == 0, 2.0 ** (40 - t / 5), NAN))
    assert "steps_skipped" in found(changed(rarely, some))


def test_a_spike_is_told_by_what_it_exceeds() -> None:
    by_norm = found(changed(column("gradient_norm", 40.0, from_step=300, to_step=300)))
    assert re.search(r"gradient \d\d times the usual", by_norm["gradient_spike"].text)
    assert "or lower beta2 from 0.999 to 0.95." in by_norm["gradient_spike"].advice
    by_surprise = found(changed(statistic("gradient_surprise", 25.0, of=LAYERS[:1], only=[30])))
    assert "a gradient 25 times √v̂ in layers.0.weight" in by_surprise["gradient_spike"].text


def test_a_spike_that_raises_the_loss_is_an_error() -> None:
    spike = PLANTED["gradient_spike"]
    assert found(changed(*spike))["gradient_spike"].severity == "warning"
    harmful = changed(*spike, column("loss", 2.0, from_step=301))
    assert found(harmful)["gradient_spike"].severity == "error"
    outlier = changed(*spike, column("loss", 200.0, from_step=300, to_step=303))
    assert found(outlier)["gradient_spike"].severity == "warning"
    lost = changed(*spike, column("loss", np.inf, from_step=301))
    assert found(lost)["gradient_spike"].severity == "error"


def test_a_spike_that_was_clipped_is_a_question() -> None:
    clipped = [
        column("gradient_norm_before_clip", lambda t: np.where(t == 300, 100.0, 2.0)),
        column("gradient_norm", 1.0),
    ]
    finding = found(changed(*clipped))["gradient_spike"]
    assert (finding.severity, finding.title) == ("info", "Does this gradient spike matter?")
    assert "50 times the usual. After clipping it was no larger than usual." in finding.text
    assert finding.advice == "Look at the batch of step 300."
    weakly = column("gradient_norm", 50.0, from_step=300, to_step=300)
    assert found(changed(*clipped, weakly))["gradient_spike"].severity == "warning"


def test_a_spike_where_no_loss_is_left_is_a_question() -> None:
    exhausted = column("loss", lambda t: 2.3 * np.exp(-t / 20))
    finding = found(changed(*PLANTED["gradient_spike"], exhausted))["gradient_spike"]
    assert (finding.severity, finding.title) == ("info", "Does this gradient spike matter?")


def test_nonfinite_loss_or_norm_between_records_is_found() -> None:
    loss = changed(column("loss", np.inf, from_step=303, to_step=303))
    assert found(loss)["nonfinite"].first_step == 303
    norm = changed(column("gradient_norm", NAN, from_step=305, to_step=305))
    assert found(norm)["nonfinite"].first_step == 305
    absent = changed(column("loss", NAN, from_step=100))
    assert "nonfinite" not in found(absent)  # not recorded is not NaN


def test_a_spike_is_not_judged_by_a_loss_that_is_no_measure() -> None:
    spike = [column("gradient_norm", 100.0, from_step=300, to_step=300)]
    later = column("loss", 4.0, from_step=300)
    assert found(changed(*spike, later))["gradient_spike"].severity == "error"
    signed = [column("loss", lambda t: 0.3 * np.sin(t)), later]
    assert found(changed(*spike, *signed))["gradient_spike"].severity == "info"
    assert found(changed(*spike, column("loss", NAN)))["gradient_spike"].severity == "warning"


def test_clipping_that_the_optimizer_does_not_feel_is_a_question() -> None:
    adam = found(changed(*CLIPPED))["clip_always"]
    assert (adam.severity, adam.title) == ("info", "Should every step be clipped?")
    assert "max_norm" not in adam.advice
    felt = found(changed(*CLIPPED, statistic("epsilon_10_fraction", 0.4)))["clip_always"]
    assert felt.severity == "warning"
    assert "Try max_norm 80, twice the median norm." in felt.advice
    sgd = found(changed(*CLIPPED, optimizer("SGD", WITHOUT_SECOND)))["clip_always"]
    assert sgd.severity == "warning"
    lion = found(changed(*CLIPPED, optimizer("Lion", WITHOUT_SECOND)))["clip_always"]
    assert lion.severity == "info"


def test_clipping_before_unscaling_names_max_norm_and_loss_scale() -> None:
    def finding(norm: Any, *changes: Change) -> Finding:
        run = changed(*UNSCALED_LATE, column("gradient_norm", norm), *changes)
        return found(run)["clipped_before_unscaling"]

    adam = finding(1 / 65_536)
    assert adam.severity == "warning"
    assert "1.5e-5 step after step: 1 over the loss scale 65,536" in adam.text
    assert "scaler.unscale_(optimizer) before clip_grad_norm_()" in adam.advice
    sgd = finding(1 / 65_536, optimizer("SGD", WITHOUT_SECOND))
    assert sgd.severity == "error"
    assert "max_norm 5 " in finding(5 / 65_536).text
    assert "scale 1,024." in finding(1 / 1024).text
    assert (
        "2 over the loss scale 131,072." in finding(1 / 65_536, column("loss_scale", 2.0**17)).text
    )
    # The scale is doubled, and norms are known at some steps only.
    assert finding(lambda t: 2.0 ** -(16 + t // 150)).first_step == 1
    assert "max_norm 0.1 " in finding(lambda t: np.where(t % 8 == 0, 0.1 / 65_536, NAN)).text
    unknown = finding(1 / 65_536, without_column("gradient_rescaling"))
    assert unknown.severity == "info"
    assert unknown.title.endswith("?")


def test_no_clip_limit_is_taken_from_what_has_diverged() -> None:
    diverged = [
        column("gradient_norm", lambda t: 1e13 * np.exp(0.2 * (t % 3)), from_step=100),
        column("loss", 1e9, from_step=100),
    ]
    spike = found(changed(*diverged))["gradient_spike"]
    assert "Clip the gradient norm to 2 (twice the median)" in spike.advice
    # What lasts from the start is still limited by the steps before the loss blew up.
    clipped = [
        column("gradient_norm", 1e-3),
        column("gradient_norm_before_clip", 40.0),
        column("gradient_norm_before_clip", 1e13, from_step=200),
        column("loss", 1e9, from_step=200),
        statistic("epsilon_10_fraction", 0.9),
    ]
    assert "Try max_norm 80, twice" in found(changed(*clipped))["clip_always"].advice


def test_clipping_begins_with_the_first_step_of_its_window() -> None:
    for rule in ("clip_always", "clip_constant"):
        whole = found(changed(*PLANTED[rule]))[rule]
        assert (whole.first_step, whole.last_step) == (1, 500), rule
    since = [column("gradient_norm_before_clip", 1.0, to_step=200)]
    later = found(changed(*CLIPPED, *since))["clip_always"]
    assert 199 <= later.first_step <= 202  # of a window 95 % have to be clipped
    # A window and nineteen more steps are as many as it needs, two of a window not clipped.
    for last, known in ((67, True), (66, False)):
        short = [column("gradient_norm_before_clip", 1.0, from_step=last + 1)]
        assert ("clip_always" in found(changed(*CLIPPED, *short))) == known


def test_nothing_is_before_the_first_step() -> None:
    first = found(changed(statistic("nonfinite_count", 3.0)))["nonfinite"]
    assert first.advice.startswith("First look at the inputs")
    later = found(changed(statistic("nonfinite_count", 3.0, from_step=200)))["nonfinite"]
    assert later.advice.startswith("First look at the batch of step 200 and at the data: ")


def test_neighbouring_steps_are_one_finding_and_distant_ones_are_not() -> None:
    spikes = [column("gradient_norm", 100.0, from_step=t, to_step=t) for t in (200, 204, 450)]
    first, second = (f for f in diagnose(changed(*spikes)).findings if f.rule == "gradient_spike")
    assert (first.first_step, first.last_step) == (200, 204)
    assert (second.first_step, second.last_step) == (450, 450)
    many = [
        column("gradient_norm", 100.0, from_step=t, to_step=t) for t in (100, 200, 300, 400, 500)
    ]
    (all_of_them,) = (f for f in diagnose(changed(*many)).findings if f.rule == "gradient_spike")
    assert "It is the largest of 5 such steps." in all_of_them.text
