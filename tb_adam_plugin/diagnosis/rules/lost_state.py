"""Was the optimizer's state lost during the run?"""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.arrays import Flags
from tb_adam_plugin.languages.sentences import say

from ..engine.rule import Condition, Evidence, Persistence, Rule
from ..engine.signals import Signals
from ..engine.warmup import warmup_steps
from ..engine.wording import counted, named, step

# Cosine of exp_avg and gradient right after a state's first step is 1.
RESET_COSINE = 0.999
# A state is lost as a whole: at least this share of the parameters restarts at one record.
RESET_SHARE = 0.5
# A gradient that has grown by this factor since the previous record outweighs every exp_avg: it
# looks as if there had been none, because rounding removes it. SGD that diverges: from 2e6.
OUTWEIGHS = 1e3


def _state_reset(signals: Signals) -> Condition:
    """Records at which the moments had only just started, although there were some before."""
    run = signals.run

    def compute(part: slice) -> Flags:
        cosine = signals.statistic("gradient_exp_avg_cosine")[part]
        before = signals.statistic("momentum_gradient_cosine")[part]
        surprise = signals.statistic("gradient_surprise")[part]
        began: Flags = (cosine >= RESET_COSINE) & np.isnan(before) & np.isnan(surprise)
        # A state is lost as a whole; numbers overflow in individual parameters.
        concerned = ~np.isnan(cosine) | (signals.statistic("zero_gradient_fraction")[part] < 1)
        share = began.sum(axis=1) / np.maximum(1, concerned.sum(axis=1))
        began &= (share > RESET_SHARE)[:, None]
        return began

    began = signals.by_record("state began", compute)
    fewer = signals.by_record("fewer steps", lambda part: signals.change("state_step", part) < 0)
    some = np.flatnonzero(began[1:].any(axis=0) | fewer.any(axis=0))
    known = signals.by_record(
        "momentum known",
        lambda part: ~np.isnan(signals.statistic("momentum_gradient_cosine")[part]),
    )[:, some]
    outweighs = signals.by_record("outweighs", lambda part: _outweighs(signals, part))
    holds = began[:, some] & ~outweighs[:, some]
    holds[1:] &= np.logical_or.accumulate(known, axis=0)[:-1]
    holds[:1] = False
    holds |= fewer[:, some]
    lacking = ""
    if run.step.size < 2:
        lacking = say("{seen}, needs {needed}", seen=counted(run.step.size, "record"), needed=2)
    return Condition(
        run.step,
        holds,
        holds.astype(np.float32),
        0.0,
        some,
        known=np.ones(run.step.shape, bool),
        lacking=lacking,
    )


def _outweighs(signals: Signals, part: slice) -> Flags:
    """Where a gradient is so much larger than at the record before, ``[records, parameters]``."""
    after, before = signals.with_record_before("gradient_rms", part)
    found: Flags = after > OUTWEIGHS * before
    return found


def _state_reset_advice(e: Evidence) -> str:
    steps = warmup_steps(e.signals)
    if steps > 0:
        return say(
            "Load the optimizer's state together with the weights. If it is gone, warm the "
            "learning rate up again over {count} steps.",
            count=f"{steps:.0f}",
        )
    return say(
        "Load the optimizer's state together with the weights. If it is gone, warm the learning "
        "rate up again."
    )


STATE_RESET = Rule(
    id="state_reset",
    title="Optimizer state was lost",
    needs=(),
    needs_any=("state_step", "momentum_gradient_cosine"),
    condition=_state_reset,
    persistence=Persistence(),
    severity="error",
    message=lambda e: say(
        "At step {step} the moments of {names} started from zero in the middle of the run: the "
        "next updates are steps of the full learning rate in the direction of the sign of each "
        "gradient.",
        step=step(e.worst_step),
        names=named(e.names, e.signals.run.names),
    ),
    advice=_state_reset_advice,
    reference="Ma & Yarats 2021, On the adequacy of untuned warmup for adaptive optimization",
    explains=("gradient_spike", "loss_blowup"),
    uses=(
        "gradient_exp_avg_cosine",
        "gradient_surprise",
        "gradient_rms",
        "zero_gradient_fraction",
    ),
    shows="gradient_exp_avg_cosine",
)
