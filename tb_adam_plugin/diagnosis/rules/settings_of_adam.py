"""Rules that look at what was set up, not at how it went: exact, and known from the first step."""

from __future__ import annotations

import numpy as np

from ..engine import thresholds
from ..engine.conditions import all_along
from ..engine.recorded_run import Indices
from ..engine.rule import Condition, Evidence, Persistence, Rule, Severity
from ..engine.signals import Signals
from ..engine.wording import decay, named, number, step

# Optimizers whose weight_decay is added to the gradient unless an option says otherwise.
_COUPLED = frozenset({"Adam", "NAdam", "RAdam", "Adamax"})


def _unoptimized(signals: Signals, *, trainable: bool) -> tuple[str, ...]:
    """Of the parameters that no group holds, and no other optimizer."""
    return tuple(
        u.name
        for u in signals.run.unoptimized
        if u.trainable == trainable and not u.other_optimizer
    )


NOT_IN_OPTIMIZER = Rule(
    id="not_in_optimizer",
    title="Trainable parameters are in no group",
    needs=("step",),
    condition=lambda s: all_along(s, names=_unoptimized(s, trainable=True)),
    persistence=Persistence(),
    severity="warning",
    message=lambda e: (
        f"{named(e.names)}: requires_grad is True, and no parameter group of this optimizer holds "
        "it, so that no step of it changes it."
    ),
    advice=lambda e: (
        "Add it to the optimizer. If another optimizer updates it, or none is meant to, set "
        "requires_grad_(False) or ignore this."
    ),
    reference="",
    explains=("plateau",),
)


def _resting(signals: Signals) -> tuple[str, ...]:
    return tuple(signals.run.names[i] for i in signals.run.resting)


def _frozen_message(e: Evidence) -> str:
    resting = _resting(e.signals)
    untrainable = [name for name in e.names if name not in set(resting)]
    parts = [f"{named(untrainable)}: requires_grad is False."] if untrainable else []
    if resting:
        names = named(resting, e.signals.run.names)
        parts.append(f"{names}: the learning rate of the group is 0 at every record.")
    return f"{' '.join(parts)} Is that meant?"


def _frozen_severity(e: Evidence) -> Severity:
    """A question, unless nothing moves at all."""
    return "warning" if e.signals.run.resting.size == len(e.signals.run.parameters) else "info"


FROZEN_PARAMETERS = Rule(
    id="frozen",
    title="Some parameters are frozen",
    needs=("step",),
    condition=lambda s: all_along(s, names=_unoptimized(s, trainable=False) + _resting(s)),
    persistence=Persistence(),
    severity=_frozen_severity,
    message=_frozen_message,
    advice=lambda e: "",
    reference="",
    uses=("lr",),
)


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
    return (
        f"weight_decay {number(decay)} of {e.signals.run.groups[group].optimizer} is added to the "
        "gradient and divided by √v̂ with it: weights with large gradients decay less. Was AdamW "
        "meant?"
    )


COUPLED_DECAY = Rule(
    id="l2_in_adam",
    title="Weight decay passes through the moments",
    needs=("weight_decay",),
    condition=_coupled_decay,
    persistence=Persistence(),
    severity="info",
    message=_coupled_decay_message,
    advice=lambda e: (
        "AdamW, or decoupled_weight_decay=True, with a weight_decay of 0.01 to 0.1 to begin with: "
        "the two are not the same number."
    ),
    reference="Loshchilov & Hutter 2019, Decoupled weight decay regularization",
)


def _beta1_too_high(signals: Signals) -> Condition | None:
    # What is called beta1 elsewhere does something else, Lion's among them.
    return _groups_where(
        signals,
        [
            thresholds.BETA1_TOO_HIGH_ASKS < _last(signals, "beta1", i) < 1
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
    severity=lambda e: "warning" if _beta1(e) > thresholds.BETA1_TOO_HIGH else "info",
    message=lambda e: (
        f"beta1 is {decay(_beta1(e))}: what a gradient adds to exp_avg is halved only after "
        f"{number(np.log(0.5) / np.log(_beta1(e)))} steps. By then gradients point elsewhere, and "
        "exp_avg cannot turn in time."
    ),
    advice=lambda e: f"Try beta1 0.9 instead of {decay(_beta1(e))}.",
    reference="Kingma & Ba 2015, Adam: A method for stochastic optimization, section 6.4",
)


def _eps_rounds_to_zero(signals: Signals) -> Condition | None:
    run = signals.run
    half = {p.group for p in run.parameters if p.dtype == "float16"}
    return _groups_where(
        signals,
        [
            i in half
            and group.storage.get("exp_avg_sq") == "float16"
            and not group.options.get("fused")  # which computes in float32
            and _last(signals, "eps", i) <= thresholds.FLOAT16_SMALLEST_EPS
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
    message=lambda e: (
        f"eps {number(_last(e.signals, 'eps', int(e.signals.run.group_of[e.parameters[0]])))} is "
        "less than half of the smallest float16 number, and the state is stored in float16: where "
        "exp_avg_sq underflows the step divides by 0."
    ),
    advice=lambda e: (
        "Keep weights and state in float32 and compute under torch.autocast; or eps 1e-4 as a "
        "stopgap, or fused=True."
    ),
    reference="Micikevicius et al. 2018, Mixed precision training",
    explains=("nonfinite", "second_moment_underflow", "plateau", "loss_blowup"),
)


def _type_changes(signals: Signals) -> list[tuple[float, str, Indices]]:
    """Steps at which a stored type changed, what changed, and of which parameters."""
    run = signals.run
    place = {name: i for i, name in enumerate(run.names)}
    changes = []
    for (_, old), (start, new) in zip(run.layouts, run.layouts[1:], strict=False):
        before = {p.name: (p.dtype, old.groups[p.group].storage) for p in old.parameters}
        texts: dict[str, list[int]] = {}
        for p in new.parameters:
            if p.name not in before or p.name not in place:
                continue
            dtype, storage = before[p.name]
            pairs = [("weights", dtype, p.dtype)] + [
                (key, storage[key], now)
                for key, now in new.groups[p.group].storage.items()
                if key in storage
            ]
            for what, was, now in pairs:
                if was != now:
                    texts.setdefault(f"{what} from {was} to {now}", []).append(place[p.name])
        changes += [(start, text, np.array(rows, np.intp)) for text, rows in texts.items()]
    return changes


def _type_changed(signals: Signals) -> Condition | None:
    changes = _type_changes(signals)
    if not changes:
        return None
    steps = np.unique(np.array([start for start, _, _ in changes], np.float64))

    def blame(point: int) -> Indices:
        return np.unique(np.concatenate([r for s, _, r in changes if s == steps[point]]))

    ones = np.ones(steps.shape)
    return Condition(steps, ones > 0, ones, 0.0, blame=blame)


def _type_changed_message(e: Evidence) -> str:
    texts = [t for s, t, _ in _type_changes(e.signals) if s == e.worst_step]
    return (
        f"At step {step(e.worst_step)} the stored type changed: {', '.join(dict.fromkeys(texts))} "
        f"({named(e.names, e.signals.run.names)}). load_state_dict casts the state to the type of "
        "the weights."
    )


TYPE_CHANGED = Rule(
    id="state_type_changed",
    title="The type of weights or state changed",
    needs=("step",),
    condition=_type_changed,
    persistence=Persistence(),
    severity="warning",
    message=_type_changed_message,
    advice=lambda e: (
        "Give the model its type before the optimizer is made and its state is loaded, the same as "
        "when the checkpoint was written."
    ),
    reference="",
    explains=("second_moment_underflow", "second_moment_frozen", "lost_updates", "nonfinite"),
)


def _not_counted(signals: Signals) -> Condition | None:
    """Parameters with a gradient whose state counts no step between two records."""
    run = signals.run
    still = signals.by_record(
        "stands still",
        lambda part: (
            (signals.change("state_step", part) == 0)
            & (signals.statistic("zero_gradient_fraction")[part] < 1)
        ),
    )
    some = np.flatnonzero(still.any(axis=0))
    counts = signals.statistic("state_step")[:, some]
    known = np.arange(run.step.size) > 0
    return Condition(run.step, still[:, some], counts, 0.0, some, known=known)


NOT_COUNTED = Rule(
    id="step_not_counted",
    title="The optimizer's step counter stands still",
    needs=("state_step", "zero_gradient_fraction"),
    condition=_not_counted,
    persistence=Persistence(2),
    severity="warning",
    message=lambda e: (
        f"{named(e.names, e.signals.run.names)}: the state's step stays at {number(e.value)} while "
        "steps are taken, so that the bias correction, and the size of the steps, is wrong."
    ),
    advice=lambda e: (
        "Look for a step tensor shared between parameters, replaced by load_state_dict, or a state "
        "restored before every step."
    ),
    reference="",
    explains=("lr_too_high", "lr_too_low"),
)
