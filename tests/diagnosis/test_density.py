"""Findings in real recordings do not depend on how densely a run was recorded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from faults.runs.cases import case_named
from faults.verdict.thinned import thin

from tb_adam_plugin.diagnosis.diagnose import Diagnosis, diagnose
from tb_adam_plugin.run_data import load_runs

RUNS = (
    "mlp/healthy_adamw-1",
    "regression/healthy_adamw_cosine-13",
    "mlp/learning_rate_too_high_adamw_x100-142",
    "regression/learning_rate_jumped_sgd_x100-169",
    "regression/weight_decay_too_strong_adamw_10-196",
    "mlp/epsilon_too_large_adamw_0.01-188",
    "mlp/gradient_spike_adamw_one_batch_x100-205",
    "mlp/missing_zero_grad_adamw-212",
    "mlp/updates_lost_to_rounding_adamw_bfloat16-244",
    "regression/dead_layer_adamw-221",
)


def alarms(diagnosis: Diagnosis) -> dict[str, str]:
    """The alarms that are not consequences of others, by rule, with their severity."""
    return {
        finding.rule: finding.severity
        for finding in reversed(diagnosis.findings)
        if finding.severity != "info" and finding.consequence_of is None
    }


@pytest.mark.parametrize("name", RUNS)
def test_records_may_be_left_out(name: str, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        case_named(f"tuning/{name}").train(tmp_path)
    finally:
        torch.set_num_threads(threads)
    (run,) = load_runs(tmp_path)
    recorded = run.diagnosis.signals.run
    assert recorded.step.size == recorded.last_step  # every step
    dense = alarms(run.diagnosis)
    assert bool(dense) != ("healthy" in name)
    for keep_every in (2, 5, 20):
        thinned = diagnose(thin(recorded, keep_every))
        unknown = {rule.rule for rule in thinned.not_evaluated}
        seen = alarms(thinned)
        assert {rule: bad for rule, bad in dense.items() if rule not in unknown} == seen
