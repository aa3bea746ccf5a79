"""Are there units that never get a gradient any more?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tb_adam_plugin.arrays import Flags, Indices
from tb_adam_plugin.languages.sentences import joined, say

from ..engine import thresholds
from ..engine.conditions import NONE, each_beyond
from ..engine.idle_rows import IDLE, knows_rows, most_idle, same_rows
from ..engine.recorded_run import is_gates, is_stack, may_be_table
from ..engine.rule import Condition, Evidence, Persistence, Rule, Severity
from ..engine.signals import Signals
from ..engine.wording import named, number, one_digit, percent, step

# Share of rows without any gradient, and the margin for layers with few rows, over √rows: one and a
# half standard deviations of a share. Healthy networks with ReLU: up to 0.5 of 48, and 8 of 12.
DEAD_FRACTION = 0.55
NARROW_MARGIN = 0.75
DEAD_POINTS = 8
# An alarm. Healthy: up to 0.81, harmless, because networks with three quarters of dead units train.
ALARM_FRACTION = 0.9
ALL_DEAD = 0.999
# If the identity of the rows was not recorded: for dead units, the share changes by no more than
# this between the tenth and the ninetieth percentile of a stretch's records. A batch of one sample
# leaves different units idle at each step: 0.13.
STEADY = 0.1


def _dead_units(signals: Signals) -> Condition | None:
    name = _share(signals)
    if name == "dead_row_fraction":
        # A gate that stays shut is a sigmoid far from 0, which no other activation can replace.
        units = [i for i in signals.run.weights if not is_gates(signals.run.parameters[i])]
        parameters = np.array(units, np.intp)
    else:
        # Each element of a bias is one unit.
        parameters = _biases(signals)
    rows = np.array([signals.run.parameters[i].shape[0] for i in parameters])
    most = DEAD_FRACTION + NARROW_MARGIN / np.sqrt(rows)
    # Even in the narrowest layer, this share of dead units is an alarm.
    limits = np.minimum(most, ALL_DEAD).astype(np.float32)
    found = each_beyond(signals, name, DEAD_FRACTION, parameters, limits, signals.settled)
    if found is None or not found.holds.any():
        return found
    chosen = np.asarray(found.parameters)
    holds = found.holds & ~_cut_off(signals, chosen)
    if name == "dead_row_fraction":  # the same rows, not different ones at each step
        holds &= same_rows(signals, chosen, limits[np.searchsorted(parameters, chosen)])
        # Another rule covers experts, and possible codebooks.
        of_chosen = [signals.run.parameters[i] for i in chosen]
        are_units = np.array([not is_stack(p) and not may_be_table(p) for p in of_chosen])
        holds &= are_units | ~knows_rows(signals, chosen)
    return replace(found, holds=holds)


def _cut_off(signals: Signals, parameters: Indices) -> Flags:
    """Where no gradient reaches a parameter from outside, bool ``[records, parameters]``.

    If all units of a layer are dead, the weight after it has no gradient either, because they
    output 0, but its bias has one. If the last weight without any gradient has a bias without one,
    the backward pass ends there: everything before it is frozen, or detached.
    """
    run = signals.run
    nothing = signals.by_record(
        "all zero", lambda part: signals.statistic("zero_gradient_fraction")[part] == 1
    )
    without = nothing[:, run.weights]
    last = without.shape[1] - 1 - without[:, ::-1].argmax(axis=1)
    bias = _bias_after_each_weight(signals)[last]
    ends = without.any(axis=1) & (bias >= 0) & nothing[np.arange(len(nothing)), bias]
    # If nothing has a gradient, another rule reports it.
    ends &= ~without.all(axis=1)
    cut: Flags = ends[:, None] & nothing[:, parameters]
    return cut


def _bias_after_each_weight(signals: Signals) -> Indices:
    """The first bias between each weight and the next, its own or a norm's; -1 if none."""
    biases, weights = _biases(signals), signals.run.weights
    following = np.append(weights[1:], len(signals.run.parameters))
    place = np.searchsorted(biases, weights)
    candidate = np.append(biases, len(signals.run.parameters))[place]
    return np.where(candidate < following, candidate, -1)


def _biases(signals: Signals) -> Indices:
    parameters = signals.run.parameters
    chosen = [len(p.shape) == 1 and p.name.endswith("bias") for p in parameters]
    return np.flatnonzero(chosen)


def _share(signals: Signals) -> str:
    """The statistic that shows how many units have no gradient."""
    return (
        "dead_row_fraction" if signals.is_known("dead_row_fraction") else "zero_gradient_fraction"
    )


def _typical(e: Evidence) -> tuple[float, bool]:
    """The worst parameter's median share between first and last step, and whether it is steady.

    If the identity of the rows is known, it is the share of the same rows.
    """
    same = _same(e)
    typical, steady = _of_worst(e)
    return (typical, steady) if np.isnan(same) else (min(typical, same), True)


def _same(e: Evidence) -> float:
    """Share of the worst parameter's rows that never had a gradient; NaN if not recorded."""
    share = most_idle(e.signals, e.parameters, e.first_step, e.last_step)
    return float(np.fmax.reduce(share, initial=np.nan))


def _of_worst(e: Evidence) -> tuple[float, bool]:
    """The worst parameter's median share over records, and whether it is steady."""
    step = e.signals.run.step
    inside = (step >= e.first_step) & (step <= e.last_step)
    shares = e.signals.values(_share(e.signals), e.parameters)[inside].astype(np.float64)
    shares[~np.isfinite(shares)] = np.nan
    shares = shares[:, ~np.isnan(shares).all(axis=0)]
    if not shares.size:
        return e.value, False
    low, middle, high = np.nanquantile(shares, [0.1, 0.5, 0.9], axis=0)
    worst = int(middle.argmax())
    return float(middle[worst]), bool(high[worst] - low[worst] <= STEADY)


def _is_output(e: Evidence) -> bool:
    """Whether only the last weight is concerned, whose rows are classes or tokens."""
    last = e.signals.run.weights[-1:]
    return bool(e.parameters.size and np.isin(e.parameters, last).all())


def _dead_units_severity(e: Evidence) -> Severity:
    parameters = e.signals.run.parameters
    if all(may_be_table(parameters[i]) for i in e.parameters):
        return "info"  # its rows get a gradient when they are looked up
    typical, steady = _typical(e)
    if typical >= ALL_DEAD:
        return "error"
    return "warning" if steady and typical > ALARM_FRACTION else "info"


def _dead_units_advice(e: Evidence) -> str:
    typical, steady = _typical(e)
    lr = e.signals.usual_lr(NONE, e.first_step)
    smaller: str = "lr / 3"
    if lr > 0:
        wanted = number(one_digit(lr / 3))
        smaller = say("lr {wanted} instead of {lr}", wanted=wanted, lr=number(lr))
    if _dead_units_severity(e) == "info" and typical >= ALL_DEAD:
        return ""
    if _is_output(e) and typical < ALL_DEAD:
        return say(
            "An output gets no gradient where its probability rounds to 0: check whether the "
            "logits are large, and try {smaller}.",
            smaller=smaller,
        )
    if not steady:
        return say(
            "Count over many batches which units never get a gradient. If they are always the "
            "same, try LeakyReLU or GELU, or {smaller}.",
            smaller=smaller,
        )
    return say(
        "Check whether a bias or the learning rate jumped before step {step}. Try LeakyReLU or "
        "GELU, {smaller}, or reinitialize these units.",
        step=step(e.first_step),
        smaller=smaller,
    )


def _dead_units_message(e: Evidence) -> str:
    typical, steady = _typical(e)
    seen: dict[str, str] = {
        "names": named(e.names, e.signals.run.names),
        "first": step(e.first_step),
        "last": step(e.last_step),
        "units": say("rows (outputs, such as classes or tokens)")
        if _is_output(e)
        else say("units"),
    }
    if typical >= ALL_DEAD and e.is_over:
        return say(
            "Up to 100 % of the {units} of {names} got no gradient at all from step {first} to "
            "{last}: they learned nothing in that time. Since then they have gradients again.",
            **seen,
        )
    if typical >= ALL_DEAD:
        return say(
            "Up to 100 % of the {units} of {names} got no gradient at all from step {first} to "
            "{last}: they no longer learn anything.",
            **seen,
        )
    same, share = not np.isnan(_same(e)), percent(typical)
    if len(e.names) > 1:
        share = say("up to {share}", share=share)
    if same:
        found = say(
            "From step {first} to {last}, the same rows of {names} got no gradient at any record: "
            "{share} of the {units}.",
            share=share,
            **seen,
        )
    else:
        found = say(
            "From step {first} to {last}, {share} of the {units} of {names} got no gradient at all "
            "at a typical step; whether these are always the same was not recorded.",
            share=share,
            **seen,
        )
    return joined([found, _what_became_of_them(e, same=same, steady=steady)])


def _what_became_of_them(e: Evidence, *, same: bool, steady: bool) -> str:
    if e.is_over:
        return say("Since then more of them have gradients again.")
    if same:
        return say("They no longer learn anything.")
    if steady:
        return say("The share is steady, as with dead units.")
    return say("The share changes from step to step, as with small batches.")


DEAD_UNITS = Rule(
    id="dead_units",
    title="Dead units",
    question="Are these units dead?",
    needs=(),
    needs_any=("dead_row_fraction", "zero_gradient_fraction"),
    uses=("zero_gradient_fraction", IDLE),
    condition=_dead_units,
    persistence=Persistence(DEAD_POINTS, thresholds.LASTING_STEPS),
    severity=_dead_units_severity,
    message=_dead_units_message,
    advice=_dead_units_advice,
    reference="Lu et al. 2019, Dying ReLU and initialization",
    explains=("eps_dominates", "eps_influences", "plateau", "layer_imbalance", "lr_too_low",
              "vanishing_gradient", "stale_second_moment", "noise_dominated",
              "moved_without_gradient"),
    moves_lr="down",
    symptom=True,
    shows="dead_row_fraction",
)  # fmt: skip
