"""Findings that follow from others: from a spike, from left-out parameters, from weight decay."""

from __future__ import annotations

from rule_runs.diagnosed import found
from rule_runs.every_rule import PLANTED
from rule_runs.weight_decay import DECAY
from synthetic_runs import changed, statistic, unoptimized

LEFT_OUT = unoptimized("head2.weight", trainable=True)


def test_a_layer_that_is_slow_after_a_spike_is_so_by_the_spike() -> None:
    spike = PLANTED["gradient_spike"]

    def cause(first: float, last: float) -> str | None:
        slow = statistic(
            "update_to_weight_ratio", 1e-5, of=["layers.3.weight"], from_step=first, to_step=last
        )
        return found(changed(*spike, slow))["layer_imbalance"].consequence_of

    assert cause(350, 420) == "gradient_spike"
    assert cause(100, 200) is None
    slow = statistic("update_to_weight_ratio", 1e-5, of=["layers.3.weight"], from_step=350)
    assert found(changed(slow))["layer_imbalance"].consequence_of is None


def test_decay_beside_parameters_that_no_optimizer_has_is_seen_to_after_them() -> None:
    findings = found(changed(*DECAY, LEFT_OUT))
    assert next(iter(findings)) == "not_in_optimizer"
    assert findings["weight_decay_too_strong"].consequence_of == "not_in_optimizer"
    assert found(changed(*DECAY))["weight_decay_too_strong"].consequence_of is None
