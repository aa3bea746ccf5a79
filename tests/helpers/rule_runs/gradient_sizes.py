"""Runs with clipped, scaled, spiking or infinite gradients, and runs that just miss it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from synthetic_runs import Change, column, statistic

from rule_runs.parts import LAYERS, NAN, NearMiss

CLIPPED: list[Change] = [
    column("gradient_norm", 1.0),
    column("gradient_norm_before_clip", lambda t: 40 + np.sin(t)),
]
UNSCALED_LATE: list[Change] = [
    column("gradient_norm", 0.5 / 65_536),
    column("gradient_rescaling", lambda t: np.where(t % 10 == 0, 1e-10, NAN)),
]
# From step 200 on, every second call is skipped.
SKIPPING: list[Change] = [column("skipped_steps", lambda t: np.maximum(t - 200, 0))]

PLANTED: dict[str, Sequence[Change]] = {
    "clipped_before_unscaling": UNSCALED_LATE,
    "gradient_scale": [statistic("elasticity", 5e5)],
    "steps_skipped": SKIPPING,
    "clip_always": CLIPPED,
    "gradient_spike": [column("gradient_norm", 100.0, from_step=300, to_step=300)],
    "nonfinite": [statistic("nonfinite_count", 3.0, of=["head.weight"], from_step=400)],
    "clip_constant": [column("gradient_norm", 1.0)],
}

NEAR: list[NearMiss] = [
    ("clipped_before_unscaling", "another norm", [column("gradient_norm", 1.7e-5)]),
    ("clipped_before_unscaling", "a small max_norm", [column("gradient_norm", 1e-3)]),
    ("clipped_before_unscaling", "a max_norm that is used", [column("gradient_norm", 2.0**-8)]),
    (
        "clipped_before_unscaling",
        "a norm that changes",
        [*UNSCALED_LATE, column("gradient_norm", lambda t: (1 + t % 2 / 2) / 65_536)],
    ),
    (
        "clipped_before_unscaling",
        "short",
        [column("gradient_norm", 1 / 65_536, from_step=100, to_step=118), UNSCALED_LATE[1]],
    ),
    (
        "clipped_before_unscaling",
        "nothing is scaled",
        [UNSCALED_LATE[0], column("gradient_rescaling", 0.01)],
    ),
    ("gradient_scale", "largest of healthy runs", [statistic("elasticity", 226.0)]),
    (
        "gradient_scale",
        "blown up",
        [statistic("elasticity", 5e5, from_step=320), column("loss", 50.0, from_step=300)],
    ),
    ("gradient_scale", "short", [statistic("elasticity", 5e5, only=[9, 10])]),
    ("steps_skipped", "now and then", [column("skipped_steps", lambda t: t // 20)]),
    ("steps_skipped", "at first", [column("skipped_steps", lambda t: np.minimum(t, 20))]),
    ("steps_skipped", "scale grows", [column("loss_scale", lambda t: 2.0 ** (t // 10))]),
    (
        "clip_always",
        "a little",
        [CLIPPED[0], column("gradient_norm_before_clip", lambda t: 5 + np.sin(t))],
    ),
    (
        "clip_always",
        "now and then",
        [CLIPPED[0], column("gradient_norm_before_clip", lambda t: np.where(t % 10 == 0, 1, 40))],
    ),
    ("gradient_spike", "noise", [column("gradient_norm", 4.0, from_step=300, to_step=300)]),
    ("gradient_spike", "healthy surprise", [statistic("gradient_surprise", 4.7, only=[30])]),
    (
        "gradient_spike",
        "gradients after none at all",
        [statistic("gradient_surprise", np.inf, of=LAYERS[:1], only=[30])],
    ),
    ("gradient_spike", "first steps", [statistic("gradient_surprise", 50.0, to_step=20)]),
    ("gradient_spike", "start", [column("gradient_norm", 100.0, to_step=20)]),
    ("clip_constant", "noise", [column("gradient_norm", lambda t: 1 + 0.01 * (t % 2))]),
    ("clip_constant", "zero", [column("gradient_norm", 0.0)]),
    (
        "clip_constant",
        "norm before is known",
        [column("gradient_norm", 1.0), column("gradient_norm_before_clip", 1.4)],
    ),
]
