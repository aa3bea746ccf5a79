"""Gradient norms of the last steps, parameter by parameter, for the case that something happens.

Between records only the norms are known, and they are kept on the device. When the global norm
jumps or is not finite, those of the last steps are handed out to be written, and the next steps are
to be recorded in full: so what led to a spike is there, however seldom records are made.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .norms import Squares
from .step_scalars import Scalar
from .to_host import send_to_host

KEPT_STEPS = 64
DETAILED_STEPS = 16

_LEAST_STEPS = 16
_STEPS_BETWEEN_THRESHOLDS = 16
# A norm is unusual that lies this many robust standard deviations above the median of the window,
# on a logarithmic scale, and at least twice as high as the median.
_DEVIATIONS = 6.0
_LEAST_FACTOR = 2.0
# The standard deviation of a normal distribution is this many median absolute deviations.
_ROBUST_SCALE = 1.4826


class SpikeDetector:
    """Tells an unusual norm from the ones before it."""

    def __init__(self) -> None:
        """Start without norms."""
        self._logarithms: deque[float] = deque(maxlen=KEPT_STEPS)
        self._threshold = math.inf
        self._until_threshold = _LEAST_STEPS
        self._quiet_steps = _LEAST_STEPS  # since the last unusual one

    def is_unusual(self, norm: float) -> bool:
        """Look at the norm of the next step; of several unusual ones in a row the first counts."""
        unusual = not norm <= self._threshold or not math.isfinite(norm)
        first = unusual and self._quiet_steps >= _LEAST_STEPS
        self._quiet_steps = 0 if unusual else self._quiet_steps + 1
        if math.isfinite(norm) and norm > 0:
            self._logarithms.append(math.log(norm))
        # The median moves slowly and costs more than the rest of a step, so it is kept a while.
        self._until_threshold -= 1
        if self._until_threshold <= 0 and len(self._logarithms) >= _LEAST_STEPS:
            self._until_threshold = _STEPS_BETWEEN_THRESHOLDS
            window = np.array(self._logarithms)
            median = float(np.median(window))
            deviation = _ROBUST_SCALE * float(np.median(np.abs(window - median)))
            self._threshold = math.exp(
                median + max(_DEVIATIONS * deviation, math.log(_LEAST_FACTOR))
            )
        return first


class _Step(NamedTuple):
    number: int
    squares: Squares
    present: Sequence[bool]
    skipped: Tensor | None


class GradientHistory:
    """The last steps' norms, and whether the next steps call for a closer look."""

    def __init__(self) -> None:
        """Start without steps."""
        self._detector = SpikeDetector()
        self._steps: deque[_Step] = deque(maxlen=KEPT_STEPS)
        self._on_their_way: deque[tuple[Tensor, torch.cuda.Event]] = deque()
        self._detailed_until = 0
        self._is_due = False

    def add(
        self, number: int, squares: Squares, present: Sequence[bool], skipped: Tensor | None = None
    ) -> Scalar:
        """Keep a step.

        Args:
            number: Of the step, if no step since the last :meth:`renumber` was skipped.
            squares: Σg² of each parameter, float64 ``[parameters]``; kept, not copied.
            present: Which parameters had a gradient.
            skipped: On a device, whether the optimizer left this step out.

        Returns:
            The global norm. On a device a 0-dim tensor: it is looked at when it has arrived, which
            may be a step or two later. This never waits.
        """
        if skipped is not None:  # the trainer's own, which it may free or write to
            skipped = skipped.detach().reshape(()).clone()
        self._steps.append(_Step(number, squares, present, skipped))
        norm: Scalar = (
            squares.sum().sqrt() if isinstance(squares, Tensor) else math.sqrt(squares.sum())
        )
        # A scaler probes for the largest scale: gradients that it rejects are nothing unusual.
        looked_at = norm if skipped is None else torch.where(skipped > 0, 0.0, norm)
        if isinstance(looked_at, Tensor) and looked_at.is_cuda:
            on_host, arrived = send_to_host(looked_at)
            assert arrived is not None
            self._on_their_way.append((on_host, arrived))
            while self._on_their_way and self._on_their_way[0][1].query():
                self._look_at(number, float(self._on_their_way.popleft()[0]))
        else:
            self._look_at(number, float(looked_at))
        return norm

    @property
    def is_due(self) -> bool:
        """Whether something has happened, so that :meth:`take` has an answer."""
        return self._is_due

    def wants_detail(self, step: int) -> bool:
        """Whether a step is to be recorded whatever the schedule says."""
        return step <= self._detailed_until

    def clear(self) -> None:
        """Forget the kept steps: their parameters are other ones now."""
        self._steps.clear()
        self._is_due = False

    def renumber(self, skipped: int) -> None:
        """Leave out the steps that turned out to be skipped, and number the others accordingly.

        Waits for the device, if there are any.

        Args:
            skipped: How many steps since the last call were skipped, kept or not.
        """
        if not skipped:
            return
        final: list[_Step] = []
        for step in reversed(self._steps):  # from the last one, before which all skipped ones lie
            if step.skipped is not None and bool(step.skipped):
                skipped -= 1
            else:
                final.append(step._replace(number=step.number - skipped, skipped=None))
        self._steps.clear()
        self._steps.extend(reversed(final))

    def take(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]] | None:
        """Return the kept steps if something has happened, and forget them. Waits for the device.

        Returns:
            Step numbers ``[steps]`` and gradient norms ``[steps, parameters]``, NaN without a
            gradient; or None.
        """
        if not self._is_due:
            return None
        steps = list(self._steps)
        self.clear()
        if not steps:
            return None
        on_device = [step.squares for step in steps if isinstance(step.squares, Tensor)]
        arrived = iter(torch.stack(on_device).cpu().numpy() if on_device else ())
        table = np.sqrt(
            [next(arrived) if isinstance(s.squares, Tensor) else s.squares for s in steps]
        )
        table[~np.array([step.present for step in steps])] = np.nan
        return np.array([step.number for step in steps], np.int64), table

    def _look_at(self, step: int, norm: float) -> None:
        if self._detector.is_unusual(norm):
            self._is_due = True
            self._detailed_until = step + DETAILED_STEPS
