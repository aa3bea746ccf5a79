"""Runs whose loss blows up, stagnates or is exhausted, and runs that just miss it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from synthetic_runs import Change, column, make_run, statistic

from rule_runs.parts import NearMiss, flat_loss

NOISY: list[Change] = [column("loss", flat_loss), statistic("momentum_gradient_cosine", 0.05)]

PLANTED: dict[str, Sequence[Change]] = {
    "loss_blowup": [column("loss", 50.0, from_step=300)],
    "noise_dominated": NOISY,
    "converged": [
        column("loss", lambda t: 2.3 * np.exp(-t / 20)),
        statistic("gradient_surprise", 0.01, from_step=100),
    ],
    "stale_second_moment": [statistic("gradient_surprise", 0.01, from_step=100)],
    "plateau": [column("loss", flat_loss)],
}

NEAR: list[NearMiss] = [
    ("loss_blowup", "a bad batch", [column("loss", 8.0, from_step=300, to_step=301)]),
    ("loss_blowup", "one outlier", [column("loss", 1e6, from_step=300, to_step=300)]),
    ("loss_blowup", "higher, not by half", [column("loss", 3.2, from_step=300)]),
    ("noise_dominated", "loss falls", NOISY[1:]),
    ("noise_dominated", "slowly", [NOISY[1], column("loss", lambda t: 2.3 - 3e-4 * t)]),
    ("noise_dominated", "nothing is left", [NOISY[1], column("loss", 0.1, from_step=20)]),
    ("noise_dominated", "cosine", [NOISY[0], statistic("momentum_gradient_cosine", 0.4)]),
    ("noise_dominated", "still", [*NOISY, statistic("update_to_weight_ratio", 1e-5)]),
    (
        "noise_dominated",
        "at the start",
        [NOISY[1], column("loss", 2.3, to_step=190), column("loss", 1.0, from_step=191)],
    ),
    ("converged", "loss is high", PLANTED["stale_second_moment"]),
    ("converged", "gradients are fresh", [PLANTED["converged"][0]]),
    ("stale_second_moment", "converged", PLANTED["converged"]),
    ("stale_second_moment", "healthy", [statistic("gradient_surprise", 0.3)]),
    ("stale_second_moment", "none at all", [statistic("gradient_surprise", 0.0)]),
    (
        "plateau",
        "an outlier where every step is recorded",
        [lambda _: make_run(every=1), column("loss", 60.0, from_step=400, to_step=400)],
    ),
    ("plateau", "falls late", [column("loss", 2.3, to_step=250), column("loss", 1, from_step=251)]),
    ("plateau", "negative loss", [column("loss", -2.3)]),
]
