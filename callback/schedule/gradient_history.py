"""Gradient norms of the last steps, per parameter, in case something happens.

Between records only the norms are known, and they stay on the device. When the global norm jumps or
is not finite, the norms of the last steps are handed out to be written, and the next steps are
recorded in full. So the steps that led to a spike are available, however rare the records are.
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

from tb_adam_plugin.diagnosis.engine import thresholds

from ..memory.to_host import send_to_host
from ..read.norms import Squares
from ..write.step_rows import Scalar

KEPT_STEPS = 64
DETAILED_STEPS = 16

_LEAST_STEPS = 16
# The standard deviation of a normal distribution, in median absolute deviations.
_ROBUST_SCALE = 1.4826


class SpikeDetector:
    """Detects unusual norms by comparing with earlier ones, with the thresholds of the spike rule.

    So every spike that the rule reports has had its closer look, and no look is spent on norms that
    the rule considers usual.
    """

    def __init__(self) -> None:
        """Start without norms."""
        self._logarithms: deque[float] = deque(maxlen=thresholds.SPIKE_WINDOW)
        self._finite_steps = _LEAST_STEPS  # since the last norm that was not finite

    def is_unusual(self, norm: float) -> bool:
        """Check the norm of the next step.

        Only the first of several non-finite norms in a row counts, because they may stay so
        forever; finite norms that stay high become the usual ones.
        """
        if not math.isfinite(norm):
            is_first = self._finite_steps >= _LEAST_STEPS
            self._finite_steps = 0
            return is_first
        self._finite_steps += 1
        is_spike = self._is_spike(norm)
        if norm > 0:
            self._logarithms.append(math.log(norm))
        return is_spike

    def _is_spike(self, norm: float) -> bool:
        known = self._logarithms
        least = math.log(thresholds.SPIKE_LEAST_FACTOR)
        # Only the few steps that could be spikes at all need the medians.
        if norm <= 0 or len(known) < _LEAST_STEPS or math.log(norm) - min(known) <= least:
            return False
        usual = _median(sorted(known))
        deviation = _ROBUST_SCALE * _median(sorted(abs(one - usual) for one in known))
        limit = thresholds.SPIKE_DEVIATIONS * (deviation + thresholds.SPIKE_LEAST_DEVIATION)
        return math.log(norm) - usual > max(limit, least)


def _median(ordered: Sequence[float]) -> float:
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


class _Step(NamedTuple):
    number: int
    squares: Squares
    present: Sequence[bool]
    skipped: Tensor | None


class GradientHistory:
    """The last steps' norms, and whether the next steps need a closer look."""

    def __init__(self) -> None:
        """Start without steps."""
        # Norms before clipping cannot be compared with norms after it.
        self._detector, self._detector_of_given = SpikeDetector(), SpikeDetector()
        self._steps: deque[_Step] = deque(maxlen=KEPT_STEPS)
        self._on_their_way: deque[tuple[int, SpikeDetector, Tensor, torch.cuda.Event]] = deque()
        self._jumps: list[int] = []
        self._detailed_until = 0
        self._is_due = False

    def add(
        self,
        number: int,
        squares: Squares,
        present: Sequence[bool],
        skipped: Tensor | None = None,
        before_clip: Scalar = float("nan"),
    ) -> Scalar:
        """Keep a step.

        Args:
            number: Step number, assuming that no step since the last :meth:`renumber` was skipped.
            squares: Σg² of each parameter, float64 ``[parameters]``; kept, not copied.
            present: Which parameters had a gradient.
            skipped: On a device, whether the optimizer skipped this step.
            before_clip: The global norm before clipping, if known: clipping hides a jump.

        Returns:
            The global norm. On a device a 0-dim tensor, which is read once it has arrived, possibly
            a step or two later. This never waits.
        """
        if skipped is not None:  # it belongs to the trainer, which may free or overwrite it
            skipped = skipped.detach().reshape(()).clone()
        self._steps.append(_Step(number, squares, present, skipped))
        norm: Scalar = (
            squares.sum().sqrt() if isinstance(squares, Tensor) else math.sqrt(squares.sum())
        )
        if not self.look_at_given(number, before_clip, skipped):
            self._look_at(self._detector, number, norm, skipped)
        return norm

    def look_at_given(
        self, number: int, before_clip: Scalar, skipped: Tensor | None = None
    ) -> bool:
        """Check a norm that :meth:`add` did not compute; return whether there is one.

        The arguments are those of :meth:`add`, and this never waits either.
        """
        is_there = isinstance(before_clip, Tensor) or before_clip >= 0
        if is_there:
            self._look_at(self._detector_of_given, number, before_clip, skipped)
        return is_there

    @property
    def is_due(self) -> bool:
        """Whether something has happened, and :meth:`take` has an answer."""
        return self._is_due

    def wants_detail(self, step: int) -> bool:
        """Whether to record a step regardless of the schedule."""
        return step <= self._detailed_until

    def take_jumps(self) -> list[int]:
        """Return the steps at which something has happened since the last call."""
        jumps, self._jumps = self._jumps, []
        return jumps

    def clear(self) -> None:
        """Forget the kept steps: the parameters have changed."""
        self._steps.clear()
        self._is_due = False

    def renumber(self, skipped: int) -> None:
        """Drop the steps that turned out to be skipped, and renumber the others.

        Waits for the device, if there are any.

        Args:
            skipped: Number of steps skipped since the last call, kept or not.
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

    def _look_at(
        self, detector: SpikeDetector, number: int, norm: Scalar, skipped: Tensor | None
    ) -> None:
        # A scaler probes for the largest scale: gradients that it rejects are not unusual.
        if skipped is not None:
            if isinstance(norm, Tensor) and not norm.is_cuda:
                norm = float(norm)
            if isinstance(norm, Tensor):
                skipped = skipped.to(norm.device, non_blocking=True)
            norm = torch.where(skipped > 0, 0.0, norm)
        if not (isinstance(norm, Tensor) and norm.is_cuda):
            self._judge(detector, number, number, float(norm))
            return
        on_host, arrived = send_to_host(norm)
        assert arrived is not None
        self._on_their_way.append((number, detector, on_host, arrived))
        while self._on_their_way and self._on_their_way[0][3].query():
            of_step, detector, on_host, _ = self._on_their_way.popleft()
            self._judge(detector, of_step, number, float(on_host))

    def _judge(self, detector: SpikeDetector, of_step: int, now: int, norm: float) -> None:
        if detector.is_unusual(norm):
            self._is_due = True
            self._detailed_until = now + DETAILED_STEPS
            self._jumps.append(of_step)
