"""A finding carries its evidence: what was compared, where, and which statistic shows it."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from rule_runs.every_rule import PLANTED
from synthetic_runs import changed

from tb_adam_plugin import schema
from tb_adam_plugin.diagnosis.diagnose import diagnose
from tb_adam_plugin.diagnosis.engine import thresholds
from tb_adam_plugin.diagnosis.engine.rule import Rule
from tb_adam_plugin.diagnosis.rules.registry import RULES
from tb_adam_plugin.serving.json_answers import finding_fields

# Of what is a setting, or a parameter that is not there, no statistic tells.
SETTINGS = {
    "not_in_optimizer", "state_type_changed", "eps_rounds_to_zero", "beta1_too_high",
    "replaced_settings", "frozen",
}  # fmt: skip


@pytest.mark.parametrize("rule", [rule.id for rule in RULES])
def test_the_worst_point_is_among_those_of_the_course(rule: str) -> None:
    run = changed(*PLANTED[rule])
    finding = next(f for f in diagnose(run).findings if f.rule == rule)
    steps = [step for step, _ in finding.course]
    assert steps == sorted(set(steps))
    assert len(steps) <= thresholds.MOST_POINTS_SHOWN + 1
    assert steps[0] >= finding.first_step
    assert steps[-1] <= finding.last_step
    assert finding.worst_step is not None
    at_worst = dict(finding.course)[finding.worst_step]
    assert at_worst == pytest.approx(finding.value, nan_ok=True)
    json.dumps(finding_fields("run", finding), allow_nan=False)


# Compared as recorded, smoothed, or as the median of several parameters.
AS_RECORDED = {
    "leftover_gradient", "beta2_too_low", "second_moment_underflow",
    "weight_decay_too_strong", "dead_units", "eps_dominates", "eps_influences", "lost_updates",
    "second_moment_frozen", "loss_blowup", "lr_too_low", "gain_ratio_low", "stale_second_moment",
    "unused_rows", "rare_rows", "bimodal_update",
}  # fmt: skip
# A mean over steps is between values that are close to it in time.
STEPS_OF_A_MEAN = 20


@pytest.mark.parametrize("rule", [rule.id for rule in RULES])
def test_a_finding_says_whether_its_threshold_is_a_value_of_its_statistic(rule: str) -> None:
    """Then what was compared lies between values of it that were recorded near that step."""
    run = changed(*PLANTED[rule])
    found = next(f for f in diagnose(run).findings if f.rule == rule)
    assert found.as_recorded == (rule in AS_RECORDED)
    assert finding_fields("run", found)["as_recorded"] == found.as_recorded
    if not found.as_recorded:
        return
    assert found.worst_step is not None
    if found.statistic in run.statistics:
        near = run.statistics[found.statistic][run.step == found.worst_step]
    else:
        steps = run.every_step["step"]
        close = np.abs(steps - found.worst_step) <= STEPS_OF_A_MEAN
        near = run.every_step[found.statistic][close]
    assert np.nanmin(near) <= found.value * (1 + 1e-6)
    assert found.value <= np.nanmax(near) * (1 + 1e-6)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_every_rule_says_what_shows_it(rule: Rule) -> None:
    assert (rule.statistic == "") == (rule.id in SETTINGS)
    known = {*schema.STATISTIC_BY_NAME, *schema.STEP_COLUMNS, *schema.OPTIONAL_STEP_COLUMNS}
    assert rule.statistic in {*known, schema.LOSS, ""}


def test_the_course_of_parameters_is_that_of_the_worst_of_them() -> None:
    run = changed(*PLANTED["second_moment_underflow"])
    found = next(f for f in diagnose(run).findings if f.rule == "second_moment_underflow")
    values = run.statistics[found.statistic]
    columns = [run.names.index(name) for name in found.parameters]
    for step, value in found.course:
        record = run.step.tolist().index(step)
        assert value == pytest.approx(float(values[record, columns].max()))
        assert not math.isnan(value)
