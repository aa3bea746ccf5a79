"""The runs of the browser tests, and how to find things in them."""

from __future__ import annotations

import json
from urllib.parse import quote

from generated_runs import Run
from in_process import unpack
from tensorboard_process import TensorBoard, wait_until

STEPS, SPIKE = 200, 150
SPIKED = Run(steps=STEPS, spike_at=SPIKE, lr=2e-3)
PLAIN = Run(steps=STEPS, lr=1e-4, seed=1)
WITH_NAN = Run(architecture="cnn", parameters=20, steps=80, nan_at=40)

EMBEDDING = "transformer.wte.weight"
NOT_UPDATED = "transformer.ln_0.weight"  # it never gets a gradient
ATTENTION = "transformer.h.0.attn.c_attn.weight"
# Demonstrations with different faults, and the name of a healthy run beside them.
ILL = ("dead_units", "learning_rate_jumped", "gradient_spike")
HEALTHY = "healthy"
MAGENTA, WHITE = (213, 0, 249), (255, 255, 255)


def wait_for_runs(tensorboard: TensorBoard, count: int) -> None:
    wait_until(
        lambda: len(json.loads(tensorboard.ask("summary").text)["runs"]) >= count,
        f"{count} runs",
    )


def share_of(step: int, last: int = STEPS) -> float:
    """The position of a step on the axis, which starts with the first logged step."""
    return (step - 1) / (last - 1)


def logged_value(
    tensorboard: TensorBoard, run: str, parameter: str, statistic: str, step: int
) -> float:
    answer = tensorboard.ask(f"series?run={quote(run)}&parameter={quote(parameter)}")
    header, arrays = unpack(answer.body)
    row = header["statistics"].index(statistic)
    return float(arrays["values"][row, arrays["step"].tolist().index(step)])
