"""Rules about the learning rate: jumped, too high, too low, decayed too early."""

from __future__ import annotations

import numpy as np

from ..compass import factor_of_first_steps, highest_early_loss
from ..engine import thresholds
from ..engine.conditions import NONE, RESUMED, at_every_step, too_few_steps
from ..engine.recorded_run import Flags, Float64s, Indices
from ..engine.rule import Condition, Evidence, Persistence, Rule, Severity
from ..engine.signals import Signals, is_near_peak, median_of_all, rectification, sum_over_steps
from ..engine.stretches import lasting
from ..engine.windows import count_windows
from ..engine.wording import counted, named, number, one_digit, percent, step

_RATIO = "update_to_weight_ratio"
_COSINE = "momentum_gradient_cosine"


# --- zero ---------------------------------------------------------------------------------------


def _zero(signals: Signals) -> Condition | str | None:
    """A learning rate of 0 in every group, from the first step to the last one so far."""
    run, lr = signals.run, signals.lr
    of_groups = run.hyperparameters.get("lr", np.full((0, 0), np.nan))
    known = np.concatenate([lr[~np.isnan(lr)], of_groups[~np.isnan(of_groups)]])
    if not known.size or (known != 0).any():
        return None
    steps = max(signals.steps.size, run.step.size)
    if steps < thresholds.LR_ZERO_STEPS:
        return f"{counted(steps, 'step')}, needs {thresholds.LR_ZERO_STEPS}"
    ends = np.array([run.first_step, run.last_step])
    return Condition(ends, np.ones(2, bool), np.zeros(2), 0.0)


LR_ZERO = Rule(
    id="lr_zero",
    title="The learning rate is 0: nothing is trained",
    needs=("lr",),
    condition=_zero,
    persistence=Persistence(),
    severity="error",
    message=lambda e: (
        f"The learning rate was 0 in every parameter group at every step, from step "
        f"{step(e.first_step)} to step {step(e.last_step)}: no weight has changed."
    ),
    advice=lambda e: (
        "A warm-up that begins at 0 stays there until scheduler.step() is called, after each "
        "optimizer.step(). In a resumed run, see whether the schedule had ended before. Otherwise "
        "give the optimizer a learning rate above 0."
    ),
    reference="",
    explains=(
        "frozen",
        "lr_too_low",
        "lost_updates",
        "plateau",
        "noise_dominated",
        "bimodal_update",
    ),
)


# --- jumped -------------------------------------------------------------------------------------


def _jumped(signals: Signals) -> Condition | str | None:
    steps, lr = signals.steps, signals.lr
    if lr.size < 2:
        return too_few_steps(signals, 2)
    rise: Float64s = _rise_above_peak(lr[:, None])[:, 0]
    holds: Flags = (rise > thresholds.LR_JUMP) & (steps > signals.warmup_end + 1)
    if holds.any():
        return at_every_step(signals, rise, holds, thresholds.LR_JUMP)
    return _group_jumped(signals)


def _group_jumped(signals: Signals) -> Condition | None:
    """The same in groups of which only the learning rate of records is known."""
    run = signals.run
    lr = run.hyperparameters.get("lr")
    if lr is None or len(lr) < 3:
        return None
    # What rises from record to record is a warm-up.
    rising = np.diff(lr, axis=0, prepend=np.nan) > 0
    after_rest = np.append(np.zeros((1, lr.shape[1]), bool), ~rising[:-1], axis=0)
    after_rest[1] = False
    rise = np.where(after_rest, _rise_above_peak(lr), np.nan)
    holds = rise > thresholds.LR_JUMP

    def blame(record: int) -> Indices:
        jumped: Indices = np.flatnonzero(np.isin(run.group_of, np.flatnonzero(holds[record])))
        return jumped

    any_holds = np.asarray(holds.any(axis=1))
    highest = np.fmax.reduce(rise, axis=1)
    known = np.ones(run.step.shape, bool)
    return Condition(run.step, any_holds, highest, thresholds.LR_JUMP, blame=blame, known=known)


def _rise_above_peak(lr: Float64s) -> Float64s:
    """Learning rate over that of the row before, ``[rows, groups]``; NaN up to the peak so far.

    A schedule with restarts returns to its peak; what exceeds the peak is no schedule.
    """
    before = lr[:-1]
    highest = np.fmax.accumulate(before, axis=0)
    above = (before > 0) & (lr[1:] > thresholds.LR_JUMP_ABOVE_PEAK * highest)
    rise = np.full(lr.shape, np.nan)
    rise[1:] = np.where(above, lr[1:] / np.where(above, before, 1), np.nan)
    return rise


def _lr_before(e: Evidence) -> float:
    if e.parameters.size:
        records = e.signals.run.step[e.signals.run.step < e.worst_step]
        return e.signals.lr_of(e.parameters, float(records[-1]))
    lr = e.signals.lr[e.signals.steps < e.worst_step]
    return float(lr[-1]) if lr.size else float("nan")


def _jumped_message(e: Evidence) -> str:
    run, before = e.signals.run, _lr_before(e)
    of = f" of {named(e.names, run.names)}" if e.names else ""
    after, where = before * e.value, f"in one step, at step {step(e.worst_step)}"
    record = int(np.searchsorted(run.step, e.worst_step))
    # Of other groups than the first lr is known at the records only.
    if (e.names or run.main_group) and 0 < record < run.step.size:
        known = e.signals.lr_of(e.parameters, run.step[record])
        if 0 < known < np.inf:
            after = known
            where = f"between steps {step(run.step[record - 1])} and {step(run.step[record])}"
    if not (0 < before < np.inf and after < np.inf):  # some other group's
        return f"The learning rate{of} rose {where}, and was never as high before."
    return (
        f"The learning rate{of} rose {number(after / before)}-fold {where}, from {number(before)} "
        f"to {number(after)}, and was never as high before."
    )


def _jumped_advice(e: Evidence) -> str:
    # Of the steps before, the highest: the one right before may be that of a schedule's end.
    usual = e.signals.usual_lr(e.parameters, np.nextafter(e.worst_step, 0))
    back = f"Go back to lr {number(usual)}. " if usual > 0 else ""
    return (
        f"{back}Look for scheduler.step() called in the wrong place, a scheduler made anew on "
        "resume, or a learning rate set by hand."
    )


LR_JUMP = Rule(
    id="lr_jump",
    title="Learning rate jumped",
    needs=("lr",),
    condition=_jumped,
    persistence=Persistence(),
    severity="error",
    message=_jumped_message,
    advice=_jumped_advice,
    reference="",
    explains=(
        "lr_too_high", "loss_blowup", "gradient_spike", "dead_units", "nonfinite", "plateau",
        "weight_decay_too_strong", "weight_decay_overshoots", "stale_second_moment", "no_gradient",
    ),
)  # fmt: skip


# --- too high -----------------------------------------------------------------------------------


def _too_high(signals: Signals) -> Condition:
    early = signals.run.step <= signals.warmup_end + thresholds.LR_TOO_HIGH_STEPS
    step = signals.run.step[early]
    weights, share = signals.started_weights, thresholds.LR_TOO_HIGH_ASKS
    if _rose_to(signals) > 0:
        share = thresholds.LR_TOO_HIGH_ROSE
    path = sum_over_steps(
        step, _ratio_of_gradients(signals)[early], thresholds.LR_TOO_HIGH_PATH_STEPS
    )

    most, steps = _most(signals), thresholds.LR_TOO_HIGH_PATH_STEPS
    lacking = RESUMED if signals.run.first_step > thresholds.FIRST_STEP else ""
    if not lacking and signals.run.last_step < steps:
        lacking = f"{counted(int(signals.run.last_step), 'step')}, needs {steps}"
    if not (path > share * most).any():
        return Condition(step, path > share * most, path, most, lacking=lacking)
    # What is said is said of those of these steps over which it is most.
    worst = int(np.argmax(np.where(path > share * most, path, -np.inf)))
    first = max(signals.run.first_step, step[worst] - steps + 1)

    def blame(point: int) -> Indices:
        row = signals.statistic(_RATIO)[worst, weights]
        fast: Indices = weights[row >= np.median(row)]
        return fast

    ends = np.unique([first, step[worst]])
    values = np.where(ends < step[worst], 0.0, path[worst])
    holds = np.ones(ends.shape, bool)
    return Condition(ends, holds, values, most, blame=blame, lacking=lacking)


def _most(signals: Signals) -> float:
    """What the ratio may add up to."""
    if _adds_up_squares(signals):
        return thresholds.LR_TOO_HIGH_PATH_SHRINKING
    alpha = signals.uncorrected_alpha
    if np.isnan(alpha):
        return thresholds.LR_TOO_HIGH_PATH
    # The first steps are longer by 1/√(1 - αᵗ), whatever the learning rate.
    steps = np.arange(1, thresholds.LR_TOO_HIGH_PATH_STEPS + 1)
    return thresholds.LR_TOO_HIGH_PATH * float(np.mean(1 / np.sqrt(1 - alpha**steps)))


def _rose_to(signals: Signals) -> float:
    """What the loss rose to in the first steps, a mean of several; infinity if it is not finite.

    0 if it did not rise, or came down again in the second half of these steps.
    """
    if signals.run.first_step > thresholds.FIRST_STEP or not signals.loss_is_measure:
        return 0.0
    early = signals.steps <= signals.warmup_end + thresholds.LR_TOO_HIGH_STEPS
    loss, first = signals.column("loss")[early][1:], _loss_before(signals)
    loss, steps = loss[~np.isnan(loss)], thresholds.LR_TOO_HIGH_LOSS_STEPS
    if loss.size < 2 * steps or np.isnan(first):
        return 0.0
    highest = float(np.lib.stride_tricks.sliding_window_view(loss, steps).mean(axis=1).max())
    rose = highest > thresholds.LR_TOO_HIGH_LOSS * first > 0
    # Optimizers without bias correction begin with a long step, and the loss soon recovers.
    stayed = float(np.median(loss[loss.size // 2 :])) > first
    return highest if rose and stayed else 0.0


def _loss_before(signals: Signals) -> float:
    """The loss of the first step, which no update has touched; NaN if there is none."""
    return float(signals.column("loss")[0]) if signals.steps.size else float("nan")


def _ratio_of_gradients(signals: Signals) -> Float64s:
    """Median update-to-weight ratio, float64 ``[records]``; NaN where weight decay makes it."""
    weights = signals.started_weights
    ratio = signals.median(_RATIO, weights)
    if not signals.is_known("weight_decay_ratio"):
        return ratio
    decay = signals.median("weight_decay_ratio", weights)
    return np.where(decay > thresholds.WEIGHT_DECAY_RATIO, np.nan, ratio)


def _adds_up_squares(signals: Signals) -> bool:
    """Whether the denominator only grows (Adagrad): first steps are large and soon are not."""
    undefined = [set(group.undefined) for group in signals.run.groups]
    return all("rms_t" in u and "exp_avg_sq_root" not in u for u in undefined)


def _largest_ratio(e: Evidence, *, corrected: bool = False) -> float:
    """The largest median update-to-weight ratio up to where the sum was largest.

    Args:
        e: Of the rule.
        corrected: As it would be if the bias of the second moment were corrected.
    """
    step, alpha = e.signals.run.step, e.signals.uncorrected_alpha
    ratio = _ratio_of_gradients(e.signals)
    if corrected and not np.isnan(alpha):
        ratio = ratio * np.sqrt(1 - alpha ** np.maximum(step, 1))
    ratio = ratio[step <= e.worst_step]
    known = ratio[np.isfinite(ratio)]
    return float(known.max()) if known.size else float("nan")


def _too_high_severity(e: Evidence) -> Severity:
    if e.value <= e.threshold and not _rose_to(e.signals):
        return "info"
    far = _largest_ratio(e) > thresholds.LR_FAR_TOO_HIGH_RATIO
    blew_up = e.signals.loss_is_measure and _blew_up(e.signals).any()
    return "error" if far or _overshoots(e.signals) or blew_up else "warning"


def _too_high_factor(e: Evidence) -> float:
    """What to divide the learning rate by; NaN where no factor within reason is enough."""
    enough = _largest_ratio(e, corrected=True) / thresholds.LR_TOO_HIGH_TARGET_RATIO
    if _too_high_severity(e) == "error":
        enough = max(enough, thresholds.LR_TOO_HIGH_FACTORS[1])
    factors = thresholds.LR_TOO_HIGH_FACTORS
    return next((factor for factor in factors if factor >= enough), float("nan"))


def _too_high_advice(e: Evidence) -> str:
    lr, factor = e.signals.usual_lr(NONE, e.worst_step), _too_high_factor(e)
    warm_up = _longer_warmup(e.signals)
    if _too_high_severity(e) == "info":
        or_warm_up = f", or a warm-up{warm_up}" if warm_up is not None else ""
        away = factor_of_first_steps(e.signals)  # what the compass says
        if not away > 0:
            return f"If the loss rises at first, try a third of it{or_warm_up}."
        if not lr > 0:
            return f"Divide the learning rate by {away:.0f}{or_warm_up}."
        return f"Try lr {number(one_digit(lr / away))} instead of {number(lr)}{or_warm_up}."
    or_warm_up = f" Or warm the learning rate up{warm_up}." if warm_up is not None else ""
    ratio = _largest_ratio(e)
    if not factor > 0:
        least = number(thresholds.LR_TOO_HIGH_TARGET_RATIO)
        now = f" ({number(lr)})" if lr > 0 else ""
        return f"Lower the learning rate{now} until no update-to-weight ratio is above {least}."
    if not lr > 0:
        return f"Divide the learning rate by {factor:.0f}.{or_warm_up}"
    wanted = one_digit(lr / factor)
    return (
        f"Try lr {number(wanted)} instead of {number(lr)}: update-to-weight ratio "
        f"{number(ratio)} → about {number(ratio * wanted / lr)}.{or_warm_up}"
    )


def warmup(signals: Signals) -> str:
    """How long a warm-up would be, as in " over 200 steps"; "" where that is not known."""
    steps = _warmup_steps(signals)
    return f" over {steps:.0f} steps" if steps > 0 else ""


def _longer_warmup(signals: Signals) -> str | None:
    """The same; None where there is a warm-up as long already."""
    steps, now = _warmup_steps(signals), signals.warmup_end
    return None if now and not steps > now else warmup(signals)


def _warmup_steps(signals: Signals) -> float:
    """How many steps a warm-up would have; NaN where that is not known, or would be none."""
    beta2 = signals.hyperparameter_now("beta2")
    if not 0 < beta2 < 1:
        return float("nan")
    steps = min(2 / (1 - beta2), thresholds.WARMUP_SHARE * signals.run.length)
    return steps if steps >= thresholds.LEAST_WARMUP else float("nan")


def _too_high_message(e: Evidence) -> str:
    steps = counted(int(e.last_step - e.first_step) + 1, "step")
    first = e.first_step <= thresholds.FIRST_STEP
    seen = (
        f"Over the {f'first {steps}' if first else f'{steps} up to step {step(e.last_step)}'} the "
        f"updates of a typical weight matrix add up to {number(e.value)} times its size; the "
        f"largest of them is {number(_largest_ratio(e))} times its size"
    )
    if _too_high_severity(e) == "info":
        if factor_of_first_steps(e.signals) > 0:
            rose_to = number(highest_early_loss(e.signals))
            return f"{seen}, and the loss rose at first, to {rose_to}. Some networks bear it."
        return f"{seen}. Some networks bear it: does the loss rise at first?"
    if e.value <= e.threshold:
        rose_to = number(_rose_to(e.signals))
        return (
            f"{seen}, and the loss rose from {number(_loss_before(e.signals))} to {rose_to} and "
            "stayed above."
        )
    return f"{seen}: little is left of the initial weights."


LR_TOO_HIGH = Rule(
    id="lr_too_high",
    title="Learning rate too high",
    question="Is the learning rate too high?",
    needs=(_RATIO,),
    condition=_too_high,
    persistence=Persistence(),
    severity=_too_high_severity,
    message=_too_high_message,
    advice=_too_high_advice,
    reference="Cohen et al. 2022, Adaptive gradient methods at the edge of stability",
    once=True,
    explains=(
        "loss_blowup", "dead_units", "nonfinite", "gradient_spike", "weight_decay_too_strong",
        "init_too_large", "plateau", "noise_dominated", "layer_imbalance", "stale_second_moment",
        "oscillation", "lost_updates", "second_moment_frozen", "gain_ratio_low",
        "vanishing_gradient",
    ),
    uses=("weight_decay_ratio",),
)  # fmt: skip


def _gain_ratio_low(signals: Signals) -> Condition:
    step, ratio = signals.gain_ratio
    low = ratio < thresholds.GAIN_RATIO_LOW
    known = ~np.isnan(signals.column("gain_ratio"))
    windows = count_windows(signals.steps, known) if known.any() else 0
    needed = thresholds.GAIN_RATIO_WINDOWS + thresholds.GAIN_RATIO_POINTS - 1
    lacking = "" if windows >= needed else f"{counted(windows, 'gain ratio')}, needs {needed}"
    return Condition(
        step, low, ratio, thresholds.GAIN_RATIO_LOW, lowest_is_worst=True, lacking=lacking
    )


def _overshoots(signals: Signals) -> bool:
    low, points = _gain_ratio_low(signals), Persistence(thresholds.GAIN_RATIO_POINTS)
    return bool(lasting(low, points).any())


GAIN_RATIO_LOW = Rule(
    id="gain_ratio_low",
    title="Do the steps overshoot?",
    needs=("gain_ratio",),
    condition=_gain_ratio_low,
    persistence=Persistence(thresholds.GAIN_RATIO_POINTS),
    severity="info",
    message=lambda e: (
        f"A step changes the loss of its own batch by {number(e.value)} times what its gradient "
        "promised (median of the last records). At the best learning rate 0.84 is usual, far too "
        "high a one gives less than half."
    ),
    advice=lambda e: "Try lr / 3, and see whether the loss falls faster.",
    reference="Nocedal & Wright 2006, Numerical Optimization, chapter 4",
)


def _blew_up(signals: Signals) -> Flags:
    steps = thresholds.LOSS_AVERAGE_STEPS
    loss = signals.column("loss")
    high = np.cumsum(~(loss <= signals.blowup_limit))
    before = np.concatenate([np.zeros(min(steps, high.size), int), high[:-steps]])
    most = high - before > thresholds.LOSS_BLOWUP_SHARE * steps
    return np.asarray((signals.smooth_loss > signals.blowup_limit) & most)


def _loss_blowup(signals: Signals) -> Condition:
    limit = signals.blowup_limit
    return at_every_step(signals, signals.smooth_loss, _blew_up(signals), limit)


def _went_wrong(signals: Signals) -> bool:
    """Whether anything but a loss that grew says that training went wrong.

    Where an agent earns more, or an opponent learns, a loss grows while training goes well.
    """
    high = signals.smooth_loss > thresholds.LOSS_GREW_FAR * np.abs(signals.first_loss)
    if high.sum() >= thresholds.LOSS_BLOWUP_POINTS and high[-1:].any():
        return True
    too_fast, jumped = _too_high(signals), _jumped(signals)
    if too_fast.holds.any() or (isinstance(jumped, Condition) and jumped.holds.any()):
        return True
    run = signals.run
    if (signals.largest("nonfinite_count", np.arange(len(run.parameters))) > 0).any():
        return True
    rms = signals.median("weight_rms", signals.started_weights)
    return bool((rms > thresholds.LOSS_GREW_WEIGHTS * rms[:1]).any())


def _loss_blowup_severity(e: Evidence) -> Severity:
    return "error" if e.signals.loss_is_measure and _went_wrong(e.signals) else "info"


def _loss_blowup_message(e: Evidence) -> str:
    if not e.signals.loss_is_measure:
        question = (
            " A loss that is near 0 or changes its sign, as in reinforcement learning, is no "
            "measure of progress. Is this one?"
        )
    elif _loss_blowup_severity(e) == "info":
        question = (
            " In reinforcement learning and adversarial training a loss may grow while training "
            "goes well, and nothing else says that it does not. Is this such a loss?"
        )
    else:
        question = ""
    loss = e.signals.column("loss")
    began = float(loss[np.isfinite(loss)][0])
    return (
        f"The loss (average of {thresholds.LOSS_AVERAGE_STEPS} steps) reached {number(e.value)} at "
        f"step {step(e.worst_step)}; it began at {number(began)}.{question}"
    )


def _never_fell(e: Evidence) -> bool:
    """Whether no mean of several losses before was below the first one."""
    loss = e.signals.column("loss")[e.signals.steps < e.first_step]
    loss, many = loss[np.isfinite(loss)], thresholds.FIRST_LOSSES
    if loss.size < many:
        return False
    lowest = float(np.lib.stride_tricks.sliding_window_view(loss, many).mean(axis=1).min())
    return lowest >= float(loss[0]) - thresholds.LOSS_FELL * abs(float(loss[0]))


def _loss_blowup_advice(e: Evidence) -> str:
    if not e.signals.loss_is_measure:
        return ""
    if _loss_blowup_severity(e) == "info":
        sign = " It never fell: is the sign of the loss right?" if _never_fell(e) else ""
        return f"Judge by what training is for: return, samples, validation.{sign}"
    lr = e.signals.usual_lr(NONE, e.first_step)
    tried = (
        f"Try lr {number(one_digit(lr / 10))} instead of {number(lr)}"
        if lr > 0
        else "Divide the learning rate by 10"
    )
    return (
        f"{tried}, or clip the gradient norm; see what happened before step {step(e.first_step)}."
        + (" It never fell: is the sign of the loss right?" if _never_fell(e) else "")
    )


LOSS_BLOWUP = Rule(
    id="loss_blowup",
    title="Loss blew up",
    question="Did the loss blow up?",
    needs=("loss",),
    uses=("weight_rms", "nonfinite_count", _RATIO),
    condition=_loss_blowup,
    persistence=Persistence(thresholds.LOSS_BLOWUP_POINTS),
    severity=_loss_blowup_severity,
    message=_loss_blowup_message,
    advice=_loss_blowup_advice,
    reference="",
    explains=("dead_units", "nonfinite", "plateau", "stale_second_moment", "layer_imbalance"),
)


# --- too low ------------------------------------------------------------------------------------


def _too_low(signals: Signals) -> Condition | str:
    run = signals.run
    matrices = run.weights_or_matrices
    ratio = signals.median(_RATIO, matrices) / rectification(signals)
    since = max(signals.settled, thresholds.LR_TOO_LOW_START_SHARE * run.length)
    # At a learning rate that has decayed gradients agree, and that says nothing of its peak.
    counts = (run.step > since) & is_near_peak(signals)
    if not signals.is_known(_COSINE):
        return _moves_little(signals, ratio, counts, since)
    cosine = signals.median(_COSINE, matrices)
    surprise = signals.median("gradient_surprise", matrices)
    # Where gradients have faded against their past, training is done rather than slow.
    still_learning = ~(surprise < thresholds.LR_TOO_LOW_SURPRISE)
    holds = (
        (cosine > thresholds.LR_TOO_LOW_COSINE)
        & (ratio < thresholds.LR_TOO_LOW_RATIO)
        & (ratio > 0)
        & still_learning
        & counts
    )

    def blame(record: int) -> Indices:
        row = signals.statistic(_COSINE)[record, matrices]
        agreeing: Indices = matrices[row > thresholds.LR_TOO_LOW_COSINE]
        return agreeing

    return Condition(
        run.step,
        holds,
        cosine,
        thresholds.LR_TOO_LOW_COSINE,
        matrices,
        blame=blame,
        since=since,
        known=~np.isnan(cosine) & counts,
    )


def _moves_little(
    signals: Signals, ratio: Float64s, counts: Flags, since: float
) -> Condition | str:
    """Where the optimizer has no first moment: weights hardly move, and the loss hardly falls."""
    if np.isnan(signals.starting_loss):
        return RESUMED
    threshold = thresholds.LR_TOO_LOW_RATIO_ALONE
    loss = signals.at_records(signals.smooth_loss)
    start = signals.starting_loss
    slow = (loss > thresholds.LR_TOO_LOW_LOSS_SHARE * start) & (loss < thresholds.LOSS_GREW * start)
    holds = (ratio < threshold) & (ratio > 0) & slow & counts
    matrices = signals.run.weights_or_matrices
    return Condition(
        signals.run.step,
        holds,
        ratio,
        threshold,
        lowest_is_worst=True,
        blame=lambda _: matrices,
        since=since,
        known=~np.isnan(ratio) & counts,
    )


def _too_low_advice(e: Evidence) -> str:
    run = e.signals.run
    inside = (run.step >= e.first_step) & (run.step <= e.last_step)
    cosine = median_of_all(e.signals.median(_COSINE, run.weights_or_matrices)[inside])
    ratio = median_of_all(e.signals.median(_RATIO, run.weights_or_matrices)[inside])
    most = 30 if cosine > thresholds.LR_FAR_TOO_LOW_COSINE else 10
    longest = thresholds.LR_TOO_LOW_MOST_RATIO / ratio
    factor = next((f for f in (30, 10) if f <= min(most, longest)), 3)
    lr = e.signals.usual_lr(NONE, e.last_step)
    note = "On small data judge by the validation loss first: this speaks of the training loss."
    if not lr > 0:
        return f"Raise the learning rate {factor}-fold. {note}"
    wanted = one_digit(lr * factor)
    return (
        f"Try lr {number(wanted)} instead of {number(lr)}: update-to-weight ratio "
        f"{number(ratio)} → about {number(ratio * wanted / lr)}. {note}"
    )


def _too_low_message(e: Evidence) -> str:
    if not e.signals.is_known(_COSINE):
        return (
            f"A step moves a typical weight matrix by {number(e.value)} of its size, and the loss "
            "hardly falls. Is the learning rate too low? Fine-tuning may look the same, and "
            "without a first moment there is nothing else to tell it by."
        )
    return (
        f"Each gradient points where the ones before it pointed: their cosine with exp_avg reaches "
        f"{number(e.value)}, and is about 0 at the best learning rate. Are the steps too short?"
    )


LR_TOO_LOW = Rule(
    id="lr_too_low",
    title="Is the learning rate too low?",
    needs=(_RATIO,),
    needs_any=(_COSINE, "loss"),
    condition=_too_low,
    persistence=Persistence(thresholds.LR_TOO_LOW_POINTS, thresholds.LASTING_STEPS),
    severity="info",
    message=_too_low_message,
    advice=_too_low_advice,
    reference="Baydin et al. 2018, Online learning rate adaptation with hypergradient descent",
    once=True,
    explains=("plateau", "bimodal_update"),
    uses=("gradient_surprise",),
)


# --- rises all along ----------------------------------------------------------------------------


def _warmup_not_over(signals: Signals) -> Condition | None:
    """A learning rate that still rises at the last step, of a run that is no more at its start."""
    last = signals.run.last_step
    late = last >= thresholds.WARMUP_NOT_OVER_SHARE * signals.run.length
    long = signals.run.total_steps > 0 or last >= thresholds.WARMUP_NOT_OVER_STEPS
    if not (signals.is_warming_up and late and long):
        return None
    ends = np.array([signals.run.first_step, last])
    return Condition(ends, np.ones(2, bool), np.full(2, last), 0.0)


WARMUP_NOT_OVER = Rule(
    id="warmup_not_over",
    title="The warm-up is not over",
    needs=("lr",),
    condition=_warmup_not_over,
    persistence=Persistence(),
    severity="info",
    message=lambda e: (
        f"The learning rate still rises at step {step(e.last_step)}. What needs a settled one is "
        "therefore not judged, among it whether the learning rate is too low."
    ),
    advice=lambda e: (
        "If training ends here, the warm-up is longer than the run: give it 1 to 10 % of the steps "
        "that there are."
    ),
    reference="",
)


# --- decayed too early --------------------------------------------------------------------------


def _decayed(signals: Signals) -> Condition | None:
    steps, lr = signals.steps, signals.lr
    if not steps.size:
        return None
    share = lr / np.fmax.accumulate(lr)
    low = share < thresholds.LR_DECAYED_TO
    lengths = _steps_since(low, steps)
    enough = thresholds.LR_DECAYED_SHARE * signals.run.length
    return at_every_step(
        signals, share, low & (lengths >= enough), thresholds.LR_DECAYED_TO, below=True
    )


def _steps_since(holds: Flags, steps: Float64s) -> Float64s:
    """For each point, how many steps the run of points that it is in lasts in all."""
    n = len(holds)
    index = np.arange(n)
    first = np.maximum.accumulate(np.where(holds, 0, index + 1)).clip(max=n - 1)
    last = np.minimum.accumulate(np.where(holds, n - 1, index - 1)[::-1])[::-1].clip(min=0)
    return np.where(holds, steps[last] - steps[first], 0.0)


def _drops_in_steps(signals: Signals, until: float) -> bool:
    """Whether the learning rate stood still and dropped several times up to a step, as StepLR."""
    lr = signals.lr[(signals.steps > signals.warmup_end) & (signals.steps <= until)]
    lr = lr[np.isfinite(lr) & (lr > 0)]
    drops = np.count_nonzero(np.diff(lr) < 0)
    often = drops >= thresholds.STEP_LR_DROPS
    return bool(often and lr.size >= thresholds.STEP_LR_STANDS * drops)


def _decays_by_a_factor(signals: Signals, until: float) -> bool:
    """Whether every step multiplied the learning rate by the same factor, as ExponentialLR."""
    lr = signals.lr[(signals.steps > signals.warmup_end) & (signals.steps <= until)]
    lr = lr[np.isfinite(lr) & (lr > 0)]
    factors = lr[1:] / lr[:-1]
    if factors.size < thresholds.STEP_LR_DROPS or not (factors < 1).all():
        return False
    return bool(np.ptp(factors) < thresholds.EXPONENTIAL_LR_SPREAD * (1 - factors.mean()))


def _decayed_advice(e: Evidence) -> str:
    length = step(e.signals.run.length)
    epochs = "Step a schedule that is counted in epochs (StepLR, ExponentialLR) once an epoch"
    in_steps = f"T_max or total_steps = {length} or more"
    if _drops_in_steps(e.signals, e.first_step):
        return (
            f"The learning rate stands still and drops by a factor, as with StepLR. {epochs}, not "
            f"once a batch; or count its step_size in batches, so that it lasts {length} steps."
        )
    if _decays_by_a_factor(e.signals, e.first_step):
        return (
            "Every step multiplies the learning rate by the same factor, as with ExponentialLR, or "
            f"StepLR of step_size 1. {epochs}, not once a batch; or take a gamma that lasts "
            f"{length} steps."
        )
    return (
        f"{epochs}, not once a batch. One that is counted in steps has to end with the training: "
        f"{in_steps}, stepped once for each optimizer step."
    )


LR_DECAYED_EARLY = Rule(
    id="lr_decayed_early",
    title="Learning rate decayed too early",
    needs=("lr",),
    condition=_decayed,
    persistence=Persistence(thresholds.LR_DECAYED_POINTS),
    severity="warning",
    message=lambda e: (
        f"From step {step(e.first_step)} on the learning rate is below "
        f"{percent(e.threshold)} of its peak of {number(e.signals.peak_lr)}, and training went on "
        f"to step {step(e.last_step)}: "
        f"{percent((e.last_step - e.first_step) / max(1.0, e.signals.run.last_step))} of the run "
        "moves almost nothing."
    ),
    advice=_decayed_advice,
    reference="",
    explains=("lr_too_low", "lost_updates", "plateau", "noise_dominated", "bimodal_update"),
)
