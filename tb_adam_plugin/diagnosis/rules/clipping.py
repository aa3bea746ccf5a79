"""Is every step clipped?"""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.arrays import Flags
from tb_adam_plugin.languages.sentences import joined, say

from ..engine.blowup import blew_up_at
from ..engine.conditions import at_every_step, too_few_steps
from ..engine.moments import alive_share
from ..engine.over_time import median_of_all
from ..engine.rule import Condition, Evidence, Persistence, Rule, Severity
from ..engine.signals import Signals
from ..engine.stretches import in_a_row
from ..engine.wording import number, one_digit

# Share of clipped steps among the last ones, and the median factor that clipping applied.
CLIP_WINDOW = 50
CLIPPED_SHARE = 0.95
MOST_COEFFICIENT = 0.1
CLIP_POINTS = 20
# Median share of elements in which eps is noticeable: below it, an optimizer that divides by √v̂ is
# insensitive to the scale of the gradients.
EPS_FELT = 0.2
# Gradient norms in a window that differ by less than this share are constant.
CONSTANT_SPREAD = 1e-3


def _clip_always(signals: Signals) -> Condition | str:
    before = signals.column("gradient_norm_before_clip")
    coefficient = signals.column("gradient_norm") / before
    window = CLIP_WINDOW
    if coefficient.size < window + CLIP_POINTS - 1:
        return too_few_steps(signals, window + CLIP_POINTS - 1)
    views = np.lib.stride_tricks.sliding_window_view(coefficient, window)
    middle = np.full(coefficient.shape, np.nan)
    middle[window - 1 :] = np.median(views, axis=1)
    share = np.zeros(coefficient.shape)
    share[window - 1 :] = (views < 1 - 1e-3).mean(axis=1)
    holds = (share > CLIPPED_SHARE) & (middle < MOST_COEFFICIENT)
    holds = _in_windows(holds, window)
    return at_every_step(signals, middle, holds, MOST_COEFFICIENT, below=True)


def _in_windows(ends: Flags, window: int) -> Flags:
    """Which steps are in windows whose last step is marked, with enough consecutive ones."""
    kept = in_a_row(ends, CLIP_POINTS)
    begun = np.cumsum(np.append(kept[window - 1 :], np.zeros(window - 1, bool)))
    before = np.append(np.zeros(window, begun.dtype), begun[:-window])
    found: Flags = begun > before
    return found


def _clip_advice(e: Evidence) -> str:
    if _clip_severity(e) == "info":
        return say("Adam and its variants do not mind while eps is small compared with √v̂.")
    norm, after = e.signals.norm_before_clip, e.signals.column("gradient_norm")
    clipped = after[e.at_worst]
    usual = norm[np.isfinite(norm) & (e.signals.steps < blew_up_at(e.signals))]
    wanted = one_digit(2 * float(np.median(usual))) if usual.size else float("nan")
    if np.isfinite(wanted) and (clipped < wanted).any():
        tried = say("Try max_norm {wanted}, twice the median norm.", wanted=number(wanted))
    else:
        tried = say("Try a max_norm of twice the median norm.")
    why = say("Adam does not mind the scale until eps matters; SGD does at once.")
    return joined([tried, why])


def _clip_severity(e: Evidence) -> Severity:
    """A question if only eps depends on the scale of the gradients, and is small."""
    signals = e.signals
    if "Lion" in signals.run.groups[signals.run.main_group].optimizer:
        return "info"  # its steps are signs
    if not signals.is_known("epsilon_10_fraction"):
        return "warning"
    last = signals.run.step > signals.settled
    felt = median_of_all(alive_share(signals, "epsilon_10_fraction")[last])
    return "info" if felt < EPS_FELT else "warning"


CLIP_ALWAYS = Rule(
    id="clip_always",
    title="Every step is clipped",
    question="Should every step be clipped?",
    needs=("gradient_norm_before_clip", "gradient_norm"),
    uses=("epsilon_10_fraction", "zero_second_moment_fraction"),
    condition=_clip_always,
    persistence=Persistence(),
    once=True,
    severity=_clip_severity,
    message=lambda e: say(
        "Nearly every step is clipped, by a factor of {factor}: max_norm, not the loss, sets the "
        "scale of the gradients.",
        factor=number(1 / max(e.value, 1e-30)),
    ),
    advice=_clip_advice,
    reference="Pascanu et al. 2013, On the difficulty of training recurrent neural networks",
    explains=("clip_constant", "eps_dominates", "eps_influences"),
)


def _clip_constant(signals: Signals) -> Condition | str | None:
    if np.isfinite(signals.column("gradient_norm_before_clip")).any():
        return None  # no question to ask
    # For one parameter, both the gradient that backward left and the one the step used are known.
    if median_of_all(signals.column("gradient_rescaling")) >= MOST_COEFFICIENT:
        return None  # clipped slightly, as is usual for language models
    norm = signals.column("gradient_norm")
    window = CLIP_WINDOW
    if norm.size < window + CLIP_POINTS - 1:
        return too_few_steps(signals, window + CLIP_POINTS - 1)
    spread = CONSTANT_SPREAD
    changes = np.cumsum(np.append(0, ~(np.abs(np.diff(norm)) < spread * norm[1:])))
    # The whole window is only checked where no step differs from the previous one.
    ends = np.flatnonzero(changes[window - 1 :] == changes[: norm.size - window + 1])
    views = np.lib.stride_tricks.sliding_window_view(norm, window)[ends]
    high, low = views.max(axis=1), views.min(axis=1)
    value, holds = np.zeros(norm.shape), np.zeros(norm.shape, bool)
    value[ends + window - 1] = high
    holds[ends + window - 1] = (high > 0) & (high - low < spread * high)
    return at_every_step(signals, value, _in_windows(holds, window), spread)


CLIP_CONSTANT = Rule(
    id="clip_constant",
    title="Is every step clipped?",
    needs=("gradient_norm",),
    uses=("gradient_rescaling",),
    condition=_clip_constant,
    persistence=Persistence(),
    once=True,
    severity="info",
    message=lambda e: say(
        "The gradient norm is {norm} at every step, as when each step is clipped. To see by how "
        "much, call debug.record(gradient_norm_before_clip=clip_grad_norm_(...)).",
        norm=number(e.value),
    ),
    advice=lambda e: "",
    reference="Pascanu et al. 2013, On the difficulty of training recurrent neural networks",
)
