"""Derived values of a run that several rules need, each computed once.

Values that depend on every parameter are computed record by record and cached, so a run that has
grown by one record only costs one record.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from tb_adam_plugin.arrays import Float32s, Float64s, Indices
from tb_adam_plugin.schema import LOSS, SURROGATE_LOSS, Group

from . import thresholds
from .over_time import median, moving_average, recent_median
from .packed_flags import PackedFlags, packed, unpacked
from .recorded_run import RecordedRun, common_records, fan_in
from .schedule_shape import warmup_points
from .worst import worst_of_row

# Statistics that many rules use.
RATIO = "update_to_weight_ratio"
COSINE = "momentum_gradient_cosine"

# Nobody trains with more with Adam-like optimizers: a larger value is multiplied by the schedule.
LARGEST_ADAPTIVE_LR = 0.1

_Part = TypeVar("_Part", bound=npt.NDArray[Any])


class Signals:
    """A run, and its derived values.

    Attributes:
        run: The recorded run.
    """

    def __init__(self, run: RecordedRun, earlier: Signals | None = None) -> None:
        """Start without computing anything.

        Args:
            run: The recorded run.
            earlier: The same run when it was shorter. Its results are reused.
        """
        self.run = run
        self._by_record: dict[Hashable, npt.NDArray[Any] | PackedFlags] = {}
        self._known = 0 if earlier is None else common_records(earlier.run, run)
        self._earlier = earlier._by_record if earlier is not None and self._known else {}

    @property
    def nbytes(self) -> int:
        """Memory of the computed values, and of the columns of every step."""
        arrays = [*self.run.every_step.values(), *self.run.hyperparameters.values()]
        return sum(array.nbytes for array in [*arrays, *self._by_record.values()])

    def by_record(self, key: Hashable, compute: Callable[[slice], _Part]) -> _Part:
        """Return an array whose first axis is the records.

        Args:
            key: Key of the array.
            compute: Returns its part for some records, each from that record alone.
        """
        kept = self._by_record.get(key)
        if kept is None:
            known = self._earlier.get(key)
            if known is None:
                kept = compute(slice(0, None))
            else:
                new = compute(slice(self._known, None))
                kept = np.concatenate([unpacked(known)[: self._known], new])
            self._by_record[key] = kept
        found: Any = unpacked(kept)
        return found  # type: ignore[no-any-return]

    def release(self) -> None:
        """Drop everything not needed to continue; keep computed values, with flags as bits."""
        self.run.release()
        self._earlier = {}
        for key, kept in self._by_record.items():
            self._by_record[key] = packed(kept)

    # --- statistics ---

    def statistic(self, name: str) -> Float32s:
        """A statistic, float32 ``[records, parameters]``; NaN where it was not recorded."""
        values = self.run.statistics.get(name)
        if values is None:
            return self._nothing
        return values

    def change(self, name: str, part: slice) -> Float32s:
        """Change of a statistic since the previous record, for some records; NaN for the first."""
        values = self.statistic(name)
        before = np.full(values[part].shape, np.nan, np.float32)
        if part.start:
            before[:] = values[part.start - 1 : -1]
        else:
            before[1:] = values[:-1]
        changed: Float32s = values[part] - before
        return changed

    def is_known(self, name: str) -> bool:
        """Whether a statistic has any value."""
        values = self.run.statistics.get(name)
        if values is None or not values.size:
            return False
        return bool((~np.isnan(values[-1])).any() or (~np.isnan(values)).any())

    def median(self, name: str, parameters: Indices) -> Float64s:
        """The median of a statistic over some parameters, float64 ``[records]``."""
        key = ("median", name, parameters.tobytes())
        return self.by_record(key, lambda part: median(self.statistic(name)[part][:, parameters]))

    def sensitivity(self, parameters: Indices) -> Float32s:
        """‖g‖·‖w‖ of some parameters: change of the loss for a relative change of the weight."""

        def compute(part: slice) -> Float32s:
            gradient = self.statistic("gradient_rms")[part][:, parameters]
            weight = self.statistic("weight_rms")[part][:, parameters]
            product: Float32s = gradient * weight * self.run.elements[parameters].astype(np.float32)
            return product

        return self.by_record(("sensitivity", parameters.tobytes()), compute)

    def largest(self, name: str, parameters: Indices) -> Float64s:
        """The largest finite value of a statistic over some parameters, float64 ``[records]``."""

        def compute(part: slice) -> Float64s:
            values = self.statistic(name)[part][:, parameters]
            return worst_of_row(np.where(np.isfinite(values), values, np.nan))

        return self.by_record(("largest", name, parameters.tobytes()), compute)

    def alive_share(self, name: str) -> Float64s:
        """Median share of the elements with v > 0 whose √v̂ is small, float64 ``[records]``.

        Args:
            name: The statistic, which sets the multiple of eps to compare with.
        """

        def compute(part: slice) -> Float64s:
            matrices = self.run.weights_or_matrices
            zero = self.statistic("zero_second_moment_fraction")[part][:, matrices]
            zero = np.where(np.isnan(zero), 0, zero)
            share = (self.statistic(name)[part][:, matrices] - zero) / (1 - zero)
            return median(share)

        return self.by_record(("alive share", name), compute)

    @cached_property
    def _nothing(self) -> Float32s:
        return np.full((self.run.step.size, len(self.run.parameters)), np.nan, np.float32)

    @cached_property
    def first_scales(self) -> Float32s | None:
        """RMS of the initial weights times √fan-in, ``[weights]``; None if the run was resumed."""
        run = self.run
        if not run.step.size or run.step[0] > thresholds.FIRST_STEP or not run.weights.size:
            return None
        inputs = np.array([fan_in(run.parameters[i]) for i in run.weights])
        scales: Float32s = self.statistic("weight_rms")[0, run.weights] * np.sqrt(inputs)
        return scales

    @cached_property
    def started_weights(self) -> Indices:
        """The weights without those that start at zero, whose first relative steps are infinite."""
        weights, scales = self.run.weights_or_matrices, self.first_scales
        if scales is None:
            return weights
        started: Indices = weights[~(scales < thresholds.ZERO_START)]
        return started if started.size else weights

    # --- every step ---

    def column(self, name: str) -> Float64s:
        """A column of every step, float64 ``[steps]``; NaN where it was not recorded."""
        values = self.run.every_step.get(name)
        return np.full(self.steps.shape, np.nan) if values is None else values

    @cached_property
    def steps(self) -> Float64s:
        """Every step, float64 ``[steps]``."""
        return self.run.every_step.get("step", np.empty(0))

    @property
    def norm_before_clip(self) -> Float64s:
        """Gradient norm of every step, before clipping if that was recorded."""
        before = self.column("gradient_norm_before_clip")
        return before if np.isfinite(before).any() else self.column("gradient_norm")

    def at_records(self, values: Float64s) -> Float64s:
        """Values of every step at the records: the last known one at or before each."""
        place = np.searchsorted(self.steps, self.run.step, "right") - 1
        if not self.steps.size:
            return np.full(self.run.step.shape, np.nan)
        return np.where(place >= 0, values[np.maximum(place, 0)], np.nan)

    @cached_property
    def lr(self) -> Float64s:
        """Learning rate of the main group at every step, float64 ``[steps]``.

        The first group's is recorded at every step. Another group's is known at the records;
        between them its ratio to the first one's is linearly interpolated.
        """
        first, run = self.column("lr"), self.run
        values, main = run.hyperparameters.get("lr"), run.main_group
        if main == 0 or values is None or main >= values.shape[1]:
            return first
        known = np.isfinite(values[:, main])
        if not known.any():
            return first
        step, lr = run.step[known], values[known, main]
        with np.errstate(all="ignore"):
            ratio = lr / values[known, 0]
        same = np.isfinite(ratio)
        found: Float64s = np.interp(self.steps, step, lr)
        if same.any():
            scaled = first * np.interp(self.steps, step[same], ratio[same])
            found = np.where(first > 0, scaled, found)
        return found

    def lr_of(self, parameters: Indices, step: float) -> float:
        """The learning rate of the group with most of some parameters at a step; NaN if unknown.

        Args:
            parameters: Their indices; if empty, the main group is used.
            step: At this step, or the last record before it.
        """
        groups = self.run.group_of[parameters]
        group = int(np.bincount(groups).argmax()) if groups.size else self.run.main_group
        values = self.run.hyperparameters.get("lr")
        if values is None or group >= values.shape[1] or not len(values):
            return float(self.lr[self.steps <= step][-1:].sum()) if self.steps.size else np.nan
        return float(values[max(0, int(np.searchsorted(self.run.step, step, "right")) - 1), group])

    @cached_property
    def peak_lr(self) -> float:
        """The highest learning rate of the main group so far; NaN if unknown."""
        known = self.lr[np.isfinite(self.lr)]
        return float(known.max()) if known.size else float("nan")

    def usual_lr(self, parameters: Indices, step: float) -> float:
        """The learning rate that advice refers to: the highest up to a step, or a warm-up's end.

        Args:
            parameters: Indices of the parameters concerned; if empty, the main group is used.
            step: The step.

        Returns:
            A value that the user has chosen, not an intermediate one of a schedule; NaN if unknown:
            without a learning rate above 0, and if a warm-up has not ended.
        """
        if self.is_warming_up:
            return float("nan")
        end, values = max(step, self.warmup_end), self.run.hyperparameters.get("lr")
        groups = self.run.group_of[parameters]
        group = int(np.bincount(groups).argmax()) if groups.size else self.run.main_group
        if group == self.run.main_group or values is None or group >= values.shape[1]:
            lr = self.lr[self.steps <= end]
        else:
            lr = values[self.run.step <= end, group]
        lr = lr[np.isfinite(lr) & (lr > 0)]
        return float(lr.max()) if lr.size else float("nan")

    @cached_property
    def warmup_end(self) -> float:
        """The last step of a warm-up, in which the learning rate rose, by steps or in stairs."""
        lr, step = self.lr, self.steps
        known = np.isfinite(lr)
        lr, step = lr[known], step[known]
        if lr.size < 2 or step[0] > thresholds.FIRST_STEP:
            return 0.0
        end = warmup_points(lr)
        return float(step[end]) if end else 0.0

    @cached_property
    def scheduled_lr(self) -> Float64s:
        """The learning rate that each group's schedule leads to, ``[groups]``; NaN if unknown.

        torch's schedulers write it into the group: max_lr, or else initial_lr.
        """
        return np.array([_scheduled_lr(group) for group in self.run.groups])

    @cached_property
    def is_warming_up(self) -> bool:
        """Whether the learning rate is still rising at the last step."""
        return bool(self.warmup_end and self.warmup_end >= self.run.last_step)

    @cached_property
    def settled(self) -> float:
        """The step from which on moments are averages and the warm-up is over."""
        beta1 = self.hyperparameter_now("beta1")
        moments = 2 / (1 - beta1) if 0 <= beta1 < 1 else 0.0
        return max(thresholds.LEAST_GRACE, self.warmup_end, moments)

    def hyperparameter_now(self, name: str) -> float:
        """The last known value of a hyperparameter of the main group; NaN if there is none."""
        values, group = self.run.hyperparameters.get(name), self.run.main_group
        if values is None or group >= values.shape[1]:
            return float("nan")
        known = values[:, group][np.isfinite(values[:, group])]
        return float(known[-1]) if known.size else float("nan")

    @cached_property
    def uncorrected_alpha(self) -> float:
        """Decay of a second moment without bias correction (RMSprop); NaN with correction."""
        alpha = self.hyperparameter_now("alpha")
        has_moment = any("exp_avg_sq_root" not in g.undefined for g in self.run.groups)
        corrected = not np.isnan(self.hyperparameter_now("beta2"))
        return alpha if 0 < alpha < 1 and has_moment and not corrected else float("nan")

    @cached_property
    def gain_ratio(self) -> tuple[Float64s, Float64s]:
        """The gain ratio where it was recorded, each the median of the last windows, and the steps.

        float64 ``[records with one]`` twice; the first records, too few for a median, are left out.
        """
        values = self.column("gain_ratio")
        known = ~np.isnan(values)
        step, values = self.steps[known], values[known]
        recent = recent_median(step, values, thresholds.GAIN_RATIO_WINDOWS)
        return step[~np.isnan(recent)], recent[~np.isnan(recent)]

    # --- loss ---

    @cached_property
    def has_surrogate_loss(self) -> bool:
        """Whether the only loss is one that does not measure the progress of training."""
        return not self.has_loss and SURROGATE_LOSS in self.run.every_step

    @property
    def given_loss(self) -> Float64s:
        """The loss of every step, surrogate or not, float64 ``[steps]``.

        If there are two, it is the one that measures progress, and the other one where that is
        infinite.
        """
        loss, other = self.column(LOSS), self.column(SURROGATE_LOSS)
        if self.has_surrogate_loss:
            loss, other = other, loss
        return np.where(np.isinf(other), other, loss)

    @cached_property
    def has_loss(self) -> bool:
        """Whether a loss was recorded."""
        return bool(np.isfinite(self.column("loss")).any())

    @cached_property
    def first_loss(self) -> float:
        """Median of the first losses; NaN without a loss."""
        loss = self.column("loss")
        first = loss[np.isfinite(loss)][: thresholds.FIRST_LOSSES]
        return float(np.median(first)) if first.size else float("nan")

    @cached_property
    def starting_loss(self) -> float:
        """The loss before training; NaN if the run was resumed, or no loss was recorded."""
        return float("nan") if self.run.first_step > thresholds.FIRST_STEP else self.first_loss

    @cached_property
    def loss_is_measure(self) -> bool:
        """Whether the height of the loss shows the progress of training.

        In reinforcement learning it starts near 0 and changes its sign.
        """
        loss = self.column("loss")
        least = float(loss[np.isfinite(loss)].min(initial=np.inf))
        return self.first_loss >= thresholds.LEAST_FIRST_LOSS and least >= 0

    @cached_property
    def blowup_limit(self) -> float:
        """The loss above which training has blown up; NaN without a loss."""
        factor, margin = thresholds.BLOWUP_FACTOR, thresholds.BLOWUP_MARGIN
        return self.first_loss + (factor - 1) * abs(self.first_loss) + margin

    @cached_property
    def smooth_loss(self) -> Float64s:
        """Moving average of the loss, float64 ``[steps]``; NaN before the first."""
        return moving_average(self.column("loss"), thresholds.LOSS_AVERAGE_STEPS)


def _scheduled_lr(group: Group) -> float:
    peak, initial = group.options.get("max_lr"), group.options.get("initial_lr")
    if isinstance(peak, int | float):
        return float(peak)
    if not isinstance(initial, int | float):
        return float("nan")
    # Vaswani et al. 2017 give Adam a learning rate of 1, which the schedule multiplies.
    is_adaptive = "exp_avg_sq_root" not in group.undefined
    return float("nan") if is_adaptive and initial > LARGEST_ADAPTIVE_LR else float(initial)
