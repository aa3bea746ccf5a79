"""Which update-to-weight ratios are healthy: by kind of tensor, by optimizer, in the document."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic_runs import changed, optimizer, statistic

from tb_adam_plugin.diagnosis.engine.healthy_ranges import (
    RANGES,
    family_of,
    healthy_matrices,
    kind_of,
    typical_ratios,
)
from tb_adam_plugin.schema import Group, Parameter

_ROW = re.compile(r"^\| (\w+) \| (\S+) to (\S+) \| (\S+) to (\S+) \|$", re.MULTILINE)
HOW_TO_READ = Path(__file__).parents[2] / "docs" / "how-to-read.md"


@pytest.mark.parametrize(
    ("name", "shape", "module", "kind"),
    [
        ("conv.weight", (8, 3, 3, 3), "Conv2d", "matrix"),
        ("wte.weight", (100, 8), "Embedding", "embedding"),
        ("wte.weight", (100, 8), "", "embedding"),
        ("head.weight", (100, 8), "Linear", "matrix"),
        ("ln_1.weight", (8,), "LayerNorm", "gain"),
        ("ln_1.weight", (8,), "", "gain"),
        ("ln_1.bias", (8,), "LayerNorm", "bias"),
        ("lstm.bias_hh_l0", (32,), "LSTM", "bias"),
        ("act.weight", (1,), "PReLU", None),
        ("logit_scale", (), "", None),
    ],
)
def test_kind_of_a_tensor(name: str, shape: tuple[int, ...], module: str, kind: str | None) -> None:
    assert kind_of(Parameter(name, shape, "float32", 1, 0, module)) == kind


def test_family_of_an_optimizer() -> None:
    families = [family_of(Group(name, {})) for name in ("AdamW", "Lion", "Muon", "SGD", "ASGD")]
    assert families == ["adaptive"] * 3 + ["SGD"] * 2


def test_the_end_of_a_run_is_summed_up_kind_by_kind() -> None:
    run = changed(statistic("update_to_weight_ratio", 0.5, from_step=300))
    kinds = [kind_of(p) for p in run.parameters]
    last = run.step > 0.75 * run.step[-1]
    ratios = run.statistics["update_to_weight_ratio"][last]
    found = {kind: (ratio, healthy) for kind, ratio, healthy in typical_ratios(run)}
    assert set(found) == {kind for kind in kinds if kind}
    for kind, (ratio, healthy) in found.items():
        own = [np.nanmedian(ratios[:, i]) for i, other in enumerate(kinds) if other == kind]
        assert ratio == pytest.approx(np.median(own))
        assert healthy == RANGES["adaptive"][kind]


def test_what_does_not_move_or_is_not_known_is_left_out() -> None:
    still = changed(statistic("update_to_weight_ratio", 0.0))
    assert typical_ratios(still) == ()
    assert typical_ratios(changed(statistic("update_to_weight_ratio", float("nan")))) == ()
    assert typical_ratios(replace(still, statistics={})) == ()


def test_the_range_of_matrices_is_that_of_the_optimizer() -> None:
    assert healthy_matrices(changed()) == RANGES["adaptive"]["matrix"]
    assert healthy_matrices(changed(optimizer("SGD"))) == RANGES["SGD"]["matrix"]


def test_the_document_says_the_same_ranges() -> None:
    rows = _ROW.findall(HOW_TO_READ.read_text())
    said = {kind: tuple(map(float, numbers)) for kind, *numbers in rows}
    assert said == {
        kind: (*RANGES["adaptive"][kind], *RANGES["SGD"][kind]) for kind in RANGES["adaptive"]
    }
