"""Whether a subclass takes the steps that the formula of its known base class gives.

This is checked for each parameter separately: a subclass may step only some of them, or scale the
steps of a few. If the update differs from the request by more than rounding allows, the step did
not follow the formula. If the optimizer has a step count that did not advance by one, that shows
it, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from tb_adam_plugin import schema
from tb_adam_plugin.arrays import Flags, Float64s

from .base import OptimizerState
from .group_settings import GroupSettings

Statistics = npt.NDArray[np.float32]

# Errors are only judged if rounding of a weight is below this share of its update.
_MOST_ROUNDING = 0.01
# As a share of the update: RMS of the actual minus the requested update.
_MOST_ERROR = 0.05
# In this many records, because a subclass may take a different step occasionally.
_RECORDS = 2
# A step took effect if less than this share of it was lost: then half precision does not lose all
# of another one of the same length.
_MOST_LOST = 0.3
# All of a step may be lost if it is shorter than this factor times one that took effect. If a step
# was certainly taken, it may even be longer: representable numbers between 1 and 2 are twice as far
# apart as below 1.
_LEAST_OF_ARRIVED, _LEAST_OF_ARRIVED_IN_A_STEP = 0.02, 2.0
# A step in two parts, as with weight decay, is rounded twice.
_ROUNDINGS = 2
# Half the gap between a weight and the next representable number, relative to the weight: at most,
# and at least.
_EPSILON = {
    "float32": 2.0**-24,
    "float64": 2.0**-53,
    "complex64": 2.0**-24,
    "complex128": 2.0**-53,
    "bfloat16": 2.0**-8,
    "float16": 2.0**-11,
}
_LEAST_HALF = {"float16": 2.0**-25}
_NAMES = [statistic.name for statistic in schema.STATISTICS]
_ERROR, _RATIO, _LOST, _LARGEST, _STEP = map(
    _NAMES.index,
    (
        "update_rounding_error",
        "update_to_weight_ratio",
        "lost_update_fraction",
        "weight_absmax",
        "state_step",
    ),
)
_OF_FORMULA = [i for i, statistic in enumerate(schema.STATISTICS) if "update" in statistic.needs]
# Computed from the state after a step, assuming that the formula produced it.
_BACKWARDS = [
    i
    for i, statistic in enumerate(schema.STATISTICS)
    if {"previous step", "exp_avg decay", "exp_avg_sq decay"} & set(statistic.needs)
]


class FormulaFit:
    """Leaves out what follows from a formula if the measured updates disagree with it."""

    def __init__(self, state: OptimizerState, *, is_alone: bool) -> None:
        """Start without a record.

        Args:
            state: Its ``update_is_known`` becomes False, with a notice, if its formula does not
                fit.
            is_alone: Whether no other process records the same training. Otherwise they would have
                to agree, so only records are changed there, but not the state.
        """
        self._state = state
        self._is_alone = is_alone
        self._misfits = self._left_out = self._in_part = 0
        self._is_another = False
        self._arrived = np.zeros(0)  # see _Taken.least_arrived
        self._lr_before: list[float | None] = []
        self._steps_before = np.zeros(0)

    def before_step(self, parameters: Sequence[tuple[Tensor, GroupSettings]]) -> None:
        """Note the learning rates and step counts at the start of the step.

        Args:
            parameters: The layout's parameters, each with its group.
        """
        if self._state.reads_as:
            self._lr_before = self._learning_rates()
            self._steps_before = np.array([self._steps_of(*one) for one in parameters])

    def check(self, statistics: Statistics, layout: schema.Layout, requested_rms: Float64s) -> None:
        """Check a record, and set to NaN what does not fit.

        Args:
            statistics: float32 ``[parameters, len(schema.STATISTICS)]``, changed in place.
            layout: Layout of the statistics.
            requested_rms: RMS of the changes that the formula requests, float64 ``[parameters]``.
        """
        state = self._state
        if not state.reads_as:
            return
        before = self._steps_before
        known = before if before.shape == (len(statistics),) else np.full(len(statistics), np.nan)
        steps: Float64s = statistics[:, _STEP].astype(np.float64) - known
        if not state.update_is_known:
            is_doubtful = steps != 1 if self._is_another else np.isfinite(steps) & (steps != 1)
            _hide(statistics, is_doubtful, _BACKWARDS)
            return
        step = _Taken(statistics, layout, requested_rms, steps, self._arrived_before(statistics))
        self._arrived = step.arrived()
        misfit, is_unclear = step.misfits(), step.unclear()
        hidden = misfit | is_unclear
        has_moved = step.has_moved.any()
        error = step.typical_error()
        is_another = has_moved and error > _MOST_ERROR  # False if that is NaN
        is_left_out = not has_moved and bool(misfit.any())
        if is_another or is_left_out:
            hidden[:] = True
        _hide(statistics, hidden, _OF_FORMULA)
        _hide(statistics, hidden & (steps != 1), _BACKWARDS)
        if is_left_out:
            self._note_left_out()
        elif is_another:
            self._note_another(error)
        else:
            self._misfits = self._misfits if np.isnan(error) else 0
            self._note_in_part(misfit, layout)

    def _note_left_out(self) -> None:
        self._left_out += 1
        if self._left_out == _RECORDS:
            self._say(
                f"{self._own} skips steps: at {_RECORDS} recorded steps it moved no weight, "
                f"although {self._state.reads_as} would have. Records of such steps omit"
            )

    def _note_another(self, error: float) -> None:
        if self._lr_before != self._learning_rates():
            return  # it is unclear which of them moved the weights
        self._misfits += 1
        if self._misfits == _RECORDS and self._is_alone:
            base = self._state.reads_as
            self._state.update_is_known, self._is_another = False, True
            self._say(
                f"{self._own} does not move the weights as {base} would: its updates differ by "
                f"{100 * error:.0f} % from {base}'s formula. Records omit"
            )

    def _note_in_part(self, misfit: Flags, layout: schema.Layout) -> None:
        if not misfit.any() or self._lr_before != self._learning_rates():
            return
        self._in_part += 1
        if self._in_part == _RECORDS:
            name = layout.parameters[int(misfit.argmax())].name
            self._say(
                f"{self._own} does not move all weights as {self._state.reads_as} would: at "
                f"{_RECORDS} recorded steps some parameters, the last time {int(misfit.sum())} of "
                f"{len(misfit)} with {name!r} among them, moved differently or not at all. In "
                "these cases their records omit"
            )

    def _say(self, what: str) -> None:
        if self._is_alone:
            names = ", ".join(_NAMES[i] for i in _OF_FORMULA)
            self._state.notice = f"{what} the values computed from the formula ({names})"

    @property
    def _own(self) -> str:
        return type(self._state.optimizer).__name__

    def _arrived_before(self, statistics: Statistics) -> Float64s:
        if self._arrived.shape != (len(statistics),):
            self._arrived = np.full(len(statistics), np.inf)
        return self._arrived

    def _learning_rates(self) -> list[float | None]:
        """The learning rate of each group; None for a tensor, which may be on a device."""
        rates = [group.get("lr") for group in self._state.optimizer.param_groups]
        return [float(lr) if isinstance(lr, int | float) else None for lr in rates]

    def _steps_of(self, parameter: Tensor, group: GroupSettings) -> float:
        """Steps taken by a parameter; NaN if unknown or on a device."""
        state = self._state.state_of(parameter, group)
        step = 0.0 if state is None else state.step
        if isinstance(step, Tensor):
            return float(step) if step.device.type == "cpu" and step.numel() == 1 else np.nan
        return float(step)


def _hide(statistics: Statistics, parameters: Flags, columns: Sequence[int]) -> None:
    """Set some columns of some parameters to NaN."""
    statistics[np.ix_(np.flatnonzero(parameters), np.array(columns))] = np.nan


class _Taken(NamedTuple):
    """A step of ``K`` parameters next to what the formula requests.

    Attributes:
        statistics: float32 ``[K, len(schema.STATISTICS)]``.
        layout: Layout of the statistics.
        requested: RMS of the requested changes, float64 ``[K]``.
        steps: Increase of the optimizer's step count, float64 ``[K]``; NaN without one.
        least_arrived: The smallest earlier request that mostly took effect, as a share of the
            largest weight, float64 ``[K]``.
    """

    statistics: Statistics
    layout: schema.Layout
    requested: Float64s
    steps: Float64s
    least_arrived: Float64s

    @property
    def _is_asked_for(self) -> Flags:
        return np.isfinite(self.statistics[:, _ERROR])

    @property
    def has_moved(self) -> Flags:
        """Which of the parameters that the formula moves have moved."""
        found: Flags = self._is_asked_for & (self.statistics[:, _RATIO] != 0)
        return found

    def _epsilon(self) -> Float64s:
        return np.array([_EPSILON.get(p.dtype, np.inf) for p in self.layout.parameters])

    def misfits(self) -> Flags:
        """Which parameters have taken a different step from the formula's, or not exactly one.

        If a parameter has not moved: its largest request is at least their RMS, and no gap between
        a weight and the next representable number exceeds that of the largest weight, so a larger
        request than that has an effect.
        """
        half = np.array([_LEAST_HALF.get(p.dtype, 0.0) for p in self.layout.parameters])
        half = np.maximum(half, self._epsilon() * self.statistics[:, _LARGEST])
        error = self.statistics[:, _ERROR]
        is_other = (error > _MOST_ERROR) & (error * self.requested > _ROUNDINGS * half)
        is_other |= np.isfinite(self.steps) & (self.steps != 1)
        found: Flags = self._is_asked_for & is_other
        return found

    def unclear(self) -> Flags:
        """Which have not moved, although rounding may not be the reason.

        An increased step count proves that there was a step, and so do other parameters that have
        moved. It is still unclear if an equally long step has had an effect before.
        """
        stays = self._is_asked_for & ~self.has_moved
        is_step = (self.steps == 1) | self.has_moved.any()
        share = np.where(is_step, _LEAST_OF_ARRIVED_IN_A_STEP, _LEAST_OF_ARRIVED)
        found: Flags = stays & (self._request_of_weight() > share * self.least_arrived)
        return found

    def _request_of_weight(self) -> Float64s:
        with np.errstate(divide="ignore", invalid="ignore"):
            share: Float64s = self.requested / self.statistics[:, _LARGEST]
        return share

    def arrived(self) -> Float64s:
        """:attr:`least_arrived`, updated with this step."""
        has_arrived = self.has_moved & (self.statistics[:, _LOST] < _MOST_LOST)
        now = np.where(has_arrived, self._request_of_weight(), np.inf)
        least: Float64s = np.minimum(now, self.least_arrived)
        return least

    def typical_error(self) -> float:
        """Median over those that move and are stored precisely enough; NaN if there are none."""
        error, ratio = self.statistics[:, _ERROR], self.statistics[:, _RATIO]
        with np.errstate(divide="ignore", invalid="ignore"):
            is_exact = (self._epsilon() / ratio < _MOST_ROUNDING) & np.isfinite(error)
        return float(np.median(error[is_exact])) if is_exact.any() else float("nan")
