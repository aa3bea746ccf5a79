"""Is a gradient far larger than those before it, and did it do harm?"""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.arrays import Float64s, Indices
from tb_adam_plugin.languages.sentences import joined, say

from ..engine import thresholds
from ..engine.blowup import blew_up_at
from ..engine.conditions import too_few_steps
from ..engine.moments import has_moment, memory_of_first, memory_of_second
from ..engine.over_time import median, median_of_all
from ..engine.phases import is_settled
from ..engine.rule import Condition, Evidence, Persistence, Rule, Severity
from ..engine.saved_batches import nearest_saved
from ..engine.signals import Signals
from ..engine.wording import decay, named, number, one_digit, step

# Gradient relative to √v̂ before the step, in any matrix. Healthy: up to 11; planted spikes: from
# 65.
SURPRISE = 15.0
# The spike did harm if the median loss in this many steps after it, without the first third of
# them, is this many times that of as many steps before it.
HARM_STEPS = 30.0
HARM_FACTOR = 1.2
HARM_MARGIN = 0.05
# Gradients have reached a new level if the median norm of the steps after is this many times that
# of those before, and the step itself is not a spike relative to it.
LEVEL = 3.0


def _spike_excess(signals: Signals) -> Float64s:
    """How far a step's norm exceeds its limit, on a logarithmic scale: a spike above 0."""
    norm = signals.norm_before_clip
    excess = np.full(norm.shape, -np.inf)
    window = thresholds.SPIKE_WINDOW
    logs = np.where((norm > 0) & np.isfinite(norm), np.log(np.where(norm > 0, norm, 1)), np.nan)
    if norm.size <= window // 2:
        return excess
    least = np.log(thresholds.SPIKE_LEAST_FACTOR)
    padded = np.concatenate([np.full(window, np.nan), logs])
    before = np.lib.stride_tricks.sliding_window_view(padded, window)[:-1]
    # Only the few steps that could be spikes at all need the medians.
    lowest = np.fmin.reduce(before, axis=1)
    candidates = np.flatnonzero(logs - lowest > least)
    enough = np.isfinite(before[candidates]).sum(axis=1) >= window // 2
    candidates = candidates[enough]
    usual = before[candidates]
    middle = median(usual)
    deviation = 1.4826 * median(np.abs(usual - middle[:, None]))
    limit = np.maximum(
        thresholds.SPIKE_DEVIATIONS * (deviation + thresholds.SPIKE_LEAST_DEVIATION), least
    )
    excess[candidates] = logs[candidates] - middle - limit
    return excess


def _gradient_spike(signals: Signals) -> Condition:
    run = signals.run
    excess = _spike_excess(signals)
    surprise = signals.largest("gradient_surprise", run.weights_or_matrices)
    surprised = (surprise > SURPRISE) & is_settled(signals)
    step = np.union1d(signals.steps, run.step)
    value = np.full(step.shape, -np.inf)
    value[np.searchsorted(step, signals.steps)] = excess
    at = np.searchsorted(step, run.step[surprised])
    value[at] = np.maximum(value[at], np.log(surprise[surprised] / SURPRISE))
    for point in np.flatnonzero(value > 0):
        if _is_new_level(signals, float(step[point])):
            value[point] = -np.inf

    def blame(point: int) -> Indices:
        return _spiking(signals, float(step[point]))

    usual, settled = thresholds.SPIKE_WINDOW // 2, run.step > signals.settled
    lacking = ""
    if not (settled & ~np.isnan(surprise)).any() and signals.steps.size <= usual:
        lacking = too_few_steps(signals, usual + 1)
    return Condition(step, value > 0, value, 0.0, blame=blame, lacking=lacking)


def _spiking(signals: Signals, step: float) -> Indices:
    """Parameters whose own gradient was unusual at a step, as far as known."""
    run = signals.run
    norms = run.gradient_norms
    if norms is not None and (norms.step == step).any():
        row = norms.norms[norms.step == step][0]
        usual = median(norms.norms[norms.step < step][-thresholds.SPIKE_WINDOW :].T)
        place = {name: i for i, name in enumerate(run.names)}
        return np.array(
            [
                place[norms.names[i]]
                for i in np.flatnonzero(row > thresholds.SPIKE_LEAST_FACTOR * usual)
                if norms.names[i] in place
            ],
            np.intp,
        )
    record = np.flatnonzero(run.step == step)
    surprise = signals.statistic("gradient_surprise")
    if not record.size:
        return np.empty(0, np.intp)
    return np.flatnonzero(surprise[record[0]] > SURPRISE)


def _norms_around(signals: Signals, first: float, last: float) -> tuple[Float64s, Float64s]:
    """Known norms of a window of steps before one step, and of a window after another one."""
    norm, window = signals.norm_before_clip, thresholds.SPIKE_WINDOW
    known = np.isfinite(norm) & (norm > 0)
    before = norm[known & (signals.steps < first)][-window:]
    return before, norm[known & (signals.steps > last)][:window]


def _is_new_level(signals: Signals, step: float) -> bool:
    """Whether gradients stay as large as at a step, and the loss does not suffer."""
    harmed = signals.loss_is_measure and _harmed(signals, step, step)
    judged = _has_known_loss(signals) and not harmed
    before, after = _norms_around(signals, step, step)
    if not judged or min(before.size, after.size) < thresholds.SPIKE_WINDOW // 2:
        return False
    level = float(np.median(after))
    here = signals.norm_before_clip[signals.steps == step]
    stays = bool((here < thresholds.SPIKE_LEAST_FACTOR * level).all())
    return stays and level > LEVEL * float(np.median(before))


def _harms(e: Evidence) -> bool:
    return _harmed(e.signals, e.first_step, e.worst_step)


def _harmed(signals: Signals, first: float, worst: float) -> bool:
    """Whether the loss was higher after a spike than before; the spike's own does not count."""
    loss, step = signals.column("loss"), signals.steps
    many, after = HARM_STEPS, step - worst
    known = ~np.isnan(loss)
    before = loss[known & (step < first)][-int(many) :]
    later = loss[known & (after > many / 3) & (after <= many)]
    if not before.size or not later.size:
        return False
    usual = float(np.median(before))
    limit = usual + (HARM_FACTOR - 1) * abs(usual) + HARM_MARGIN
    return not float(np.median(later)) <= limit


def _spike_severity(e: Evidence) -> Severity:
    # A loss that does not measure progress cannot show a spike's effect.
    if e.signals.has_loss and not e.signals.loss_is_measure:
        return "info"
    if _harms(e):
        return "error"
    # If almost no loss is left, the gradients of other batches are tiny.
    s = e.signals
    # One matrix among many may see something new while the whole gradient is as usual.
    of_norm = _spike_excess(s)[e.at_worst]
    if of_norm.size and np.isfinite(s.norm_before_clip[e.at_worst]).all() and not of_norm[0] > 0:
        return "info"
    exhausted = s.smooth_loss < thresholds.CONVERGED_LOSS_SHARE * s.starting_loss
    return "info" if exhausted[e.at_worst].any() or _is_clipped(e) else "warning"


def _is_clipped(e: Evidence) -> bool:
    """Whether clipping left nothing of a spike for the optimizer to see."""
    s = e.signals
    after, before = s.column("gradient_norm"), s.norm_before_clip
    here = e.at_worst
    usual = after[s.steps < e.first_step][-thresholds.SPIKE_WINDOW :]
    limit = thresholds.SPIKE_LEAST_FACTOR * median_of_all(usual)
    return bool((here & (after < before) & (after < limit)).any())


def _spike_message(e: Evidence) -> str:
    s = e.signals
    norm = s.norm_before_clip
    here = norm[e.at_worst]
    before = norm[s.steps < e.worst_step][-thresholds.SPIKE_WINDOW :]
    before = before[np.isfinite(before)]
    factor = float(here[0] / np.median(before)) if here.size and before.size else 0.0
    if thresholds.SPIKE_LEAST_FACTOR <= factor < np.inf:
        size = say("{factor} times the usual", factor=number(factor))
    else:  # the norm of the whole gradient is not unusual
        size = say("{factor} times √v̂", factor=number(SURPRISE * float(np.exp(e.value))))
    at = step(e.worst_step)
    if e.names:
        names = named(e.names, s.run.names)
        seen = say("Step {step} had a gradient {size} in {names}.", step=at, size=size, names=names)
    else:
        seen = say("Step {step} had a gradient {size}.", step=at, size=size)
    several = say("It is the largest of {count} such steps.", count=e.points)
    follows = _what_follows(s)
    if _is_clipped(e):
        follows = say("After clipping it was no larger than usual.")
    return joined([seen, several if e.points > 1 else "", follows])


def _what_follows(signals: Signals) -> str:
    """Describe what a spike does to the optimizer's moments."""
    carried, remembered = memory_of_first(signals), memory_of_second(signals)
    first = say("exp_avg carries it on")
    if carried > 0:
        first = say("exp_avg carries it on for {steps} steps", steps=f"{carried:,.0f}")
    second = say("√v̂ is too large and steps are too small")
    if remembered > 2:  # one that forgets at once is not too large for long
        steps = f"{remembered:,.0f}"
        second = say("√v̂ is too large and steps are too small for up to {steps} steps", steps=steps)
    has_first = has_moment(signals, "exp_avg") and (carried > 1 or np.isnan(carried))
    if has_moment(signals, "exp_avg_sq"):
        if has_first:
            return say("{first}; then {second}.", first=first, second=second)
        return say("Afterwards {second}.", second=second)
    if has_first:
        return say("{first}.", first=first)
    return say("Without momentum it only made this one step longer.")


def _spike_advice(e: Evidence) -> str:
    saved = nearest_saved(e.signals, e.worst_step, e.first_step, e.last_step)
    batch = joined([say("Look at the batch of step {step}.", step=step(e.worst_step)), saved])
    if _is_clipped(e):
        return batch
    norm = e.signals.column("gradient_norm")
    before = norm[e.signals.steps < min(e.first_step, blew_up_at(e.signals))]
    usual = before[np.isfinite(before) & (before > 0)]
    here = norm[e.at_worst]
    limit = one_digit(2 * _usual_norm(e, usual)) if usual.size else float("nan")
    # One weight may spike while the total norm is as usual: no limit would affect that.
    touched = not (here <= limit).any()
    clip = say("Clip the gradient norm")
    if 0 < limit < np.inf:
        clip = say("Clip the gradient norm to {limit} (twice the median)", limit=number(limit))
    beta2 = e.signals.hyperparameter_now("beta2")
    if not 0.97 < beta2 < 1:
        return joined([say("{clip}.", clip=clip), batch]) if touched else batch
    lower, now = decay(thresholds.BETA2_FORGETS), decay(beta2)
    forget = say("Try beta2 {lower} instead of {beta2}.", lower=lower, beta2=now)
    if touched:
        forget = say(
            "{clip}, or lower beta2 from {beta2} to {lower}.", clip=clip, lower=lower, beta2=now
        )
    return joined([forget, batch])


def _usual_norm(e: Evidence, before: Float64s) -> float:
    """The median norm before a spike, or after it if those steps are no worse off."""
    usual = float(np.median(before))
    after = e.signals.column("gradient_norm")[e.signals.steps > e.worst_step]
    after = after[np.isfinite(after) & (after > 0)]
    if after.size < thresholds.SPIKE_WINDOW // 2 or _harms(e) or not _has_known_loss(e.signals):
        return usual
    return max(usual, float(np.median(after)))


def _has_known_loss(signals: Signals) -> bool:
    return signals.has_loss or signals.has_surrogate_loss


GRADIENT_SPIKE = Rule(
    id="gradient_spike",
    title="Gradient spike",
    question="Does this gradient spike matter?",
    needs=(),
    needs_any=("gradient_norm", "gradient_surprise"),
    condition=_gradient_spike,
    persistence=Persistence(),
    severity=_spike_severity,
    message=_spike_message,
    advice=_spike_advice,
    reference="Wortsman et al. 2023, Stable and low-precision training (StableAdamW)",
    explains=(
        "loss_blowup",
        "stale_second_moment",
        "nonfinite",
        "dead_units",
        "weight_decay_too_strong",
        "layer_imbalance",
    ),
    symptom=True,
    uses=("saved_batch",),
    shows="gradient_norm",
)
