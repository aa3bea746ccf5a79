"""Advice: whatever a run contains, no value is 0, in the wrong direction or absurd."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_runs.every_rule import PLANTED
from synthetic_runs import Change, changed, column, hyperparameter, optimizer, statistic

from tb_adam_plugin.diagnosis.diagnose import diagnose
from tb_adam_plugin.diagnosis.rule import Finding

_NUMBER = r"(-?(?:\d[\d,]*(?:\.\d+)?(?:e-?\d+)?|∞|NaN))"
_CHANGE = re.compile(rf"(lr|eps|weight_decay|beta1|beta2) {_NUMBER} instead of {_NUMBER}")
_VALUE = re.compile(
    rf"(?:Go back to lr|raise lr from|max_norm|gradient norm to|divide by|Divide the initial "
    rf"weights by|Divide the learning rate by|total_steps =|over|an RMS of about √\(lr / 2 wd\) =) "
    rf"{_NUMBER}"
)
# What a rule may do with a setting: lower it, or raise it.
_LOWER = {
    "lr_too_high", "loss_blowup", "dead_units", "nonfinite", "eps_dominates", "eps_influences",
    "weight_decay_too_strong", "beta1_too_high", "second_moment_frozen", "gradient_spike",
    "stale_second_moment",
}  # fmt: skip
_RAISE = {"lr_too_low", "beta2_too_low"}
# No learning rate or weight decay is advised that is further off than this.
_MOST_FACTOR = 1.01e4


def number(text: str) -> float:
    return {"∞": math.inf, "NaN": math.nan}.get(text) or float(text.replace(",", ""))


def check(finding: Finding) -> None:
    """See that every value in an advice can be tried."""
    own = finding.advice.split("If this remains: ")[-1]
    for setting, wanted, now in _CHANGE.findall(own):
        new, old = number(wanted), number(now)
        assert 0 < new < math.inf, finding.advice
        if setting == "beta2" and finding.rule == "beta2_too_low":
            assert 0 <= old < new < 1, finding.advice
            continue
        assert 0 < old < math.inf, finding.advice
        if finding.rule in _LOWER:
            assert new < old, finding.advice
        elif finding.rule in _RAISE:
            assert new > old, finding.advice
        if setting in ("lr", "weight_decay"):
            assert 1 / _MOST_FACTOR <= new / old <= _MOST_FACTOR, finding.advice
        if setting == "eps":
            assert new >= 1e-12, finding.advice
    for value in _VALUE.findall(own):
        assert 0 < number(value) < math.inf, finding.advice


_SCHEDULES: dict[str, Any] = {
    "constant": lambda t: 1.0 + 0 * t,
    "zero": lambda t: 0.0 * t,
    "nothing": lambda t: np.full(np.shape(t), math.nan),
    "linear": lambda t: 1 - t / 500,
    "cosine": lambda t: 0.5 * (1 + np.cos(np.pi * t / 500)),
    "four times too fast": lambda t: np.maximum(0.0, 1 - t / 125),
    "cosine, four times": lambda t: 0.5 * (1 + np.cos(np.pi * t / 125)),
    "warm-up": lambda t: np.minimum(t, 50) / 50,
    "warm-up from zero": lambda t: np.minimum(t - 1, 50) / 50,
    "warm-up longer than the run": lambda t: t / 5000,
    "decays to nothing": lambda t: 0.9**t,
    "jumps": lambda t: np.where(t < 250, 1e-3, 1.0),
}
_VALUES = (0.0, 1e-30, 1e-9, 1e-4, 0.01, 0.3, 1.0, 30.0, 1e4, 1e20, math.inf, math.nan)
_STATISTICS = (
    "update_to_weight_ratio", "weight_rms", "gradient_rms", "gradient_surprise",
    "exp_avg_sq_root", "momentum_gradient_cosine", "epsilon_fraction", "epsilon_10_fraction",
    "lost_update_fraction", "second_moment_frozen_fraction", "weight_decay_ratio",
    "dead_row_fraction", "second_moment_flicker", "nonfinite_count", "elasticity",
)  # fmt: skip
_HYPERPARAMETERS = ("beta1", "beta2", "eps", "weight_decay")
_COLUMNS = ("loss", "gradient_norm", "gradient_norm_before_clip", "gain_ratio")


def schedule(name: str, peak: float) -> list[Change]:
    """Follow a schedule at every step and in every group."""

    def lr(steps: Any) -> Any:
        return peak * _SCHEDULES[name](steps)

    return [column("lr", lr), hyperparameter("lr", lr)]


@st.composite
def changes(draw: st.DrawFn) -> Sequence[Change]:
    """Up to two faults, a schedule, and values that may be anything from a step on."""
    planted = draw(st.lists(st.sampled_from(sorted(PLANTED)), max_size=2))
    found = [change for rule in planted for change in PLANTED[rule]]
    peak = draw(st.sampled_from([1e-12, 2.5e-5, 1e-3, 0.1, 20.0]))
    found += schedule(draw(st.sampled_from(sorted(_SCHEDULES))), peak)
    value, start = st.sampled_from(_VALUES), st.sampled_from([0, 2, 60, 300])
    for name in draw(st.lists(st.sampled_from(_STATISTICS), max_size=3)):
        found.append(statistic(name, draw(value), from_step=draw(start)))
    for name in draw(st.lists(st.sampled_from(_HYPERPARAMETERS), max_size=2)):
        settings_ = st.sampled_from([0.0, 1e-12, 1e-8, 0.1, 0.5, 0.9, 0.95, 0.999, 1.0, math.nan])
        found.append(hyperparameter(name, draw(settings_)))
    for name in draw(st.lists(st.sampled_from(_COLUMNS), max_size=2)):
        found.append(column(name, draw(value), from_step=draw(start)))
    if draw(st.booleans()):
        found.append(optimizer(draw(st.sampled_from(["Adam", "SGD", "Adadelta", "RMSprop"]))))
    return found


@settings(max_examples=250)
@given(changes())
def test_whatever_a_run_holds_its_advice_can_be_followed(of_run: Sequence[Change]) -> None:
    for finding in diagnose(changed(*of_run)).findings:
        check(finding)


@pytest.mark.parametrize("name", _SCHEDULES)
@pytest.mark.parametrize("rule", PLANTED)
def test_every_rule_advises_values_that_can_be_tried_under_every_schedule(
    rule: str, name: str
) -> None:
    of_lr = ("lr_zero", "lr_jump", "lr_decayed_early")
    diagnosis = diagnose(changed(*([] if rule in of_lr else PLANTED[rule]), *schedule(name, 1e-3)))
    for finding in diagnosis.findings:
        check(finding)
        assert not re.search(r"(lr|from) 0(?![.\d])", finding.advice), finding.advice
    if name == "zero":
        assert diagnosis.findings[0].rule in ("lr_zero", rule)


def test_a_wrong_advice_is_noticed() -> None:
    fast = statistic("update_to_weight_ratio", 0.246, to_step=16)
    (finding,) = diagnose(changed(fast)).findings
    check(finding)
    for wrong in ("lr 0 instead of 1e-3", "lr 2e-3 instead of 1e-3", "lr 1e-9 instead of 1"):
        with pytest.raises(AssertionError):
            check(replace(finding, advice=f"Try {wrong}."))
