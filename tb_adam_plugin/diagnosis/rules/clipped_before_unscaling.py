"""Were gradients clipped while still multiplied by the loss scale?"""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.arrays import Flags, Float64s, Indices
from tb_adam_plugin.languages.sentences import say

from ..engine.conditions import at_every_step
from ..engine.over_time import median_of_all
from ..engine.rule import Condition, Evidence, Persistence, Rule, Severity
from ..engine.signals import Signals
from ..engine.stretches import in_a_row
from ..engine.wording import counted, number

# Number of consecutive known norms that match a clipped gradient divided by the loss scale.
CLIPPED_STEPS = 20
# Loss scales of a GradScaler are powers of two: initially 65,536, then halved and doubled. A
# max_norm is a number that people choose.
EXPONENTS = np.arange(8, 25)
FIRST_EXPONENT = 16
MANTISSAS = np.array([1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9])
MAX_NORMS = (0.01, 1000.0)
# Relative tolerance of the norm. A max_norm below this is very rarely intended; and if a scaler is
# in use, it multiplies the gradient by no more than that between backward and step.
CLOSE = 1e-4
LEAST_MAX_NORM = 2.0**-8


def _max_norms(norm: Float64s) -> Float64s:
    """The possible max_norm of a norm, for each loss scale, float64 ``[norms, scales]``; or NaN."""
    found = norm[:, None] * 2.0**EXPONENTS
    decade = 10 ** np.floor(np.log10(np.maximum(found, 1e-30)) + CLOSE)
    nearest = np.abs(found[..., None] / decade[..., None] / MANTISSAS - 1).min(axis=-1)
    inside = (found > MAX_NORMS[0] * (1 - CLOSE)) & (found < MAX_NORMS[1] * (1 + CLOSE))
    inside &= (norm < LEAST_MAX_NORM)[:, None]
    return np.where(inside & (nearest < CLOSE), found, np.nan)


def _clipped(signals: Signals) -> Condition | str:
    norm = signals.column("gradient_norm")
    known: Indices = np.flatnonzero(np.isfinite(norm))
    if known.size < CLIPPED_STEPS:
        seen = counted(known.size, "gradient norm")
        return say("{seen}, needs {needed}", seen=seen, needed=CLIPPED_STEPS)
    small = norm[known] < LEAST_MAX_NORM
    holds: Flags = np.zeros(norm.shape, bool)
    if small.any() and _rescaling(signals) < LEAST_MAX_NORM:
        fits = small & _stays(norm[known])
        # Each distinct norm once: there are few if all are clipped.
        values, place = np.unique(norm[known][fits].astype(np.float32), return_inverse=True)
        max_norms = _max_norms(values.astype(np.float64))
        likely: Flags = np.asarray(np.isfinite(max_norms).any(axis=1))
        fits[fits] = likely[place]
        holds[known] = in_a_row(fits[:, None], CLIPPED_STEPS)[:, 0]
    return at_every_step(signals, norm, holds, LEAST_MAX_NORM, below=True, compared="gradient_norm")


def _stays(norm: Float64s) -> Flags:
    """Where a norm equals the previous one, or a power of two of it."""
    doublings = np.log2(norm[1:] / norm[:-1])
    same = np.abs(doublings - np.round(doublings)) < CLOSE
    return np.append(same[:1], same)


def _rescaling(signals: Signals) -> float:
    """Factor applied to gradients between backward and step; 0 if unknown."""
    factor = median_of_all(signals.column("gradient_rescaling"))
    return factor if np.isfinite(factor) else 0.0


def _max_norm_and_scale(e: Evidence) -> tuple[float, float]:
    """The most likely ones: the recorded or the initial loss scale, and a max_norm of 1."""
    recorded = e.signals.column("loss_scale")[e.at_worst]
    scale = recorded[0] if recorded.size and recorded[0] > 0 else 2.0**FIRST_EXPONENT
    away = np.abs(EXPONENTS - np.log2(scale))
    candidates = _max_norms(np.array([e.value]))[0]
    fits = np.flatnonzero(~np.isnan(candidates))
    decades = np.log10(candidates[fits])
    strange = np.abs(decades - np.round(decades)) > CLOSE
    best = fits[np.lexsort((away[fits], strange, away[fits] >= 1))[0]]
    return float(candidates[best]), float(2.0 ** EXPONENTS[best])


def _severity(e: Evidence) -> Severity:
    """An error if the step length is proportional to the gradients."""
    signals = e.signals
    if not _rescaling(signals) > 0:
        return "info"
    group = signals.run.groups[signals.run.main_group]
    by_size = "exp_avg_sq_root" in group.undefined and "Lion" not in group.optimizer
    return "error" if by_size else "warning"


def _message(e: Evidence) -> str:
    max_norm, scale = _max_norm_and_scale(e)
    return say(
        "The gradient norm is {norm} step after step: {max_norm} over the loss scale {scale}. "
        "Gradients are clipped to max_norm {max_norm} while they are still multiplied by the "
        "loss scale, and divided by it afterwards. The result is next to nothing for SGD, and "
        "small compared with eps for Adam.",
        norm=number(e.value),
        max_norm=number(max_norm),
        scale=f"{scale:,.0f}",
    )


CLIPPED_BEFORE_UNSCALING = Rule(
    id="clipped_before_unscaling",
    title="Gradients are clipped before they are unscaled",
    question="Are gradients clipped before they are unscaled?",
    needs=("gradient_norm",),
    condition=_clipped,
    persistence=Persistence(),
    once=True,
    severity=_severity,
    message=_message,
    advice=lambda e: say(
        "Call scaler.unscale_(optimizer) before clip_grad_norm_(), once per step; max_norm then "
        "applies to the gradients themselves."
    ),
    reference="Micikevicius et al. 2018, Mixed precision training",
    explains=(
        "clip_always",
        "clip_constant",
        "gradient_scale",
        "eps_dominates",
        "eps_influences",
        "lr_too_low",
        "lost_updates",
        "plateau",
        "noise_dominated",
        "weight_decay_too_strong",
        "second_moment_underflow",
        "bimodal_update",
    ),
    shows="gradient_rescaling",
    silences_compass=True,
)
