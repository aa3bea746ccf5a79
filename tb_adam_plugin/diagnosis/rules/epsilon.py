"""Is eps noticeable in the denominator?"""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.languages.sentences import joined, say

from ..engine import thresholds
from ..engine.moments import alive_share
from ..engine.rule import Condition, Evidence, Persistence, Rule
from ..engine.signals import Signals
from ..engine.wording import decade_below, number, percent

# Smallest ε that is advised.
LEAST_EPS = 1e-12
# Number of consecutive windows with more than SHARE_BELOW_EPS of the elements near ε.
EPS_POINTS = 5
# Without bias correction v is too small at first: √v is 0.6 of its later value after this share of
# 1/(1 - alpha) steps.
UNCORRECTED_SHARE = 0.5


def _eps_condition(signals: Signals, name: str) -> Condition | str:
    run = signals.run
    if all(run.optimizer_of(int(i)) == "Adadelta" for i in run.weights_or_matrices):
        return say("Adadelta adds eps under the root, where it sets the size of its first steps")
    value, since = alive_share(signals, name), signals.settled
    if not np.isnan(signals.uncorrected_alpha):
        shortest = UNCORRECTED_SHARE / (1 - signals.uncorrected_alpha)
        since = max(since, shortest)
    return Condition(
        run.step,
        (value > thresholds.SHARE_BELOW_EPS) & (run.step > since),
        value,
        thresholds.SHARE_BELOW_EPS,
        since=since,
        blame=lambda record: run.weights_or_matrices[
            signals.statistic(name)[record, run.weights_or_matrices] > thresholds.SHARE_BELOW_EPS
        ],
        compared=name,
    )


def _eps_advice(e: Evidence) -> str:
    roots = e.signals.statistic("exp_avg_sq_root")
    record = e.worst_record
    values = roots[record, e.parameters] if e.parameters.size else np.empty(0)
    values = values[np.isfinite(values) & (values > 0)]
    eps = e.signals.hyperparameter_now("eps")
    back = say("If gradients are small because the loss is scaled down, scale it back instead.")
    if not values.size:
        return joined([say("Lower ε."), back])
    wanted = max(LEAST_EPS, decade_below(float(np.median(values)) / 100))
    root = number(float(np.median(values)))
    if not wanted < eps:  # if unknown, lower cannot be advised
        return joined(
            [say("√v̂ is about {root}: find out why gradients are so small.", root=root), back]
        )
    tried = say(
        "Try eps {wanted} instead of {eps}: √v̂ is about {root}.",
        wanted=number(wanted),
        eps=number(eps),
        root=root,
    )
    return joined([tried, back])


_EPS_EXPLAINS = ("lr_too_low", "plateau", "bimodal_update", "noise_dominated")


EPS_DOMINATES = Rule(
    id="eps_dominates",
    title="eps dominates the denominator",
    needs=("epsilon_fraction",),
    condition=lambda s: _eps_condition(s, "epsilon_fraction"),
    persistence=Persistence(EPS_POINTS),
    severity="error",
    message=lambda e: say(
        "eps is larger than √v̂ in {share} of the elements: there the optimizer is gradient descent "
        "with lr / eps, and no longer adapts.",
        share=percent(e.value),
    ),
    advice=_eps_advice,
    reference=(
        "Wortsman et al. 2023, Small-scale proxies for large-scale Transformer training "
        "instabilities"
    ),
    explains=("eps_influences", *_EPS_EXPLAINS),
    once=True,
    uses=("zero_second_moment_fraction", "exp_avg_sq_root"),
    silences_compass=True,
)


EPS_INFLUENCES = Rule(
    id="eps_influences",
    title="eps noticeably shortens the steps",
    needs=("epsilon_10_fraction",),
    condition=lambda s: _eps_condition(s, "epsilon_10_fraction"),
    persistence=Persistence(EPS_POINTS),
    severity="warning",
    message=lambda e: say(
        "√v̂ is less than ten times eps in {share} of the elements: eps shortens their steps by "
        "10 % or more.",
        share=percent(e.value),
    ),
    advice=_eps_advice,
    reference="Choi et al. 2019, On empirical comparisons of optimizers for deep learning",
    explains=_EPS_EXPLAINS,
    once=True,
    uses=("zero_second_moment_fraction", "exp_avg_sq_root"),
    silences_compass=True,
)
