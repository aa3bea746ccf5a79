"""Are the settings of Adam intended? Exact, and known from the first step."""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.arrays import Indices
from tb_adam_plugin.languages.sentences import say

from ..engine.conditions import all_along
from ..engine.rule import Condition, Evidence, Persistence, Rule
from ..engine.signals import Signals
from ..engine.wording import decay, number

# A gradient's contribution to exp_avg is halved after 34 and 138 steps. Healthy: up to 0.95.
BETA1_ASKS = 0.98
BETA1_ALARM = 0.995
# Half of float16's smallest number: a smaller ε becomes 0.
FLOAT16_SMALLEST_EPS = 2.0**-25


# Optimizers that add weight_decay to the gradient unless an option says otherwise.
_COUPLED = frozenset({"Adam", "NAdam", "RAdam", "Adamax"})


def _groups_where(signals: Signals, chosen: list[bool]) -> Condition | None:
    groups = np.flatnonzero(chosen)
    parameters: Indices = np.flatnonzero(np.isin(signals.run.group_of, groups))
    return all_along(signals, parameters)


def _last(signals: Signals, name: str, group: int) -> float:
    values = signals.run.hyperparameters.get(name)
    if values is None or group >= values.shape[1]:
        return float("nan")
    known = values[:, group][np.isfinite(values[:, group])]
    return float(known[-1]) if known.size else float("nan")


def _coupled_decay(signals: Signals) -> Condition | None:
    return _groups_where(
        signals,
        [
            group.optimizer in _COUPLED
            and not group.options.get("decoupled_weight_decay")
            and _last(signals, "weight_decay", i) > 0
            for i, group in enumerate(signals.run.groups)
        ],
    )


def _coupled_decay_message(e: Evidence) -> str:
    group = int(e.signals.run.group_of[e.parameters[0]])
    decay = _last(e.signals, "weight_decay", group)
    return say(
        "{optimizer} adds weight_decay {decay} to the gradient and divides both by √v̂: weights "
        "with large gradients decay less. Did you mean AdamW?",
        optimizer=e.signals.run.groups[group].optimizer,
        decay=number(decay),
    )


COUPLED_DECAY = Rule(
    id="l2_in_adam",
    title="Weight decay passes through the moments",
    needs=("weight_decay",),
    condition=_coupled_decay,
    persistence=Persistence(),
    severity="info",
    message=_coupled_decay_message,
    advice=lambda e: say(
        "Use AdamW, or decoupled_weight_decay=True, starting with a weight_decay of 0.01 to 0.1: "
        "the same number means something else there."
    ),
    reference="Loshchilov & Hutter 2019, Decoupled weight decay regularization",
    shows="weight_decay_ratio",
)


def _beta1_too_high(signals: Signals) -> Condition | None:
    # In other optimizers, such as Lion, beta1 has another meaning.
    return _groups_where(
        signals,
        [
            BETA1_ASKS < _last(signals, "beta1", i) < 1
            and "exp_avg" in group.storage
            and "Lion" not in group.optimizer
            for i, group in enumerate(signals.run.groups)
        ],
    )


def _beta1(e: Evidence) -> float:
    """The highest beta1 of any group."""
    return max(_last(e.signals, "beta1", int(i)) for i in set(e.signals.run.group_of[e.parameters]))


BETA1_TOO_HIGH = Rule(
    id="beta1_too_high",
    title="beta1 too high",
    question="Is beta1 too high?",
    needs=("beta1",),
    condition=_beta1_too_high,
    persistence=Persistence(),
    severity=lambda e: "warning" if _beta1(e) > BETA1_ALARM else "info",
    message=lambda e: say(
        "beta1 is {beta1}: the contribution of a gradient to exp_avg takes {steps} steps to "
        "halve. By then gradients point elsewhere, and exp_avg cannot turn in time.",
        beta1=decay(_beta1(e)),
        steps=number(np.log(0.5) / np.log(_beta1(e))),
    ),
    advice=lambda e: say("Try beta1 0.9 instead of {beta1}.", beta1=decay(_beta1(e))),
    reference="Kingma & Ba 2015, Adam: A method for stochastic optimization, section 6.4",
    silences_compass=True,
)


def _eps_rounds_to_zero(signals: Signals) -> Condition | None:
    run = signals.run
    half = {p.group for p in run.parameters if p.dtype == "float16"}
    return _groups_where(
        signals,
        [
            i in half
            and group.storage.get("exp_avg_sq") == "float16"
            and not group.options.get("fused")  # it computes in float32
            and _last(signals, "eps", i) <= FLOAT16_SMALLEST_EPS
            for i, group in enumerate(run.groups)
        ],
    )


EPS_ROUNDS_TO_ZERO = Rule(
    id="eps_rounds_to_zero",
    title="eps is 0 in float16",
    needs=("eps",),
    condition=_eps_rounds_to_zero,
    persistence=Persistence(),
    severity="error",
    message=lambda e: say(
        "eps {eps} is less than half of the smallest float16 number, and the state is stored in "
        "float16: where exp_avg_sq underflows, the step divides by 0.",
        eps=number(_last(e.signals, "eps", int(e.signals.run.group_of[e.parameters[0]]))),
    ),
    advice=lambda e: say(
        "Keep weights and state in float32 and compute under torch.autocast; as a stopgap use eps "
        "1e-4 or fused=True."
    ),
    reference="Micikevicius et al. 2018, Mixed precision training",
    explains=("nonfinite", "second_moment_underflow", "plateau", "loss_blowup"),
    silences_compass=True,
)
