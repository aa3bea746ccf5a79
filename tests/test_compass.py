"""The learning-rate compass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from synthetic_runs import changed, column, make_run, statistic

from tb_adam_plugin.diagnosis.compass import Compass, factor_of_cosine, in_words, module_of
from tb_adam_plugin.diagnosis.diagnose import diagnose
from tb_adam_plugin.diagnosis.recorded_run import RecordedRun

NAN = float("nan")


def compass(run: RecordedRun) -> Compass:
    found = diagnose(run).compass
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("cosine", "text"),
    [
        (-0.3, "about right"),
        (0.02, "about right"),
        (0.1, "about 3× too low"),
        (0.36, "about 10× too low"),
        (0.58, "about 30× too low"),
        (0.85, "about 100× too low"),
    ],
)
def test_the_needle_follows_the_cosine(cosine: float, text: str) -> None:
    run = changed(statistic("momentum_gradient_cosine", cosine))
    reading = compass(run).run
    assert reading.text == text
    assert reading.cosine == pytest.approx(cosine)
    assert np.isnan(reading.factors[run.step <= 20]).all()


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(0.03, "about right"), (0.2, "about 10× too high"), (0.7, "about 100× too high")],
)
def test_the_needle_follows_the_first_updates_upwards(ratio: float, text: str) -> None:
    run = changed(statistic("update_to_weight_ratio", ratio, to_step=16))
    assert compass(run).run.text == text


def test_a_first_update_that_is_large_alone_does_not_count() -> None:
    run = changed(statistic("update_to_weight_ratio", 0.7, to_step=1))
    assert compass(run).run.text == "about right"


def test_each_module_has_a_needle_with_a_history() -> None:
    run = changed(
        statistic("momentum_gradient_cosine", 0.58, of=["layers.2.weight"], from_step=250)
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
        (3.0, "cannot be told"),
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
    assert compass(faded).run.text == "cannot be told"
    assert diagnose(changed(statistic("momentum_gradient_cosine", NAN))).compass is None
    assert compass(make_run(last=3)).run.text == "cannot be told"


def test_factors_of_the_calibration_are_met() -> None:
    cosines = np.array([0.0, 0.04, 0.25, 0.58, 0.88, 0.99, NAN])
    expected = [1, 1 / 2, 1 / 10, 1 / 30, 1 / 100, 1 / 100, NAN]
    np.testing.assert_allclose(factor_of_cosine(cosines), expected)


def test_words() -> None:
    assert in_words(NAN) == "cannot be told"
    assert in_words(4.0) == "about 3× too high"
    assert module_of("transformer.h.11.attn.c_attn.weight") == "transformer.h.11"
    assert module_of("head.weight") == "head"
    assert module_of("weight") == "weight"
