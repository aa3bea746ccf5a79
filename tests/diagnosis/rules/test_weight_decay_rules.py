"""Findings about weight decay, and about rows that only decay moves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from rule_runs.diagnosed import found
from rule_runs.every_rule import PLANTED
from rule_runs.parts import BIASES
from rule_runs.weight_decay import DECAY, DECAYED, KEPT, shrinking
from synthetic_runs import (
    WEIGHTS,
    Change,
    changed,
    column,
    hyperparameter,
    optimizer,
    statistic,
    without,
)

from tb_adam_plugin.diagnosis.diagnose import diagnose
from tb_adam_plugin.diagnosis.engine.healthy_ranges import is_gain
from tb_adam_plugin.diagnosis.engine.recorded_run import RecordedRun
from tb_adam_plugin.schema import Parameter, Unoptimized


def test_rows_that_are_meant_to_stay_are_an_alarm_where_it_is_always_the_same_ones() -> None:
    finding = found(changed(*KEPT))["idle_rows_decay"]
    assert (finding.severity, finding.parameters) == ("warning", ("embedding.weight",))
    assert "At least 99 % of the rows of embedding.weight" in finding.text
    assert "99 % of the tensor never had a gradient" in finding.text
    assert "RMS of the whole tensor 22 % smaller" in finding.text
    assert finding.advice.startswith("Set weight_decay to 0 for embedding.weight")
    assert found(changed(*KEPT))["rare_rows"].consequence_of == "idle_rows_decay"
    in_turn = statistic("zero_second_moment_fraction", 0.85, of=["embedding.weight"])
    for change in (in_turn, shrinking(0.04), without("zero_second_moment_fraction")):
        question = found(changed(*KEPT, change))["idle_rows_decay"]
        assert (question.severity, question.title[-1]) == ("info", "?")
    assert "never" not in found(changed(*KEPT, in_turn))["idle_rows_decay"].text
    pretrained = (Unoptimized("backbone.weight", (1000, 1000), False, "AdamW"),)
    by_another = changed(*KEPT, lambda run: replace(run, unoptimized=pretrained))
    assert found(by_another)["idle_rows_decay"].severity == "warning"
    plain_sgd = [optimizer("SGD", ("exp_avg_sq_root", "zero_second_moment_fraction"))]
    assert found(changed(*KEPT, *plain_sgd))["idle_rows_decay"].severity == "info"


def test_a_group_that_decays_differently_is_judged_by_itself() -> None:
    stronger = [hyperparameter("weight_decay", 30.0, group=1)]
    decayed = statistic("weight_decay_ratio", 3.0, of=BIASES)
    finding = found(changed(*stronger, decayed))["weight_decay_too_strong"]
    assert finding.parameters == tuple(BIASES)
    assert "instead of 30" in finding.advice
    assert "weight_decay_too_strong" not in found(changed(decayed))


def test_decayed_gains_are_named() -> None:
    split = found(changed(*PLANTED["decayed_gains"]))["decayed_gains"]
    assert split.parameters == ("layers.0.weight_", "layers.1.weight_")
    assert "Did a filter miss them?" in split.text
    alone = found(changed(*DECAYED))["decayed_gains"]
    assert "a weight_decay of 0.5" in alone.text
    assert "by up to 40 % of the rest of the update" in alone.text
    assert alone.severity == split.severity == "info"
    assert "p.ndim" in alone.advice
    strong = found(changed(*DECAYED, *DECAY))["decayed_gains"]
    assert strong.consequence_of == "weight_decay_too_strong"
    for name, module, expected in (
        ("h.0.ln_1.weight", "", True),
        ("layer1.0.bn2.weight", "", True),
        ("encoder.norm.scale", "", True),
        ("encoder.norm.bias", "", False),
        ("blin.weight", "", False),
        ("ln.weight", "Linear", False),
        ("x.weight", "LlamaRMSNorm", True),
    ):
        assert is_gain(Parameter(name, (8,), "float32", 8, 0, module)) is expected, name
    assert not is_gain(Parameter("norm.weight", (8, 8), "float32", 64, 0, "LayerNorm"))


def test_rows_of_what_may_be_a_table_are_asked_about() -> None:
    def renamed(name: str) -> Change:
        return lambda run: replace(
            run,
            parameters=tuple(
                replace(p, name=name, module="Quantizer") if p.name == "layers.3.weight" else p
                for p in run.parameters
            ),
        )

    rare = [statistic("dead_row_fraction", 1.0, of=["layers.3.weight"])]
    assert found(changed(*rare))["dead_units"].severity == "error"
    assert found(changed(*rare, renamed("prototypes")))["dead_units"].severity == "info"
    decaying = hyperparameter("weight_decay", 0.5)
    assert set(found(changed(*rare, decaying, renamed("vq.codebook")))) == {"rare_rows"}


def test_decay_that_overshoots_is_said_as_what_it_does() -> None:
    grows = diagnose(
        changed(
            hyperparameter("weight_decay", 2500.0),
            *DECAY,
            *PLANTED["gradient_spike"],
            column("loss", 50.0, from_step=100),
            statistic("nonfinite_count", 3.0, of=["head.weight"], from_step=400),
        )
    )
    first, *others = grows.findings
    assert (first.rule, first.severity) == ("weight_decay_overshoots", "error")
    assert "by 1 - lr · weight_decay = 1 - 1e-3 · 2500 = -1.5" in first.text
    assert first.text.endswith("change sign at every step, and grow.")
    assert first.advice.startswith("Try a weight_decay of 0.01 to 0.1")
    assert {f.rule for f in others} == {"gradient_spike", "loss_blowup", "nonfinite"}
    assert {f.consequence_of for f in others} == {"weight_decay_overshoots"}
    flips = found(changed(hyperparameter("weight_decay", 1500.0)))["weight_decay_overshoots"]
    assert "= -0.5: weights change sign at every step, and lose what they learned." in flips.text
    assert grows.compass is not None
    assert grows.compass.run.text == "no reading: see “Weight decay overshoots” first"


def test_decay_of_one_group_overshoots_by_itself() -> None:
    finding = found(changed(hyperparameter("weight_decay", 1500.0, group=1)))
    assert finding["weight_decay_overshoots"].parameters == tuple(BIASES)
    jumped = [hyperparameter("lr", 200.0, from_step=200), column("lr", 200.0, from_step=200)]
    findings = found(changed(*jumped))
    assert findings["weight_decay_overshoots"].consequence_of == "lr_jump"
    assert "Lower the learning rate (200)" in findings["weight_decay_overshoots"].advice


def test_decay_mainly_shrinks_weights_only_where_the_update_is_along_them() -> None:
    along = statistic("update_weight_cosine", -0.95)
    assert "mainly shrinks" in found(changed(*DECAY, along))["weight_decay_too_strong"].text
    balanced = found(changed(*DECAY, hyperparameter("weight_decay", 200.0)))
    said = "what a step adds is gone after about 5 steps."
    assert said in balanced["weight_decay_too_strong"].text
    coupled = optimizer("Adam", decoupled_weight_decay=False)
    assert (
        "it removes what training adds"
        in found(changed(*DECAY, coupled))["weight_decay_too_strong"].text
    )


def test_rare_rows_are_asked_about_where_decay_moves_them() -> None:
    rare = PLANTED["rare_rows"][:1]
    taken = found(changed(*PLANTED["rare_rows"]))["rare_rows"]
    assert "weight decay has shrunk rows that were never used by 22 %" in taken.text
    coupled = found(changed(*rare, optimizer("Adam", decoupled_weight_decay=False)))["rare_rows"]
    assert "weight decay moves them by full steps" in coupled.text


def test_a_setting_gets_one_value_however_often_it_shows() -> None:
    twice = [
        statistic("weight_decay_ratio", 3.0, of=WEIGHTS, from_step=60, to_step=140),
        statistic("weight_decay_ratio", 9.0, of=WEIGHTS, from_step=400),
    ]
    (finding,) = diagnose(changed(*twice)).findings
    assert (finding.first_step, finding.last_step, finding.value) == (60, 500, 9)


def test_an_embedding_is_known_by_its_module_or_else_by_its_name() -> None:
    rare = statistic("dead_row_fraction", 0.95, of=["users.weight"])

    def of_module(module: str) -> Change:
        def change(run: RecordedRun) -> RecordedRun:
            table = replace(run.parameters[0], name="users.weight", module=module)
            return replace(run, parameters=(table, *run.parameters[1:]))

        return change

    decaying = hyperparameter("weight_decay", 0.5)
    assert set(found(changed(of_module("EmbeddingBag"), rare, decaying))) == {"rare_rows"}
    # As in an older run, without the rows that never had a gradient.
    which = statistic("idle_row_fraction", np.nan)
    assert set(found(changed(of_module(""), rare, which))) == {"dead_units"}
    assert found(changed(of_module(""), rare)) == {}
    patches = [*PLANTED["rare_rows"], which, lambda run: replace(run, parameters=tuple(
        replace(p, module="Conv2d") for p in run.parameters))]  # fmt: skip
    assert set(found(changed(*patches))) == {"dead_units"}


def test_a_learning_rate_below_zero_takes_nothing_back() -> None:
    """What decay has taken of an unused row is said, whatever comes after it."""
    run = changed(
        *PLANTED["rare_rows"],
        hyperparameter("lr", lambda step: np.where(step < 490, 1e-3, -1e6)),
    )
    assert "has shrunk rows" in found(run)["rare_rows"].text
