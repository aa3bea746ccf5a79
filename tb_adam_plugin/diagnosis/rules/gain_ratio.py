"""Do the steps overshoot? Compares a step's actual gain with the gain its gradient predicts."""

from __future__ import annotations

import numpy as np

from tb_adam_plugin.languages.sentences import say

from ..engine import thresholds
from ..engine.rule import Condition, Persistence, Rule
from ..engine.signals import Signals
from ..engine.stretches import lasting
from ..engine.windows import count_windows
from ..engine.wording import counted, number

# Actual over predicted change of the loss, median of the last windows that have it. At the best
# learning rate 0.84 (80 % of runs: 0.71 to 0.92), 0.68 at 3 times that, 0.59 at 10.
LOW_GAIN_RATIO = 0.4
LOW_POINTS = 3


def _gain_ratio_low(signals: Signals) -> Condition:
    step, ratio = signals.gain_ratio
    low = ratio < LOW_GAIN_RATIO
    known = ~np.isnan(signals.column("gain_ratio"))
    windows = count_windows(signals.steps, known) if known.any() else 0
    needed = thresholds.GAIN_RATIO_WINDOWS + LOW_POINTS - 1
    lacking = ""
    if windows < needed:
        seen = counted(windows, "gain ratio")
        lacking = say("{seen}, needs {needed}", seen=seen, needed=needed)
    return Condition(
        step,
        low,
        ratio,
        LOW_GAIN_RATIO,
        lowest_is_worst=True,
        lacking=lacking,
        compared="gain_ratio",
    )


def overshoots(signals: Signals) -> bool:
    """Whether the gain ratio is low for long enough."""
    low, points = _gain_ratio_low(signals), Persistence(LOW_POINTS)
    return bool(lasting(low, points).any())


GAIN_RATIO_LOW = Rule(
    id="gain_ratio_low",
    title="Do the steps overshoot?",
    needs=("gain_ratio",),
    condition=_gain_ratio_low,
    persistence=Persistence(LOW_POINTS),
    severity="info",
    message=lambda e: say(
        "A step changes the loss of its own batch by {ratio} times what its gradient promised "
        "(median of the last records). The best learning rate usually gives 0.84, one that is far "
        "too high less than half.",
        ratio=number(e.value),
    ),
    advice=lambda e: say("Try lr / 3, and see whether the loss falls faster."),
    reference="Nocedal & Wright 2006, Numerical Optimization, chapter 4",
    moves_lr="down",
)
