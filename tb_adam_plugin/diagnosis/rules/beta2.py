"""Rules about exp_avg_sq: β2, ε, the type that stores it, a state that was lost."""

from __future__ import annotations

import numpy as np

from ..engine import thresholds
from ..engine.conditions import each_beyond, median_beyond
from ..engine.recorded_run import Flags, Float64s
from ..engine.rule import Condition, Evidence, Persistence, Rule
from ..engine.signals import Signals, has_converged, median
from ..engine.wording import counted, decade_below, decay, named, number, percent, step
from .learning_rate_too_high import warmup

# --- lost or reset ------------------------------------------------------------------------------


def _state_reset(signals: Signals) -> Condition:
    """Records at which the moments had only just begun, although there were some before."""
    run = signals.run

    def compute(part: slice) -> Flags:
        cosine = signals.statistic("gradient_exp_avg_cosine")[part]
        before = signals.statistic("momentum_gradient_cosine")[part]
        surprise = signals.statistic("gradient_surprise")[part]
        began: Flags = (cosine >= thresholds.RESET_COSINE) & np.isnan(before) & np.isnan(surprise)
        # A state is lost as a whole; numbers overflow in one parameter or another.
        concerned = ~np.isnan(cosine) | (signals.statistic("zero_gradient_fraction")[part] < 1)
        share = began.sum(axis=1) / np.maximum(1, concerned.sum(axis=1))
        began &= (share > thresholds.RESET_SHARE)[:, None]
        return began

    began = signals.by_record("state began", compute)
    fewer = signals.by_record("fewer steps", lambda part: signals.change("state_step", part) < 0)
    some = np.flatnonzero(began[1:].any(axis=0) | fewer.any(axis=0))
    known = ~np.isnan(signals.statistic("momentum_gradient_cosine")[:, some])
    holds = began[:, some]
    holds[1:] &= np.logical_or.accumulate(known, axis=0)[:-1]
    holds[:1] = False
    holds |= fewer[:, some]
    lacking = "" if run.step.size > 1 else f"{counted(run.step.size, 'record')}, needs 2"
    return Condition(
        run.step,
        holds,
        holds.astype(np.float64),
        0.0,
        some,
        known=np.ones(run.step.shape, bool),
        lacking=lacking,
    )


def _state_reset_advice(e: Evidence) -> str:
    return (
        "Load the optimizer's state together with the weights. If it is gone, warm the learning "
        f"rate up again{warmup(e.signals)}."
    )


STATE_RESET = Rule(
    id="state_reset",
    title="Optimizer state was lost",
    needs=(),
    needs_any=("state_step", "momentum_gradient_cosine"),
    condition=_state_reset,
    persistence=Persistence(),
    severity="error",
    message=lambda e: (
        f"At step {step(e.worst_step)} the moments of {named(e.names, e.signals.run.names)} "
        "started from nothing in the middle of the run: the next updates are steps of the full "
        "learning rate in the direction of the sign of each gradient."
    ),
    advice=_state_reset_advice,
    reference="Ma & Yarats 2021, On the adequacy of untuned warmup for adaptive optimization",
    explains=("gradient_spike", "loss_blowup"),
    uses=("gradient_exp_avg_cosine", "gradient_surprise", "zero_gradient_fraction"),
)


# --- what the type can hold ---------------------------------------------------------------------


def _storage(e: Evidence) -> str:
    stored = {
        e.signals.run.groups[g].storage.get("exp_avg_sq", "")
        for g in e.signals.run.group_of[e.parameters]
    }
    return ", ".join(sorted(stored - {""})) or "its type"


UNDERFLOW = Rule(
    id="second_moment_underflow",
    title="exp_avg_sq underflows",
    needs=("second_moment_underflow_fraction",),
    condition=lambda s: each_beyond(
        s,
        "second_moment_underflow_fraction",
        thresholds.UNDERFLOW_FRACTION,
        s.run.weights_or_matrices,
    ),
    persistence=Persistence(thresholds.UNDERFLOW_POINTS),
    severity="error",
    message=lambda e: (
        f"{percent(e.value)} of the elements with a gradient have an exp_avg_sq that is 0 or "
        f"subnormal in {_storage(e)} ({named(e.names, e.signals.run.names)}): only ε is left of "
        "the denominator, and their steps are far too large or none."
    ),
    advice=lambda e: (
        "Keep weights and optimizer state in float32 (autocast for the rest), or scale the loss. "
        "ε of 1e-4 or more is a stopgap."
    ),
    reference="Micikevicius et al. 2018, Mixed precision training",
    explains=("nonfinite", "lost_updates", "eps_dominates", "eps_influences", "loss_blowup",
              "lr_too_high", "layer_imbalance", "second_moment_frozen"),
)  # fmt: skip


def _frozen_advice(e: Evidence) -> str:
    beta2 = e.signals.hyperparameter_now("beta2")
    now = f" instead of {decay(beta2)}" if 0 < beta2 < 1 else ""
    lower = [decay(b) for b in (0.99, 0.95) if not beta2 <= b]
    if not lower:
        return "Keep the optimizer's state in float32."
    return (
        "Keep the optimizer's state in float32, or use a beta2 whose decay the type can hold: "
        f"{' or '.join(lower)}{now}."
    )


FROZEN = Rule(
    id="second_moment_frozen",
    title="exp_avg_sq cannot decay",
    needs=("second_moment_frozen_fraction",),
    condition=lambda s: median_beyond(
        s,
        "second_moment_frozen_fraction",
        thresholds.FROZEN_FRACTION,
        s.run.weights_or_matrices,
    ),
    persistence=Persistence(thresholds.FROZEN_POINTS),
    once=True,
    severity="warning",
    message=lambda e: (
        f"In {percent(e.value)} of the elements with an exp_avg_sq above 0, beta2 · exp_avg_sq "
        f"rounds back to it in {_storage(e)}: it keeps the largest gradients for ever, and the "
        "steps stay too small."
    ),
    advice=_frozen_advice,
    reference="Zamirai et al. 2020, Revisiting BFloat16 training",
    explains=("lr_too_low", "stale_second_moment"),
)


# --- beta2 --------------------------------------------------------------------------------------


def _beta2_advice(e: Evidence) -> str:
    beta2 = e.signals.hyperparameter_now("beta2")
    if not 0 <= beta2 < 1:
        return "Raise the decay of the average of squared gradients to 0.95 or more."
    return (
        f"Try beta2 0.95 (large batches, language models) to 0.999 instead of {decay(beta2)}: "
        f"change of √v̂ from step to step {percent(e.value)} → about {percent(0.71 * 0.05)} or "
        "less. Keep beta2 ≥ beta1."
    )


def _beta2_message(e: Evidence) -> str:
    beta2 = e.signals.hyperparameter_now("beta2")
    memory = f" forgets in {1 / (1 - beta2):.1f} steps" if 0 <= beta2 < 1 else " forgets at once"
    return (
        f"exp_avg_sq{memory}: √v̂ changes by {percent(e.value)} from one step to the next, so that "
        "every element's step size jitters."
    )


def _beta2_too_low(signals: Signals) -> Condition:
    beta2 = signals.hyperparameter_now("beta2")
    high = beta2 > thresholds.BETA2_TOO_LOW_AT_MOST
    # It may not be long before the loss is infinite, and a low beta2 is soon an average.
    return median_beyond(
        signals,
        "second_moment_flicker",
        thresholds.BETA2_TOO_LOW_FLICKER,
        signals.run.weights_or_matrices,
        np.full(signals.run.step.shape, not high),
        since=2 / (1 - beta2) if beta2 < 1 and not high else signals.settled,
    )


BETA2_TOO_LOW = Rule(
    id="beta2_too_low",
    title="beta2 too low",
    needs=("second_moment_flicker",),
    condition=_beta2_too_low,
    persistence=Persistence(thresholds.BETA2_TOO_LOW_POINTS),
    once=True,
    severity="error",
    message=_beta2_message,
    advice=_beta2_advice,
    reference="Zhang et al. 2022, Adam can converge without any modification on update rules",
    explains=(
        "gradient_spike",
        "loss_blowup",
        "layer_imbalance",
        "lr_too_high",
        "lost_updates",
        "nonfinite",
        "dead_units",
        "plateau",
        "second_moment_underflow",
        "state_reset",
        "stale_second_moment",
        "gradient_scale",
        "bimodal_update",
    ),
)


# --- eps ----------------------------------------------------------------------------------------


def alive_share(signals: Signals, name: str) -> Float64s:
    """Median share of the elements with v > 0 whose √v̂ is small, float64 ``[records]``."""

    def compute(part: slice) -> Float64s:
        matrices = signals.run.weights_or_matrices
        zero = signals.statistic("zero_second_moment_fraction")[part][:, matrices]
        zero = np.where(np.isnan(zero), 0, zero)
        share = (signals.statistic(name)[part][:, matrices] - zero) / (1 - zero)
        return median(share)

    return signals.by_record(("alive share", name), compute)


def _eps_condition(signals: Signals, name: str) -> Condition | str:
    run = signals.run
    if all(run.optimizer_of(int(i)) == "Adadelta" for i in run.weights_or_matrices):
        return "the eps of Adadelta stands under the root, and sets the size of its first steps"
    value, since = alive_share(signals, name), signals.settled
    if not np.isnan(signals.uncorrected_alpha):
        shortest = thresholds.EPS_UNCORRECTED_SHARE / (1 - signals.uncorrected_alpha)
        since = max(since, shortest)
    return Condition(
        run.step,
        (value > thresholds.EPS_DOMINATES_FRACTION) & (run.step > since),
        value,
        thresholds.EPS_DOMINATES_FRACTION,
        since=since,
        blame=lambda record: run.weights_or_matrices[
            signals.statistic(name)[record, run.weights_or_matrices]
            > thresholds.EPS_DOMINATES_FRACTION
        ],
    )


def _eps_advice(e: Evidence) -> str:
    run = e.signals.run
    roots = e.signals.statistic("exp_avg_sq_root")
    record = int(np.searchsorted(run.step, e.worst_step))
    values = roots[record, e.parameters] if e.parameters.size else np.empty(0)
    values = values[np.isfinite(values) & (values > 0)]
    eps = e.signals.hyperparameter_now("eps")
    smaller = "If the gradients are small because the loss is scaled down, scale it back instead."
    if not values.size:
        return f"Lower ε. {smaller}"
    wanted = max(thresholds.EPS_LEAST, decade_below(float(np.median(values)) / 100))
    root = number(float(np.median(values)))
    if not wanted < eps:  # where it is not known, there is nothing to say that it would be lower
        return f"√v̂ is about {root}: see why the gradients are as small. {smaller}"
    return f"Try eps {number(wanted)} instead of {number(eps)}: √v̂ is about {root}. {smaller}"


_EPS_EXPLAINS = ("lr_too_low", "plateau", "bimodal_update", "noise_dominated")

EPS_DOMINATES = Rule(
    id="eps_dominates",
    title="eps dominates the denominator",
    needs=("epsilon_fraction",),
    condition=lambda s: _eps_condition(s, "epsilon_fraction"),
    persistence=Persistence(thresholds.EPS_POINTS),
    severity="error",
    message=lambda e: (
        f"eps is larger than √v̂ in {percent(e.value)} of the elements: there the optimizer is "
        "gradient descent with lr / eps, and no longer adapts."
    ),
    advice=_eps_advice,
    reference="Wortsman et al. 2023, Small-scale proxies for large-scale Transformer instabilities",
    explains=("eps_influences", *_EPS_EXPLAINS),
    once=True,
    uses=("zero_second_moment_fraction", "exp_avg_sq_root"),
)

EPS_INFLUENCES = Rule(
    id="eps_influences",
    title="eps is felt in the denominator",
    needs=("epsilon_10_fraction",),
    condition=lambda s: _eps_condition(s, "epsilon_10_fraction"),
    persistence=Persistence(thresholds.EPS_POINTS),
    severity="warning",
    message=lambda e: (
        f"√v̂ is less than ten times eps in {percent(e.value)} of the elements: eps makes their "
        "steps shorter by 10 % and more."
    ),
    advice=_eps_advice,
    reference="Choi et al. 2019, On empirical comparisons of optimizers for deep learning",
    explains=_EPS_EXPLAINS,
    once=True,
    uses=("zero_second_moment_fraction", "exp_avg_sq_root"),
)


# --- stale --------------------------------------------------------------------------------------


def _stale(signals: Signals) -> Condition:
    weights = signals.run.weights_or_matrices
    some = signals.median("gradient_surprise", weights) > 0
    return median_beyond(
        signals,
        "gradient_surprise",
        thresholds.STALE_SURPRISE,
        weights,
        ~has_converged(signals) & some,
        below=True,
        since=signals.settled,
    )


def _stale_advice(e: Evidence) -> str:
    clip = "Clipping the gradient norm keeps a burst out"
    beta2 = e.signals.hyperparameter_now("beta2")
    if not thresholds.BETA2_FORGETS < beta2 < 1:
        return f"{clip}."
    lower = decay(thresholds.BETA2_FORGETS)
    return f"{clip}, and beta2 {lower} instead of {decay(beta2)} forgets it sooner."


STALE = Rule(
    id="stale_second_moment",
    title="exp_avg_sq remembers larger gradients",
    needs=("gradient_surprise", "loss"),
    condition=_stale,
    persistence=Persistence(thresholds.STALE_POINTS),
    severity="info",
    message=lambda e: (
        f"Gradients {'were' if e.is_over else 'are'} {number(1 / e.value)} times smaller than what "
        f"exp_avg_sq {'remembered' if e.is_over else 'remembers'}, and so "
        f"{'were' if e.is_over else 'are'} the steps. Was there a burst of large gradients before?"
    ),
    advice=_stale_advice,
    reference="Bai et al. 2025, Adaptive preconditioners trigger loss spikes in Adam",
    explains=("converged",),
)
