"""Sentences name no moment, decay, loss or batch that the run does not have."""

from __future__ import annotations

import numpy as np
import pytest
from rule_runs.diagnosed import found
from rule_runs.every_rule import PLANTED
from rule_runs.learning_rate import GROWS
from rule_runs.missing_gradients import STALE
from rule_runs.network import VANISHING
from rule_runs.parts import NAN, WITHOUT_FIRST, WITHOUT_SECOND, flat_loss
from synthetic_runs import Change, changed, column, hyperparameter, optimizer, statistic

SPIKE = column("gradient_norm", 40.0, from_step=300, to_step=300)
NO_FIRST = ("exp_avg", *WITHOUT_FIRST)
NO_SECOND = ("exp_avg_sq", *WITHOUT_SECOND)
WITHOUT_BETAS: list[Change] = [hyperparameter("beta1", NAN), hyperparameter("beta2", NAN)]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ([], "exp_avg carries it on for 10 steps; then √v̂ is too large and steps are too small "
             "for up to 1,000 steps."),
        ([hyperparameter("beta1", 0.5)], "exp_avg carries it on for 2 steps; then"),
        ([optimizer("Adadelta", NO_FIRST), *WITHOUT_BETAS, hyperparameter("rho", 0.9)],
         "Afterwards √v̂ is too large and steps are too small for up to 10 steps."),
        ([optimizer("SGD", NO_SECOND), *WITHOUT_BETAS, hyperparameter("momentum", 0.95)],
         "usual. exp_avg carries it on for 20 steps."),
        ([optimizer("SGD", (*NO_FIRST, *NO_SECOND)), *WITHOUT_BETAS],
         "usual. Without momentum it only made this one step longer."),
    ],
)  # fmt: skip
def test_a_spike_is_carried_on_by_the_moments_that_there_are(
    changes: list[Change], text: str
) -> None:
    assert text in found(changed(SPIKE, *changes))["gradient_spike"].text


def test_weights_move_by_what_the_optimizer_has() -> None:
    planted = PLANTED["moved_without_gradient"]

    def end(*changes: Change) -> str:
        return found(changed(*planted, *changes))["moved_without_gradient"].text.split("its size")[
            1
        ]

    assert end() == ": exp_avg carries past gradients on, and weight decay goes on."
    assert end(hyperparameter("weight_decay", 0.0)) == ": exp_avg carries past gradients on."
    without = optimizer("RMSprop", NO_FIRST)
    assert end(without) == ": weight decay goes on."
    assert end(without, hyperparameter("weight_decay", NAN)) == "."


def test_gradients_that_are_clipped_already_are_not_to_be_clipped() -> None:
    def advice(*changes: Change) -> str:
        stale = statistic("gradient_surprise", 0.05)
        return found(changed(stale, *changes))["stale_second_moment"].advice

    clip = "Clipping the gradient norm keeps a burst out, and beta2 0.95 instead of 0.999"
    already = "Gradients are clipped already; beta2 0.95 instead of 0.999 forgets a burst sooner."
    assert advice().startswith(clip)
    before = column("gradient_norm_before_clip", 4.0)
    assert advice(before, column("gradient_norm", 0.25)) == already
    assert advice(before, column("gradient_norm", 4.0)).startswith(clip)
    assert advice(column("gradient_rescaling", 0.3)) == already
    assert advice(column("gradient_rescaling", 1.0)).startswith(clip)
    assert advice(column("gradient_rescaling", 2.0**-16)).startswith(clip)  # by a scaler
    assert advice(column("gradient_norm", lambda t: np.minimum(0.25, 0.2 + t / 5000))) == already


def test_a_surrogate_loss_is_not_asked_whether_it_rises() -> None:
    large = [statistic("update_to_weight_ratio", 0.12, to_step=20)]
    surrogate = [column("surrogate_loss", flat_loss), column("loss", NAN)]
    asked = found(changed(*large, *surrogate))["lr_too_high"]
    assert asked.severity == "info"
    assert "does your metric (return, sample quality) get worse?" in asked.text
    assert asked.advice.startswith("Compare your metric with a run at lr 3e-4")
    none = found(changed(*large, column("loss", NAN)))["lr_too_high"]
    assert "does the loss rise at first?" in none.text


def test_a_batch_is_spoken_of_once() -> None:
    infinite = [column("loss", np.inf, from_step=303), column("saved_batch", NAN)]
    saved = column("saved_batch", 303, from_step=303, to_step=303)
    advice = found(changed(*infinite, saved))["nonfinite"].advice
    assert advice.count("ook at the batch of step 303") == 1
    assert advice.endswith(" It is saved in batches/step_303.pt, next to the event file.")
    assert "batches" not in found(changed(*infinite))["nonfinite"].advice


def test_weights_that_grow_by_gradients_that_add_up_are_a_consequence() -> None:
    growing = found(changed(*GROWS, *STALE))["weights_grow"]
    assert growing.consequence_of == "stale_gradient"
    assert found(changed(*GROWS))["weights_grow"].consequence_of is None


def test_only_an_optimizer_with_a_second_moment_is_told_of_it() -> None:
    assert "comes close to eps" in found(changed(*VANISHING))["vanishing_gradient"].advice
    sgd = changed(*VANISHING, optimizer("SGD", NO_SECOND))
    assert "eps" not in found(sgd)["vanishing_gradient"].advice
    bimodal = PLANTED["bimodal_update"]
    assert "|m̂/(√v̂+ε)|" in found(changed(*bimodal))["bimodal_update"].text
    rmsprop = changed(*bimodal, optimizer("RMSprop", NO_FIRST))
    assert "|g/(√v̂+ε)|" in found(rmsprop)["bimodal_update"].text
