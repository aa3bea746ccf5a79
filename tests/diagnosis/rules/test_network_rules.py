"""Findings about dead units, vanishing gradients and initial weights."""

from __future__ import annotations

from dataclasses import replace

from rule_runs.diagnosed import found
from rule_runs.learning_rate import TOO_FAST
from rule_runs.network import CUT_OFF, DEAD_GATES, VANISHING, recurrent
from rule_runs.parts import BIASES, MATRICES, NAN
from synthetic_runs import changed, column, statistic, without

from tb_adam_plugin.diagnosis.diagnose import diagnose
from tb_adam_plugin.diagnosis.engine.recorded_run import RecordedRun
from tb_adam_plugin.diagnosis.rule import Finding


def test_recurrent_layers_are_not_told_to_use_another_activation() -> None:
    assert "ReLU" in found(changed(*VANISHING))["vanishing_gradient"].advice

    def recurrent(run: RecordedRun) -> RecordedRun:
        parameters = tuple(
            replace(p, name=p.name.replace("layers", "lstm")) for p in run.parameters
        )
        return replace(run, parameters=parameters)

    advice = found(changed(*VANISHING, recurrent))["vanishing_gradient"].advice
    assert "ReLU" not in advice
    assert "normalization, or use a Xavier gain" in advice


def test_small_weights_that_the_loss_feels_are_a_question() -> None:
    small = statistic("weight_rms", 0.001, only=[0])
    asked = found(changed(small))["init_too_small"]
    assert (asked.severity, asked.advice) == ("info", "")
    assert "networks with sine activations?" in asked.text
    unknown = changed(small, without("elasticity"))
    assert found(unknown)["init_too_small"].severity == "error"


def test_small_weights_that_train_are_a_question() -> None:
    def small(scale: float, loss: float) -> Finding:
        weights = statistic("weight_rms", scale / 8, of=MATRICES, only=[0])
        silent = statistic("elasticity", 1e-5, only=[0])
        return found(changed(weights, silent, column("loss", loss, from_step=100)))[
            "init_too_small"
        ]

    asked = small(0.08, 1.0)
    assert (asked.severity, asked.advice) == ("info", "")
    assert "GPT-2" in asked.text
    assert small(0.08, 2.3).severity == "error"
    assert small(0.01, 1.0).severity == "error"


def test_the_usual_deviation_is_not_too_large_at_a_large_fan_in() -> None:
    def wide(run: RecordedRun) -> RecordedRun:
        parameters = tuple(
            replace(p, shape=(64, 16_384)) if len(p.shape) > 1 else p for p in run.parameters
        )
        return replace(run, parameters=parameters)

    first = statistic("weight_rms", 0.02, only=[0]), statistic("weight_absmax", 0.08, only=[0])
    assert "init_too_large" not in found(changed(wide, *first))
    larger = statistic("weight_rms", 0.05, only=[0]), statistic("weight_absmax", 0.2, only=[0])
    assert "init_too_large" in found(changed(wide, *larger))


def test_gradients_that_vanish_while_the_loss_falls_are_a_question() -> None:
    still = found(changed(*VANISHING))["vanishing_gradient"]
    assert (still.severity, still.title) == ("warning", "Gradients vanish towards the first layers")
    assert "becomes 1000 times less sensitive" in still.text
    falls = found(changed(*VANISHING[:2]))["vanishing_gradient"]
    assert (falls.severity, falls.title[-1]) == ("info", "?")
    assert "It still falls, from 2.3 to 0.29." in falls.text
    healed = statistic("gradient_rms", 1e-3, of=MATRICES, from_step=200)
    ended = found(changed(*VANISHING[:2], healed))["vanishing_gradient"]
    assert (ended.severity, ended.last_step, ended.advice) == ("info", 190, "")
    assert "Up to step 190 the loss was up to 1000 times less sensitive" in ended.text
    assert "This has ended. Meanwhile the loss fell from 2.3 to 0.83." in ended.text
    late = found(changed(*VANISHING, healed))["vanishing_gradient"]
    assert late.severity == "warning"
    assert "layer by layer, until step 190." in late.text


def test_gradients_that_vanish_twice_are_one_finding() -> None:
    healed = statistic("gradient_rms", 1e-3, of=MATRICES, from_step=200, to_step=300)
    findings = diagnose(changed(*VANISHING, healed)).findings
    (vanishing,) = (f for f in findings if f.rule == "vanishing_gradient")
    assert (vanishing.first_step, vanishing.last_step) == (1, 500)


def test_gradients_vanish_as_a_consequence_of_a_high_learning_rate() -> None:
    findings = found(changed(*TOO_FAST, *VANISHING))
    assert findings["lr_too_high"].consequence_of is None
    assert findings["vanishing_gradient"].consequence_of == "lr_too_high"


def test_rows_of_a_recurrent_layer_without_gates_are_units() -> None:
    for module, name in (("RNN", "rnn.weight_hh_l0"), ("RNNCell", "cell.weight_ih")):
        assert "dead_units" in found(changed(*DEAD_GATES, recurrent(module, name)))
    for module, name in (("GRUCell", "cell.weight_ih"), ("MyLSTM", "lstm.hidden.weight")):
        assert "dead_units" not in found(changed(*DEAD_GATES, recurrent(module, name)))


def test_units_that_learn_again_are_spoken_of_in_the_past() -> None:
    def dead(to_step: float) -> Finding:
        gone = statistic("dead_row_fraction", 0.75, of=["layers.3.weight"], to_step=to_step)
        return found(changed(gone))["dead_units"]

    assert dead(200).text.startswith("From step 30 to 200, 75 % of the units of layers.3.weight")
    assert dead(200).text.endswith("Since then more of them have gradients again.")
    assert "Since then" not in dead(460).text  # as near to the end as one stretch is


def test_a_layer_that_puts_out_nothing_is_told_from_one_that_is_frozen() -> None:
    """The weight after dead units has no gradient either, as its inputs are 0; its bias has."""
    dead = found(changed(*CUT_OFF))["dead_units"]
    assert dead.severity == "error"
    assert set(dead.parameters) == {"layers.0.weight", "layers.1.weight"}
    no_biases = [statistic("zero_gradient_fraction", NAN, of=BIASES, from_step=200)]
    assert "dead_units" in found(changed(*CUT_OFF, *no_biases))
