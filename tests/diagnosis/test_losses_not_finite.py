"""Findings about losses that are not finite: all of them, or one of two."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from rule_runs.diagnosed import found, not_evaluated
from rule_runs.missing_gradients import PLANTED
from synthetic_runs import Change, changed, column
from torch import nn

from tb_adam_plugin.callback import AdamDebugCallback
from tb_adam_plugin.diagnosis.diagnose import diagnose
from tb_adam_plugin.run_data import load_runs

NAN = float("nan")
NEVER_FINITE = [column("loss", NAN), column("loss_is_nan", 1.0)]


def test_a_loss_that_is_nan_throughout_was_recorded() -> None:
    for changes in (NEVER_FINITE, [column("loss", np.inf)]):
        reasons = not_evaluated(diagnose(changed(*changes)))
        assert reasons["loss_blowup"] == reasons["plateau"] == "the loss is not finite at any step"
    nothing = changed(column("loss", NAN), column("loss_is_nan", NAN))
    assert not_evaluated(diagnose(nothing))["loss_blowup"].startswith("no loss was recorded")


def test_a_loss_that_is_nan_from_the_start_is_why_no_gradient_arrives() -> None:
    first, *others = diagnose(changed(*PLANTED["no_gradient"], *NEVER_FINITE)).findings
    assert (first.rule, first.consequence_of) == ("nonfinite", None)
    assert first.text.startswith("The loss of step 1 is NaN")
    assert {f.rule: f.consequence_of for f in others}["no_gradient"] == "nonfinite"
    later = column("loss_is_nan", lambda step: np.where(step < 300, 0.0, 1.0))
    assert found(changed(*PLANTED["no_gradient"], later))["no_gradient"].consequence_of is None


@pytest.mark.parametrize("value", [NAN, np.inf])
def test_a_surrogate_that_is_not_finite_is_told_beside_a_loss_that_is(value: float) -> None:
    surrogate = column("surrogate_loss", 0.5), column("surrogate_loss", value, from_step=200)
    is_nan = column("loss_is_nan", lambda step: np.where(step < 200, 0.0, float(np.isnan(value))))
    finding = found(changed(*surrogate, is_nan))["nonfinite"]
    assert finding.first_step == 200
    kind = "NaN" if np.isnan(value) else "infinite"
    assert finding.text.startswith(
        f"The surrogate loss of step 200 is {kind}, while all weights are still finite"
    )


@pytest.mark.parametrize("name", ["loss", "surrogate_loss"])
def test_training_with_two_losses_tells_which_step_had_one_that_is_nan(
    name: str, tmp_path: Path
) -> None:
    layer = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(layer.parameters())
    with AdamDebugCallback(layer, optimizer, log_dir=tmp_path) as debug:
        for step in range(1, 7):
            layer(torch.ones(4, 3)).square().mean().backward()
            losses = {"loss": 1.0, "surrogate_loss": 0.5}
            if step == 4:
                losses[name] = NAN
            if step == 5:
                del losses[name]  # none is no NaN
            debug.record(**losses)
            optimizer.step()
            optimizer.zero_grad()
    (run,) = load_runs(tmp_path)
    assert run.every_step()["loss_is_nan"].tolist()[-3:] == [1, 0, 0]
    (finding,) = (f for f in run.findings() if f.rule == "nonfinite")
    assert finding.first_step == 4


def test_a_gain_ratio_that_is_not_known_asks_for_the_norm_before_clipping() -> None:
    def reason(*changes: Change) -> str:
        diagnosis = diagnose(changed(*changes))
        return {r.rule: r.reason for r in diagnosis.not_evaluated}["gain_ratio_low"]

    assert reason() == "the gain ratio was not recorded: pass loss_closure="
    unknown = reason(column("gain_ratio", float("nan")))
    assert unknown.startswith(
        "the gain ratio is not known; where gradients are clipped, call debug."
    )
