"""The learning-rate compass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from synthetic_runs import Change, changed, column, make_run, statistic

from tb_adam_plugin.diagnosis.compass import (
    Compass,
    error_bar_in_words,
    factor_of_cosine,
    in_words,
    module_of,
)
from tb_adam_plugin.diagnosis.diagnose import diagnose
from tb_adam_plugin.diagnosis.engine.recorded_run import RecordedRun

NAN = float("nan")


def compass(run: RecordedRun) -> Compass:
    found = diagnose(run).compass
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("cosine", "text", "bar"),
    [
        (-0.2, "about right", "1/3 to 3 times the best"),
        (-0.5, "no reading", None),
        (0.02, "about right", "1/3 to 3 times the best"),
        (0.1, "about 3× too low", "2 to 30 times too low"),
        (0.36, "about 10× too low", "10 to 100 times too low"),
        (0.58, "about 30× too low", "30 to 100 times too low"),
        (0.85, "about 100× too low", None),
    ],
)
def test_the_needle_follows_the_cosine(cosine: float, text: str, bar: str | None) -> None:
    ratio = 1.5e-3 if cosine < 0.2 else 1e-4
    run = changed(
        statistic("momentum_gradient_cosine", cosine),
        statistic("update_to_weight_ratio", ratio),
    )
    reading = compass(run).run
    assert reading.text == text
    assert (reading.likely and error_bar_in_words(reading.likely)) == bar
    assert reading.cosine == pytest.approx(cosine)
    assert np.isnan(reading.factors[run.step <= 20]).all()


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (0.03, "about right"),
        (0.2, "about 10× too high"),
        (0.7, "no reading: see “Learning rate too high” first"),
    ],
)
def test_the_needle_follows_the_first_updates_upwards(ratio: float, text: str) -> None:
    run = changed(
        statistic("update_to_weight_ratio", ratio, to_step=16),
        column("loss", lambda step: make_loss(step, 1.2), from_step=2, to_step=12),
    )
    assert compass(run).run.text == text


@pytest.mark.parametrize(("rise", "text"), [(1.05, "no reading"), (1.2, "about 10× too high")])
def test_large_first_updates_count_only_where_the_loss_rose(rise: float, text: str) -> None:
    moved = statistic("update_to_weight_ratio", 0.2, to_step=16)
    rose = column("loss", lambda step: make_loss(step, rise), from_step=2, to_step=12)
    assert compass(changed(moved, rose)).run.text == text
    assert compass(changed(moved, column("loss", np.nan))).run.text == "no reading"
    no_measure = changed(moved, column("loss", -1.0))
    assert compass(no_measure).run.text == "no reading: this loss does not measure progress"
    late = column("loss", lambda step: make_loss(step, 1.2), from_step=62, to_step=72)
    assert compass(changed(moved, late)).run.text == "no reading"


def make_loss(step: Any, rise: float) -> Any:
    """A loss that is so many times the first one of a healthy run."""
    return np.full(step.shape, rise * make_run().every_step["loss"][0])


def test_a_first_update_that_is_large_alone_does_not_count() -> None:
    run = changed(statistic("update_to_weight_ratio", 0.7, to_step=1))
    assert compass(run).run.text == "about right"


def test_each_module_has_a_needle_with_a_history() -> None:
    run = changed(
        statistic("momentum_gradient_cosine", 0.58, of=["layers.2.weight"], from_step=250),
        statistic("update_to_weight_ratio", 4e-4, of=["layers.2.weight"], from_step=250),
    )
    modules = {reading.name: reading for reading in compass(run).modules}
    assert list(modules) == [*(f"layers.{i}" for i in range(5)), "head"]
    assert modules["layers.1"].text == "about right"
    assert modules["layers.2"].text == "about 30× too low"
    reading = modules["layers.2"]
    assert reading.factors[reading.step <= 240][-1] > 0.4
    assert reading.step[-1] == 500
    assert reading.factors[-1] == pytest.approx(1 / 30)


def test_the_history_of_a_module_is_short_and_ends_with_the_run() -> None:
    run = make_run(last=2000, every=2)
    for reading in compass(run).modules:
        assert reading.step.size <= 24
        assert reading.step[-1] == 2000
    assert compass(run).run.step.size == run.step.size


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (0.2, "about 10× too high"),
        (0.68, "about 3× too high"),
        (0.84, "about right"),
        (0.93, "about 3× too low"),
        (0.999, "about 10× too low"),
        (3.0, "no reading"),
    ],
)
def test_the_second_needle_follows_the_gain_ratio(ratio: float, text: str) -> None:
    def recorded(t: Any) -> Any:
        return np.where(t % 20 == 0, np.where(t == 400, -9.0, ratio), NAN)

    run = changed(column("gain_ratio", recorded, from_step=200))
    found = compass(run)
    assert found.gain is not None
    assert found.gain.text == text
    assert found.gain.gain_ratio == pytest.approx(ratio)
    # The first median is of ten records.
    assert found.gain.step.tolist() == [380, 400, 420, 440, 460, 480, 500]
    assert found.run.text == "about right"
    assert compass(changed(column("gain_ratio", recorded, from_step=340))).gain is None


def test_what_cannot_be_told_is_said() -> None:
    faded = changed(statistic("momentum_gradient_cosine", 0.5), statistic("gradient_surprise", 0.1))
    assert compass(faded).run.text == "no reading"
    assert diagnose(changed(statistic("momentum_gradient_cosine", NAN))).compass is None


def test_too_few_settled_records_are_no_reading() -> None:
    assert compass(make_run(last=3)).run.text == "not enough data"
    # Eight windows of records after the first 20 steps, and nine.
    assert compass(make_run(last=99)).run.text == "not enough data"
    assert compass(make_run(last=99, every=1)).run.text == "about right"
    assert compass(make_run(last=64, every=1)).run.text == "about right"
    reading = compass(make_run(last=60, every=1)).run
    assert reading.text == "not enough data"
    assert np.isnan(reading.factors).all()


def test_the_needle_reads_the_peak_of_a_schedule() -> None:
    slow = statistic("momentum_gradient_cosine", 0.5), statistic("update_to_weight_ratio", 1e-4)
    decayed = column("lr", lambda t: np.where(t > 300, 1e-4, 1e-3))
    late = [statistic("momentum_gradient_cosine", 0.5, from_step=300)]
    assert compass(changed(decayed, *late)).run.text == "about right at its peak"
    assert compass(changed(decayed, *slow)).run.text == "about 30× too low at its peak"
    # A warm-up has no peak yet.
    rising = changed(column("lr", lambda t: 1e-6 * t), *slow)
    assert compass(rising).run.text == "no reading: the learning rate is still rising"


def test_what_the_size_of_the_updates_does_not_bear_out_is_not_said() -> None:
    def reading(*changes: Change) -> str:
        return compass(changed(*changes)).run.text

    assert reading(statistic("update_to_weight_ratio", 1e-4)) == "no reading"
    assert reading(statistic("update_to_weight_ratio", 0.02, from_step=100)) == "no reading"
    grown = "no reading: see “Weights grow several times too fast” first"
    assert reading(statistic("weight_rms", 0.6, from_step=100)) == grown
    assert reading(statistic("weight_rms", 0.3, from_step=100)) == "no reading"
    too_low = "no reading: see “Is the learning rate too low?” first"
    assert reading(statistic("momentum_gradient_cosine", 0.5)) == too_low


def test_the_needle_rests_beside_a_finding_that_says_more() -> None:
    stopped = changed(column("lr", 1e-6, from_step=200))
    assert compass(stopped).run.text == "no reading: see “Learning rate decayed too early” first"
    # The question whether labels belong to inputs advises a lower learning rate.
    slow = statistic("momentum_gradient_cosine", 0.19), statistic("update_to_weight_ratio", 1.5e-3)
    noisy = changed(*slow, column("loss", 2.3))
    assert compass(noisy).run.text == "no reading: see “Do the labels belong to the inputs?” first"
    assert compass(changed(*slow)).run.text == "about 10× too low"
    assert {r.text for r in compass(noisy).modules} == {compass(noisy).run.text}


def test_factors_of_the_calibration_are_met() -> None:
    cosines = np.array([0.0, 0.04, 0.25, 0.58, 0.88, 0.99, NAN])
    expected = [1, 1 / 2, 1 / 10, 1 / 30, 1 / 100, 1 / 100, NAN]
    np.testing.assert_allclose(factor_of_cosine(cosines), expected)


def test_words() -> None:
    assert in_words(NAN) == "no reading"
    assert in_words(4.0) == "about 3× too high"
    assert module_of("transformer.h.11.attn.c_attn.weight") == "transformer.h.11"
    assert module_of("head.weight") == "head"
    assert module_of("weight") == "weight"
