"""Large first updates with a fast-falling loss: a question, not an alarm."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from rule_runs.diagnosed import found
from rule_runs.learning_rate import TOO_FAST
from synthetic_runs import changed, column

Curve = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]


def falling(share: float, bump: float = 1.0) -> Curve:
    """From 2 to a share of it within 20 steps, with a bump at the third one."""

    def curve(steps: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        loss: npt.NDArray[np.float64] = 2 * (
            share + (1 - share) * np.exp(-(steps - steps.min()) / 4)
        )
        loss[2] = 2 * bump if bump > 1 else loss[2]
        return loss

    return curve


@pytest.mark.parametrize(
    ("curve", "severity"),
    [
        (falling(0.25), "info"),
        (falling(0.6), "warning"),  # hardly fast
        (falling(0.25, bump=1.3), "warning"),  # it rose at first
    ],
)
def test_a_loss_that_falls_fast_from_the_first_step_on_makes_it_a_question(
    curve: Curve, severity: str
) -> None:
    finding = found(changed(*TOO_FAST, column("loss", curve)))["lr_too_high"]
    assert finding.severity == severity
    assert ("?" in finding.title) == (severity == "info")
