"""Does a gradient scaler skip steps, so the run stagnates?"""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.arrays import Float64s
from tb_adam_plugin.languages.sentences import joined, say

from ..engine import thresholds
from ..engine.conditions import at_every_step
from ..engine.rule import Condition, Evidence, Persistence, Rule, Severity
from ..engine.signals import Signals
from ..engine.wording import number, percent, step

# Number of steps that a gradient scaler skipped, among this many taken and skipped ones. It tries a
# larger scale every 2,000 steps, which costs one.
SKIPPED_WINDOW = 50
SKIPPED_SHARE = 0.1
SKIPPED_MOST = 0.5


def _skipped(signals: Signals) -> Float64s:
    """Number of steps skipped between each step and the previous one, float64 ``[steps]``.

    A fused optimizer reports it. For any other, the loss scale shows it, which is halved each time
    (``backoff_factor`` of torch/amp/grad_scaler.py).
    """
    counted = np.diff(signals.column("skipped_steps"), prepend=0.0)
    scale = signals.column("loss_scale")
    known = np.flatnonzero((scale > 0) & np.isfinite(scale))
    halvings = np.zeros(scale.shape)
    halvings[known[1:]] = np.round(-np.diff(np.log2(scale[known])))
    skipped: Float64s = np.fmax(0.0, np.fmax(counted, halvings))
    return skipped


def _steps_skipped(signals: Signals) -> Condition | None:
    skipped = _skipped(signals)
    window = SKIPPED_WINDOW
    if skipped.size < window:
        return None
    sums = np.cumsum(np.append(0.0, skipped))
    lately = np.full(skipped.shape, np.nan)
    lately[window - 1 :] = sums[window:] - sums[:-window]
    # A scaler starts with a large scale and has to find the right one.
    begun = signals.steps - window >= max(signals.run.first_step, thresholds.LEAST_GRACE)
    share = lately / (lately + window)
    holds = (share > SKIPPED_SHARE) & begun
    return at_every_step(signals, share, holds, SKIPPED_SHARE)


def _severity(e: Evidence) -> Severity:
    return "error" if e.value > SKIPPED_MOST else "warning"


def _message(e: Evidence) -> str:
    scale = e.signals.column("loss_scale")[e.signals.steps <= e.worst_step]
    known = scale[np.isfinite(scale) & (scale > 0)]
    seen = say(
        "The gradient scaler skipped {share} of the steps before step {step} because gradients "
        "were not finite.",
        share=percent(e.value),
        step=step(e.worst_step),
    )
    if not known.size:
        return seen
    return joined([seen, say("The loss scale is down to {scale}.", scale=number(float(known[-1])))])


STEPS_SKIPPED = Rule(
    id="steps_skipped",
    title="The gradient scaler skips steps",
    needs=("step",),
    condition=_steps_skipped,
    persistence=Persistence(),
    severity=_severity,
    message=_message,
    advice=lambda e: say(
        "A lower loss scale does not help where activations or the loss itself overflow. Use "
        "bfloat16 autocast, which needs no scaler, and keep the loss and large sums in float32."
    ),
    reference="Micikevicius et al. 2018, Mixed precision training",
    explains=("plateau", "lr_too_low", "noise_dominated", "eps_dominates", "eps_influences"),
    uses=("skipped_steps", "loss_scale"),
    shows="skipped_steps",
    silences_compass=True,
)
