"""Every rule finds its fault, and nothing in healthy runs and in runs that just miss it."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rule_runs.diagnosed import found, not_evaluated
from rule_runs.every_rule import NEAR, PLANTED
from rule_runs.learning_rate import RMSPROP
from rule_runs.parts import LAYERS, NAN, WITHOUT_FIRST, WITHOUT_SECOND
from rule_runs.schedules import warmed_up
from synthetic_runs import (
    Change,
    changed,
    column,
    hyperparameter,
    make_run,
    norms_around,
    optimizer,
    statistic,
    without,
    without_column,
)

from tb_adam_plugin.diagnosis import rules
from tb_adam_plugin.diagnosis.diagnose import diagnose
from tb_adam_plugin.diagnosis.engine.recorded_run import RecordedRun
from tb_adam_plugin.diagnosis.engine.rule import Rule
from tb_adam_plugin.diagnosis.rules.registry import RULES

SQUARE = [*LAYERS[:3]]


def test_every_rule_is_described_in_order() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to-read.md").read_text(encoding="utf-8")
    section = page.split("## The rules")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| .+ \| ([\w, ]+) \| (.*) ?\|$", section, re.MULTILINE)
    assert [rule for rule, _, _ in rows] == [rule.id for rule in RULES]
    for rule, (_, severity, reference) in zip(RULES, rows, strict=True):
        assert reference.strip() == rule.reference
        if isinstance(rule.severity, str):
            assert severity == rule.severity


def test_every_source_is_in_the_references() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to-read.md").read_text(encoding="utf-8")
    listed = re.findall(r"^- (.+? \d{4}), (.+)$", page.split("## References")[1], re.MULTILINE)
    sources = {source for rule in RULES for source in rule.reference.split("; ") if source}
    for source in sources:
        named = re.fullmatch(r"(.+? \d{4}), (.{0,12}).*", source)
        assert named is not None
        assert [t for a, t in listed if a == named[1] and named[2].lower() in t.lower()], source


def test_every_rule_has_a_run_that_it_is_for_and_one_that_just_misses_it() -> None:
    ids = [rule.id for rule in RULES]
    assert len(set(ids)) == len(ids)
    assert set(PLANTED) == set(ids)
    assert {rule for rule, _, _ in NEAR} | {"nonfinite"} == set(ids)


def test_every_rule_of_every_file_is_in_the_registry() -> None:
    of_files = []
    for file in pkgutil.iter_modules(rules.__path__):
        if file.name != "registry":
            module = importlib.import_module(f"{rules.__name__}.{file.name}")
            own = [value for value in vars(module).values() if isinstance(value, Rule)]
            assert own, f"{file.name} has no rule"
            of_files += own
    assert sorted(r.id for r in of_files) == sorted(r.id for r in RULES)


@pytest.mark.parametrize("rule", PLANTED)
def test_what_is_planted_is_found(rule: str) -> None:
    finding = found(changed(*PLANTED[rule]))[rule]
    assert finding.text
    assert finding.text.endswith((".", "?"))
    assert finding.first_step <= (finding.worst_step or 0) <= finding.last_step
    assert "nan" not in finding.text.lower().replace("nan or infin", "")
    assert "nan" not in finding.advice.lower().replace("a nan in the batch", "")


@pytest.mark.parametrize("rule", PLANTED)
def test_a_rule_without_its_condition_finds_nothing(rule: str) -> None:
    """Other findings are no substitute: each planted fault needs its own rule."""
    without_condition = [replace(r, condition=lambda _: None) if r.id == rule else r for r in RULES]
    diagnosis = diagnose(changed(*PLANTED[rule]), rules=without_condition)
    assert rule not in {finding.rule for finding in diagnosis.findings}


@pytest.mark.parametrize(
    ("rule", "changes"),
    [pytest.param(rule, changes, id=f"{rule}: {what}") for rule, what, changes in NEAR],
)
def test_what_just_misses_a_rule_is_not_found(rule: str, changes: Sequence[Change]) -> None:
    run = changed(*changes)
    assert rule not in not_evaluated(diagnose(run))
    assert rule not in found(run)


HEALTHY: Mapping[str, RecordedRun] = {
    "AdamW": make_run(),
    "every step": make_run(every=1),
    "long": make_run(last=20_000, every=100),
    "just begun": make_run(last=3),
    "resumed": make_run(first=10_001, last=10_400),
    "warm-up and cosine": changed(column("lr", warmed_up)),
    "restarts": changed(column("lr", lambda t: 1e-3 * (1.001 - (t % 100) / 100))),
    "SGD": changed(optimizer("SGD", WITHOUT_SECOND), hyperparameter("beta1", NAN)),
    "plain SGD": changed(optimizer("SGD", (*WITHOUT_SECOND, *WITHOUT_FIRST))),
    "RMSprop": changed(
        *RMSPROP,
        statistic("epsilon_10_fraction", 0.8, to_step=50),
    ),
    "Adagrad": changed(
        optimizer("Adagrad", ("rms_t", "gradient_surprise", *WITHOUT_FIRST)),
        statistic("update_to_weight_ratio", 0.15, to_step=16),
    ),
    "Lion": changed(
        optimizer("Lion", WITHOUT_SECOND),
        statistic("momentum_gradient_cosine", 0.3),
    ),
    "fine-tuning": changed(
        column("loss", lambda t: 1.5 - 0.4 * t / 500),
        statistic("weight_rms", 0.5),
        statistic("weight_absmax", 8.0),
    ),
    "without a loss": changed(without_column("loss")),
    "first layer from zero": changed(
        statistic("weight_rms", 0.0, of=["layers.2.weight"], only=[0]),
        statistic("update_to_weight_ratio", np.inf, of=["layers.2.weight"], only=[0]),
        statistic("update_to_weight_ratio", 0.4, of=["layers.2.weight"], only=[1, 2, 3]),
    ),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_nothing_is_found_in_healthy_runs(name: str) -> None:
    assert found(HEALTHY[name]) == {}


def test_the_first_steps_of_a_resumed_run_are_not_known() -> None:
    resumed = replace(
        changed(
            lambda _: make_run(first=10_001, last=10_400),
            statistic("update_to_weight_ratio", 0.06),
            column("loss", 4.0, from_step=10_002, to_step=10_040),
        )
    )
    assert found(resumed) == {}
    reason = "the run was resumed, and its first steps were not recorded"
    unknown = {rule for rule, why in not_evaluated(diagnose(resumed)).items() if why == reason}
    assert unknown == {
        "init_too_large",
        "init_too_small",
        "lr_too_high",
        "converged",
        "noise_dominated",
        "plateau",
        "stale_gradient",
    }


def test_a_rule_says_what_it_lacks() -> None:
    everything = make_run()
    assert set(not_evaluated(diagnose(everything))) == {"clip_always", "gain_ratio_low"}
    empty = RecordedRun("empty", (), (), np.empty(0), np.empty(0), {})
    assert set(not_evaluated(diagnose(empty))) == {rule.id for rule in RULES}
    old = changed(without("second_moment_flicker"), without_column("loss", "gradient_norm"))
    reasons = not_evaluated(diagnose(old))
    assert reasons["beta2_too_low"] == "second_moment_flicker was not recorded"
    assert reasons["loss_blowup"] == "no loss was recorded: call debug.record(loss=loss)"
    assert reasons["clip_constant"].startswith("the gradient norm was not recorded")
    assert "gradient_spike" not in reasons  # the surprise is enough
    sgd = not_evaluated(diagnose(HEALTHY["plain SGD"]))
    assert sgd["beta2_too_low"] == "SGD does not have second_moment_flicker"
    assert "lr_too_low" not in sgd  # the loss is enough to ask
    silent = changed(without_column("loss"), optimizer("SGD", WITHOUT_FIRST))
    assert (
        not_evaluated(diagnose(silent))["lr_too_low"]
        == "SGD does not have momentum_gradient_cosine"
    )


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_without_what_it_needs_is_not_evaluated(rule: Rule) -> None:
    known = changed(*PLANTED[rule.id])
    for name in rule.needs:
        if name == "step":
            continue
        run = without_column(name)(without(name)(known))
        settings = {n: v for n, v in run.hyperparameters.items() if n != name}
        assert rule.id in not_evaluated(diagnose(replace(run, hyperparameters=settings))), name


def test_old_runs_fall_back_on_what_they_have() -> None:
    dead = changed(
        without("dead_row_fraction"),
        statistic("zero_gradient_fraction", 0.9, of=["layers.3.bias"]),
    )
    assert found(dead)["dead_units"].parameters == ("layers.3.bias",)
    scaled = changed(
        without("elasticity"),
        statistic("gradient_rms", 300.0),
        statistic("weight_rms", 0.07, from_step=2),
    )
    assert found(scaled)["gradient_scale"].severity == "error"


def test_findings_name_their_parameters() -> None:
    assert found(changed(*PLANTED["dead_units"]))["dead_units"].parameters == ("layers.3.weight",)
    assert found(changed(*PLANTED["nonfinite"]))["nonfinite"].parameters == ("head.weight",)
    every_layer = changed(statistic("dead_row_fraction", 1.0, of=LAYERS))
    (finding,) = [f for f in diagnose(every_layer).findings if f.rule == "dead_units"]
    assert finding.severity == "error"
    assert "all 5 layers.*.weight" in finding.text
    some = found(changed(statistic("dead_row_fraction", 0.7, of=SQUARE)))["dead_units"]
    assert (some.severity, some.title) == ("info", "Are these units dead?")
    most = found(changed(statistic("dead_row_fraction", 0.95, of=SQUARE)))["dead_units"]
    assert (most.severity, most.title) == ("warning", "Dead units")
    assert "3 layers.*.weight" in some.text
    spike = [*PLANTED["gradient_spike"], norms_around(300, "layers.1.weight")]
    assert found(changed(*spike))["gradient_spike"].parameters == ("layers.1.weight",)
    surprised = changed(statistic("gradient_surprise", 80.0, of=["head.weight"], only=[30]))
    assert found(surprised)["gradient_spike"].parameters == ("head.weight",)


def test_recording_more_often_is_advised_by_an_option_that_was_not_given() -> None:
    few = make_run(last=60)
    assert "total_steps= or every_n_steps= records" in not_evaluated(diagnose(few))["lr_too_low"]
    given = not_evaluated(diagnose(replace(few, total_steps=60)))["lr_too_low"]
    assert given.endswith(": every_n_steps= records more often")
    thinner = [column("every_n_steps", 10.0), column("wanted_every_n_steps", 1.0)]
    for change in thinner:
        few = change(few)
    limited = not_evaluated(diagnose(few))["lr_too_low"]
    assert limited.endswith(": a larger max_overhead= records more often")
