"""Rules about weights: their first scale, decay, rounding, balance, units and rows at rest."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ..engine import thresholds
from ..engine.conditions import NONE, RESUMED, all_along, each_beyond, median_beyond
from ..engine.recorded_run import Flags, Float64s, Indices, Values, is_gates, may_be_table
from ..engine.rule import Condition, Evidence, Persistence, Rule, Severity
from ..engine.signals import Signals, has_converged, is_settled, median, median_of_all
from ..engine.windows import count_windows
from ..engine.wording import counted, named, number, one_digit, percent, step

# --- first scale --------------------------------------------------------------------------------


def _first_scale(signals: Signals, threshold: float, *, below: bool) -> Condition | str | None:
    scales = signals.first_scales
    if scales is None or np.isnan(scales).all():
        resumed = signals.run.first_step > thresholds.FIRST_STEP
        return RESUMED if resumed and signals.run.weights.size else None
    middle = np.array([median_of_all(scales)])
    chosen = scales < threshold if below else scales > threshold
    return Condition(
        signals.run.step[:1],
        middle < threshold if below else middle > threshold,
        middle,
        threshold,
        lowest_is_worst=below,
        blame=lambda _: signals.run.weights[chosen],
    )


def _arrives(e: Evidence) -> bool:
    """Whether the loss feels the first weights as it usually does, however small they are."""
    first = e.signals.median("elasticity", e.signals.run.weights_or_matrices)[:1]
    return bool((first > thresholds.INIT_ARRIVES).any())


def _trains(e: Evidence) -> bool:
    """Whether weights that are not far too small train: the loss has clearly fallen."""
    loss = e.signals.smooth_loss[-1:]
    fell = loss < thresholds.PLATEAU_LOSS_SHARE * e.signals.starting_loss
    return e.value > thresholds.INIT_MAY_TRAIN and bool(fell.any())


def _init_too_small_message(e: Evidence) -> str:
    seen = (
        f"A typical weight matrix starts with RMS · √fan-in = {number(e.value)}, where 0.6 to 1.4 "
        "is usual"
    )
    if _arrives(e):
        return (
            f"{seen}, and the loss feels it all the same. Is that meant, as in networks of sines?"
        )
    if _trains(e):
        return (
            f"{seen}, and the loss falls all the same. Is that meant, as of a narrow network that "
            "begins as GPT-2 does (std 0.02, less at the end of residual branches)?"
        )
    return f"{seen}: signals and gradients shrink from layer to layer."


INIT_TOO_SMALL = Rule(
    id="init_too_small",
    title="Initial weights too small",
    question="Are the initial weights meant to be small?",
    needs=("weight_rms",),
    uses=("elasticity", "loss"),
    condition=lambda s: _first_scale(s, thresholds.INIT_TOO_SMALL, below=True),
    persistence=Persistence(),
    severity=lambda e: "info" if _arrives(e) or _trains(e) else "error",
    message=_init_too_small_message,
    advice=lambda e: (
        ""
        if _arrives(e) or _trains(e)
        else "Initialize with std = gain / √fan-in (He: gain 1.4 for ReLU; Xavier: 1). Only the "
        "last layer of a residual branch may start at zero."
    ),
    reference="He et al. 2015, Delving deep into rectifiers",
    explains=(
        "lr_too_high", "vanishing_gradient", "dead_units", "plateau", "layer_imbalance",
        "eps_dominates", "eps_influences", "noise_dominated", "gradient_spike", "lr_too_low",
    ),
)  # fmt: skip


def _init_too_large(signals: Signals) -> Condition | str | None:
    run = signals.run
    found = _first_scale(signals, thresholds.INIT_TOO_LARGE, below=False)
    if not isinstance(found, Condition):
        return found
    # Of a large fan-in the product is large for the usual standard deviation.
    first = signals.statistic("weight_rms")[0, run.weights]
    if not median_of_all(first) > thresholds.INIT_USUAL_STD:
        return None
    # Trained weights have a few that are far larger than the rest; drawn ones do not.
    outliers = median_of_all(
        signals.statistic("weight_absmax")[0, run.weights]
        / signals.statistic("weight_rms")[0, run.weights]
    )
    return None if outliers > thresholds.INIT_LARGEST_OF_UNTRAINED else found


def _init_too_large_message(e: Evidence) -> str:
    loss = e.signals.first_loss
    starts = f" The loss starts at {number(loss)}." if loss == loss else ""
    return (
        f"A typical weight matrix starts with RMS · √fan-in = {number(e.value)}, where 0.6 to 1.4 "
        f"is usual: signals grow from layer to layer.{starts}"
    )


INIT_TOO_LARGE = Rule(
    id="init_too_large",
    title="Initial weights too large",
    needs=("weight_rms",),
    condition=_init_too_large,
    persistence=Persistence(),
    severity="error",
    message=_init_too_large_message,
    advice=lambda e: (
        f"Divide the initial weights by {number(e.value)}: std = gain / √fan-in "
        "(He: gain 1.4 for ReLU; Xavier: 1). Another learning rate does not cure it."
        if math.isfinite(e.value)
        else "Initialize with std = gain / √fan-in (He: gain 1.4 for ReLU; Xavier: 1)."
    ),
    reference="Hanin & Rolnick 2018, How to start training",
    explains=(
        "loss_blowup", "nonfinite", "gradient_scale", "dead_units", "gradient_spike", "lr_too_low",
        "vanishing_gradient", "layer_imbalance", "stale_second_moment", "plateau",
    ),
    uses=("weight_absmax",),
)  # fmt: skip


# --- rounding -----------------------------------------------------------------------------------

_HALF = ("float16", "bfloat16")


def _lost_updates(signals: Signals) -> Condition:
    matrices = signals.run.weights_or_matrices
    # Without gradients exp_avg fades away, and what is left of it is nothing to lose.
    faded = (
        signals.median("zero_gradient_fraction", matrices) > thresholds.LOST_UPDATES_ZERO_GRADIENTS
    )
    types = [signals.run.parameters[i].dtype in _HALF for i in matrices]
    half = 2 * sum(types) > len(types)
    threshold = thresholds.LOST_UPDATES_FRACTION_HALF if half else thresholds.LOST_UPDATES_FRACTION
    # Where a schedule has ended updates are as small as it made them.
    lr = signals.at_records(signals.lr)
    ended = (lr < thresholds.LR_DECAYED_TO * signals.peak_lr) | (lr == 0)
    return median_beyond(signals, "lost_update_fraction", threshold, matrices, ~faded & ~ended)


def _types(e: Evidence) -> str:
    types = {e.signals.run.parameters[i].dtype for i in e.parameters}
    return ", ".join(sorted(types)) or "stored"


def _lost_updates_advice(e: Evidence) -> str:
    if "float16" in _types(e):
        return (
            "Keep the weights in float32 and compute in half precision (torch.autocast), or round "
            "stochastically. A higher learning rate is not the cure."
        )
    lr, peak = e.signals.lr_of(e.parameters, e.worst_step), e.signals.usual_lr(NONE, e.worst_step)
    small = "The steps are below the precision of the weights"
    if lr < thresholds.NEAR_PEAK * peak:
        return f"{small}: end the schedule at a learning rate above {number(lr)}."
    return f"{small}: raise lr from {number(lr)}." if lr > 0 else f"{small}."


LOST_UPDATES = Rule(
    id="lost_updates",
    title="Updates are lost to rounding",
    needs=("lost_update_fraction",),
    condition=_lost_updates,
    persistence=Persistence(thresholds.LOST_UPDATES_POINTS),
    severity=lambda e: "error" if e.value > thresholds.LOST_UPDATES_FRACTION else "warning",
    message=lambda e: (
        f"{percent(e.value)} of the changes that the optimizer asks for are smaller than half the "
        f"distance between neighbouring {_types(e)} numbers: the weight stays as it was."
    ),
    advice=_lost_updates_advice,
    reference="Zamirai et al. 2020, Revisiting BFloat16 training",
    explains=("lr_too_low", "plateau", "second_moment_frozen", "layer_imbalance",
              "noise_dominated", "bimodal_update"),
    uses=("zero_gradient_fraction",),
    once=True,
)  # fmt: skip


# --- weight decay -------------------------------------------------------------------------------


def _decays_apart(signals: Signals, group: int) -> bool:
    """Whether the weight decay of a group does not pass through the gradient."""
    of = signals.run.groups[group]
    return bool(of.options.get("decoupled_weight_decay")) or "AdamW" in of.optimizer


def _taken_at_a_step(signals: Signals) -> Float64s:
    """Lr · weight_decay, float64 ``[records, groups]``; NaN where decay is not decoupled."""
    run = signals.run
    lr, decay = run.hyperparameters.get("lr"), run.hyperparameters.get("weight_decay")
    if lr is None or decay is None or lr.shape != decay.shape:
        return np.full((run.step.size, len(run.groups)), np.nan)
    apart = [g < len(run.groups) and _decays_apart(signals, g) for g in range(lr.shape[1])]
    return np.where(apart, lr * decay, np.nan)


def _overshooting(signals: Signals) -> Condition | None:
    run, taken = signals.run, _taken_at_a_step(signals)
    used = np.isin(np.arange(taken.shape[1]), run.group_of)
    beyond = (taken > thresholds.WEIGHT_DECAY_OVERSHOOTS) & np.isfinite(taken) & used
    if not taken.size:
        return None

    def blame(record: int) -> Indices:
        return np.flatnonzero(np.isin(run.group_of, np.flatnonzero(beyond[record])))

    most = np.where(beyond, taken, 0.0).max(axis=1)
    known = np.ones(run.step.shape, bool)
    return Condition(
        run.step,
        np.asarray(beyond.any(axis=1)),
        most,
        thresholds.WEIGHT_DECAY_OVERSHOOTS,
        blame=blame,
        known=known,
    )


def _overshooting_group(e: Evidence) -> tuple[float, float]:
    """The learning rate and the weight decay where it is worst."""
    run, group = e.signals.run, int(e.signals.run.group_of[e.parameters[0]])
    record = int(np.searchsorted(run.step, e.worst_step))
    values = (run.hyperparameters[name][record, group] for name in ("lr", "weight_decay"))
    lr, decay = map(float, values)
    return lr, decay


def _overshooting_message(e: Evidence) -> str:
    lr, decay = _overshooting_group(e)
    follows = (
        "grow" if e.value > 2 * thresholds.WEIGHT_DECAY_OVERSHOOTS else "forget what they hold"
    )
    return (
        f"Whatever the gradient, each step multiplies {named(e.names, e.signals.run.names)} by "
        f"1 - lr · weight_decay = 1 - {number(lr)} · {number(decay)} = {number(1 - e.value)}: "
        f"weights change sign at every step, and {follows}."
    )


def _overshooting_advice(e: Evidence) -> str:
    lr, decay = _overshooting_group(e)
    low, high = thresholds.WEIGHT_DECAY_USUAL
    if decay <= high:
        return f"Lower the learning rate ({number(lr)}): lr · weight_decay has to be far below 1."
    return (
        f"Try a weight_decay of {number(low)} to {number(high)}: lr · weight_decay, which a step "
        "takes of a weight, has to be far below 1."
    )


WEIGHT_DECAY_OVERSHOOTS = Rule(
    id="weight_decay_overshoots",
    title="Weight decay overshoots",
    needs=("weight_decay", "lr"),
    condition=_overshooting,
    persistence=Persistence(),
    once=True,
    severity="error",
    message=_overshooting_message,
    advice=_overshooting_advice,
    reference="Loshchilov & Hutter 2019, Decoupled weight decay regularization",
    explains=(
        "weight_decay_too_strong", "gradient_spike", "loss_blowup", "nonfinite", "lr_too_high",
        "lr_too_low", "plateau", "noise_dominated", "dead_units", "vanishing_gradient",
        "eps_dominates", "eps_influences", "stale_second_moment", "layer_imbalance",
        "init_too_large", "gradient_scale", "lost_updates", "bimodal_update", "gain_ratio_low",
        "second_moment_frozen", "second_moment_underflow", "clip_always", "converged",
        "beta2_too_low",
    ),
)  # fmt: skip


def _weight_decay(signals: Signals) -> Condition | None:
    run = signals.run
    decaying = _decaying(signals)
    if not decaying:
        return None
    threshold = thresholds.WEIGHT_DECAY_RATIO
    parts = [_decay_of(signals, parameters) for parameters in decaying]
    ratio = np.fmax.reduce(parts)
    parameters = np.concatenate(decaying)

    def blame(record: int) -> Indices:
        row = signals.statistic("weight_decay_ratio")[record, parameters]
        strong: Indices = parameters[row > threshold]
        return strong

    holds = (ratio > threshold) & is_settled(signals) & ~has_converged(signals)
    known = np.ones(run.step.shape, bool)
    return Condition(
        run.step, holds, ratio, threshold, blame=blame, since=signals.settled, known=known
    )


def _decaying(signals: Signals) -> list[Indices]:
    """Matrices of the groups that decay alike; all parameters of those without a matrix."""
    run = signals.run
    decay = run.hyperparameters.get("weight_decay")
    if decay is None or not decay.size:
        return []
    largest = np.fmax.reduce(decay, axis=0)
    alike = [
        np.flatnonzero(np.isin(run.group_of, np.flatnonzero(largest == d)))
        for d in np.unique(largest[largest > 0])
    ]
    matrices = run.weights_or_matrices
    chosen = [np.intersect1d(parameters, matrices) for parameters in alike]
    return [m if m.size else p for m, p in zip(chosen, alike, strict=True) if p.size]


def _decay_of(signals: Signals, parameters: Indices) -> Float64s:
    """Median weight decay against the update, float64 ``[records]``; NaN where it is no fault."""
    run, taken = signals.run, _taken_at_a_step(signals)

    def compute(part: slice) -> Float64s:
        ratio = signals.statistic("weight_decay_ratio")[part][:, parameters]
        zero = signals.statistic("zero_gradient_fraction")[part][:, parameters]
        # Without a gradient decay is all there is; one that overshoots does not shrink anything.
        beyond = taken[part][:, run.group_of[parameters]] > thresholds.WEIGHT_DECAY_OVERSHOOTS
        return median(np.where((zero < 1) & ~beyond, ratio, np.nan))

    ratio = signals.by_record(("decay", parameters.tobytes()), compute)
    if not signals.is_known("epsilon_fraction"):
        return ratio
    # Where eps makes the rest of the update small, eps is what to change.
    small = signals.median("epsilon_fraction", parameters) > thresholds.EPS_DOMINATES_FRACTION
    return np.where(small, np.nan, ratio)


def _alignment(e: Evidence) -> float:
    """Median |cos(update, weight)| where decay was strongest; 1 if the update is decay alone."""
    record = int(np.searchsorted(e.signals.run.step, e.worst_step))
    cosines = np.abs(e.signals.statistic("update_weight_cosine")[record, e.parameters])
    return float(np.median(cosines)) if cosines.size else float("nan")


def _weight_decay_severity(e: Evidence) -> Severity:
    return "error" if _alignment(e) > thresholds.WEIGHT_DECAY_COSINE else "warning"


def _is_decoupled(e: Evidence) -> bool:
    first = int(e.parameters[0]) if e.parameters.size else 0
    return _decays_apart(e.signals, int(e.signals.run.group_of[first]))


def _weight_decay_message(e: Evidence) -> str:
    of = "the rest of the update" if _is_decoupled(e) else "the gradient"
    seen = f"Weight decay is {number(e.value)} times {of} (step {step(e.worst_step)})"
    if not _alignment(e) <= thresholds.WEIGHT_DECAY_COSINE:
        return f"{seen}: the update mainly shrinks the weights."
    # Both balance, and the update is not along the weights.
    group = int(e.signals.run.group_of[e.parameters[0]]) if e.parameters.size else 0
    record = int(np.searchsorted(e.signals.run.step, e.worst_step))
    taken = float(_taken_at_a_step(e.signals)[record, group])
    if 0 < taken <= 1:
        return f"{seen}: what a step adds is gone again after about {number(1 / taken)} steps."
    return f"{seen}: it takes away again what training adds."


def _weight_decay_advice(e: Evidence) -> str:
    run = e.signals.run
    group = int(run.group_of[e.parameters[0]]) if e.parameters.size else 0
    decay = run.hyperparameters["weight_decay"][:, group]
    now = float(decay[np.isfinite(decay)][-1:].sum())
    factor = e.value / thresholds.WEIGHT_DECAY_TARGET_RATIO
    if not factor <= thresholds.WEIGHT_DECAY_MOST_FACTOR or not 0 < now < math.inf:
        return "Try a tenth of the weight_decay."
    wanted = one_digit(now / factor)
    advice = (
        f"Try weight_decay {number(wanted)} instead of {number(now)}: decay / update "
        f"{number(e.value)} → about {number(e.value * wanted / now)}."
    )
    if _is_decoupled(e):
        lr = e.signals.usual_lr(e.parameters, e.worst_step)
        if lr > 0 and wanted > 0:
            scale = float(np.sqrt(lr / (2 * wanted)))
            advice += f" Weights then settle at an RMS of about √(lr / 2 wd) = {number(scale)}."
    elif run.optimizer_of(int(e.parameters[0]) if e.parameters.size else 0).startswith("Adam"):
        advice += " Or use AdamW, whose decay does not pass through the moments."
    return advice


WEIGHT_DECAY = Rule(
    id="weight_decay_too_strong",
    title="Weight decay too strong",
    needs=("weight_decay_ratio", "weight_decay", "zero_gradient_fraction"),
    condition=_weight_decay,
    persistence=Persistence(thresholds.WEIGHT_DECAY_POINTS),
    severity=_weight_decay_severity,
    message=_weight_decay_message,
    advice=_weight_decay_advice,
    reference=(
        "Kosson et al. 2023, Rotational equilibrium; "
        "Loshchilov & Hutter 2019, Decoupled weight decay regularization"
    ),
    explains=("plateau", "lr_too_low", "vanishing_gradient", "noise_dominated", "dead_units",
              "eps_dominates", "eps_influences", "stale_second_moment"),
    uses=("update_weight_cosine", "epsilon_fraction"),
    once=True,
)  # fmt: skip


# --- balance ------------------------------------------------------------------------------------


def _imbalance(signals: Signals) -> Condition | None:
    run = signals.run
    weights = signals.started_weights
    if weights.size < thresholds.IMBALANCE_LEAST_WEIGHTS:
        return None

    def compute(part: slice) -> Values:
        ratio = signals.statistic("update_to_weight_ratio")[part][:, weights]
        zero = signals.statistic("zero_gradient_fraction")[part][:, weights]
        moves = (zero < 1) & (ratio > 0) & np.isfinite(ratio)
        ratio = np.where(moves, ratio, np.nan).astype(np.float32)
        relative = ratio / median(ratio)[:, None]
        factor: Values = np.maximum(relative, 1 / relative).astype(np.float32)
        return factor

    factor = signals.by_record(("imbalance", weights.tobytes()), compute)
    return Condition(
        run.step,
        factor > thresholds.IMBALANCE_FACTOR,
        factor,
        thresholds.IMBALANCE_FACTOR,
        weights,
    )


def _imbalance_message(e: Evidence) -> str:
    signals = e.signals
    record = int(np.searchsorted(signals.run.step, e.worst_step))
    ratios = signals.statistic("update_to_weight_ratio")[record]
    typical = float(signals.median("update_to_weight_ratio", signals.started_weights)[record])
    faster = median_of_all(ratios[e.parameters]) > typical
    return (
        f"{named(e.names, signals.run.names)}: moves {number(e.value)} times "
        f"{'faster' if faster else 'slower'} than a typical weight, relative to its size "
        f"(step {step(e.worst_step)}, where the median ratio is {number(typical)})."
    )


def _imbalance_advice(e: Evidence) -> str:
    lr = e.signals.lr_of(e.parameters, e.worst_step)
    now = f" ({number(lr)})" if math.isfinite(lr) else ""
    return (
        f"Compare the learning rate of its group{now} with the others', and its initial scale; a "
        "learning rate of its own for this layer may be right."
    )


LAYER_IMBALANCE = Rule(
    id="layer_imbalance",
    title="Does one layer move at another speed?",
    needs=("update_to_weight_ratio", "zero_gradient_fraction"),
    condition=_imbalance,
    persistence=Persistence(thresholds.IMBALANCE_POINTS),
    severity="info",
    message=_imbalance_message,
    advice=_imbalance_advice,
    reference="You et al. 2017, Large batch training of convolutional networks",
    uses=("weight_rms",),
)


# --- at rest ------------------------------------------------------------------------------------


def _dead_units(signals: Signals) -> Condition | None:
    if signals.is_known("dead_row_fraction"):
        # A gate that stays shut is a sigmoid far from 0, which no other activation can replace.
        units = [i for i in signals.run.weights if not is_gates(signals.run.parameters[i])]
        name, parameters = "dead_row_fraction", np.array(units, np.intp)
    else:
        # One element of a bias is one unit.
        name, parameters = "zero_gradient_fraction", _biases(signals)
    rows = np.array([signals.run.parameters[i].shape[0] for i in parameters])
    most = thresholds.DEAD_UNITS_FRACTION + thresholds.DEAD_UNITS_MARGIN / np.sqrt(rows)
    # No layer is so narrow that all of its units may be dead.
    limits = np.minimum(most, thresholds.ALL_DEAD).astype(np.float32)
    return each_beyond(
        signals, name, thresholds.DEAD_UNITS_FRACTION, parameters, limits, signals.settled
    )


def _biases(signals: Signals) -> Indices:
    parameters = signals.run.parameters
    chosen = [len(p.shape) == 1 and p.name.endswith("bias") for p in parameters]
    return np.flatnonzero(chosen)


def _dead_units_severity(e: Evidence) -> Severity:
    parameters = e.signals.run.parameters
    if all(may_be_table(parameters[i]) for i in e.parameters):
        return "info"  # whose rows have a gradient where they are looked up
    if e.value >= thresholds.ALL_DEAD:
        return "error"
    return "warning" if e.value > thresholds.DEAD_UNITS_MOST else "info"


def _dead_units_advice(e: Evidence) -> str:
    lr = e.signals.usual_lr(NONE, e.first_step)
    smaller = f"lr {number(one_digit(lr / 3))} instead of {number(lr)}" if lr > 0 else "lr / 3"
    if _dead_units_severity(e) == "info" and e.value >= thresholds.ALL_DEAD:
        return ""
    return (
        f"See whether a bias or the learning rate jumped before step {step(e.first_step)}. Try "
        f"LeakyReLU or GELU, {smaller}, or initialize these units again."
    )


def _dead_units_message(e: Evidence) -> str:
    after = (
        "they learned nothing meanwhile. Since then they have gradients again."
        if e.is_over
        else "they learn nothing any more."
    )
    return (
        f"Up to {percent(e.value)} of the units of {named(e.names, e.signals.run.names)} got no "
        f"gradient at all from step {step(e.first_step)} to {step(e.last_step)}: {after}"
    )


DEAD_UNITS = Rule(
    id="dead_units",
    title="Dead units",
    question="Are these units dead?",
    needs=(),
    needs_any=("dead_row_fraction", "zero_gradient_fraction"),
    condition=_dead_units,
    persistence=Persistence(thresholds.DEAD_UNITS_POINTS, thresholds.LASTING_STEPS),
    severity=_dead_units_severity,
    message=_dead_units_message,
    advice=_dead_units_advice,
    reference="Lu et al. 2019, Dying ReLU and initialization",
    explains=("eps_dominates", "eps_influences", "plateau", "layer_imbalance", "lr_too_low",
              "vanishing_gradient", "stale_second_moment", "noise_dominated"),
)  # fmt: skip


def _rare_rows(signals: Signals) -> Condition | None:
    found = each_beyond(
        signals, "dead_row_fraction", thresholds.RARE_ROWS_FRACTION, signals.run.embeddings
    )
    if found is None:
        return None
    # Without decay, and with that of a short run, nothing comes of it.
    columns = signals.run.group_of[np.asarray(found.parameters, np.intp)]
    taken = _taken_so_far(signals)[:, columns]
    return replace(found, holds=found.holds & (taken > thresholds.RARE_ROWS_DECAY))


def _taken_so_far(signals: Signals) -> Float64s:
    """Σ lr · weight_decay up to each record, float64 ``[records, groups]``.

    Infinity where decay passes through the moments, which make a full step of it.
    """
    run = signals.run
    lr, decay = run.hyperparameters.get("lr"), run.hyperparameters.get("weight_decay")
    if lr is None or decay is None or lr.shape != decay.shape:
        return np.zeros((run.step.size, len(run.groups)))
    since = np.diff(run.step, prepend=min(run.first_step - 1, run.step[0]))[:, None]
    a_step = np.where(np.isfinite(lr * decay), lr * decay, 0.0)
    through = [
        g < len(run.groups)
        and "exp_avg_sq_root" not in run.groups[g].undefined
        and not _decays_apart(signals, g)
        for g in range(lr.shape[1])
    ]
    taken: Float64s = np.cumsum(a_step * since, axis=0)
    return np.where(np.array(through) & (taken > 0), np.inf, taken)


def _rare_rows_message(e: Evidence) -> str:
    taken = float(_taken_so_far(e.signals)[-1, e.signals.run.group_of[e.parameters[0]]])
    does = (
        "moves them by full steps"
        if np.isinf(taken)
        else f"has taken {percent(1 - math.exp(-taken))} of a row that was never used"
    )
    return (
        f"Up to {percent(e.value)} of the rows of {named(e.names, e.signals.run.names)} get no "
        f"gradient at a step, and weight decay {does}. Is that meant?"
    )


RARE_ROWS = Rule(
    id="rare_rows",
    title="Most rows of an embedding get no gradient",
    needs=("dead_row_fraction",),
    condition=_rare_rows,
    persistence=Persistence(thresholds.RARE_ROWS_POINTS, thresholds.LASTING_STEPS),
    once=True,
    severity="info",
    message=_rare_rows_message,
    advice=lambda e: (
        "A parameter group of their own without weight decay for embeddings, or an optimizer that "
        "skips such rows, as SparseAdam."
    ),
    reference=(
        "Kunstner et al. 2024, Heavy-tailed class imbalance and why Adam outperforms gradient "
        "descent on language models"
    ),
)


def _without_gradient(signals: Signals) -> Condition | str | None:
    """Parameters that had no gradient at any record, except weights, which are dead units."""
    run = signals.run

    def compute(part: slice) -> Flags:
        zero = signals.statistic("zero_gradient_fraction")[part]
        logged = ~np.isnan(signals.statistic("weight_rms")[part])
        moved: Flags = logged & (zero < 1)
        return moved

    moved = signals.by_record("has gradient", compute)
    windows = count_windows(run.step, np.ones(run.step.shape, bool))
    if windows < thresholds.WITHOUT_GRADIENT_POINTS:
        records = counted(run.step.size, "record")
        return f"{records}, needs {thresholds.WITHOUT_GRADIENT_POINTS}"
    if not moved.any():
        return None  # where nothing has one, that is another rule
    absent = np.flatnonzero(~moved[-1])
    absent = absent[~moved[:, absent].any(axis=0)]
    missing = np.isnan(signals.statistic("zero_gradient_fraction")[:, absent]).all(axis=0)
    absent = absent[missing | ~np.isin(absent, run.weights)]
    return all_along(signals, absent)


WITHOUT_GRADIENT = Rule(
    id="parameter_without_gradient",
    title="A parameter never gets a gradient",
    needs=("zero_gradient_fraction", "weight_rms"),
    condition=_without_gradient,
    persistence=Persistence(),
    severity="info",
    message=lambda e: (
        f"{named(e.names, e.signals.run.names)}: in the optimizer, but without a gradient at every "
        "recorded step. Is its requires_grad False, or does the forward pass not use it?"
    ),
    advice=lambda e: (
        "If it is frozen on purpose, leave it out of the optimizer. Otherwise set "
        "requires_grad_(True), and see that the forward pass uses it without detach()."
    ),
    reference="",
)
