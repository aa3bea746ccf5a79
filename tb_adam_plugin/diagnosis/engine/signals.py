"""Derived values of a run that several rules need, each computed once.

Values that depend on every parameter are computed record by record and cached, so a run that has
grown by one record only costs one record.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from tb_adam_plugin.arrays import Float32s, Float64s, Indices
from tb_adam_plugin.schema import LOSS, SURROGATE_LOSS

from . import thresholds
from .kept_by_record import KeptByRecord
from .over_time import median, median_by_block, moving_average, recent_median
from .recorded_run import RecordedRun, common_records, fan_in
from .schedule_shape import scheduled_lr, warmup_points
from .statistic import Statistic, StatisticsByRecord
from .worst import worst_of_row

# Statistics that many rules use.
RATIO = "update_to_weight_ratio"
COSINE = "momentum_gradient_cosine"

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
        known = 0 if earlier is None else common_records(earlier.run, run)
        before = earlier._by_record if earlier is not None and known else None
        self._by_record: KeptByRecord = KeptByRecord(run.step.size, before, known)

    @property
    def nbytes(self) -> int:
        """Memory of the computed values, and of the columns of every step."""
        arrays = [*self.run.every_step.values(), *self.run.hyperparameters.values()]
        return sum(array.nbytes for array in arrays) + self._by_record.nbytes

    def by_record(self, key: Hashable, compute: Callable[[slice], _Part]) -> _Part:
        """Return an array whose first axis is the records.

        Args:
            key: Of the array. What is computed follows from it and from the record alone.
            compute: Returns its part for some records, each from that record, the one before it
                and the first one.
        """
        return self._by_record.get(key, compute)

    def prepare(self, ask: Callable[[Signals], object]) -> None:
        """Compute in one pass over the records what rules ask for by record.

        One rule after the other would read the records of a large run again and again. So the
        rules are asked beforehand, with what they ask for computed for the first records alone and
        the last of these in place of the others. It is then computed for those, a few at a time.

        Args:
            ask: Applies the rules; what they say does not count.
        """
        statistics = self.run.statistics
        if not isinstance(statistics, StatisticsByRecord):
            return
        if self.run.step.size - self._by_record.known <= statistics.at_once:
            return
        asked = Signals(self.run)
        asked._by_record = self._by_record
        with self._by_record.in_one_pass(statistics.at_once):
            ask(asked)

    def release(self) -> None:
        """Drop everything not needed to continue; keep computed values, with flags as bits."""
        self.run.release()
        self._by_record.release()

    # --- statistics ---

    def statistic(self, name: str) -> Statistic:
        """A statistic, float32 ``[records, parameters]``; NaN where it was not recorded."""
        return self.run.statistic(name)

    def values(self, name: str, parameters: Indices) -> Float32s:
        """A statistic of some parameters at every record, float32 ``[records, parameters]``."""
        if not parameters.size:
            return np.empty((self.run.step.size, 0), np.float32)
        key = ("values", name, parameters.tobytes())
        return self.by_record(key, lambda part: self.statistic(name)[part][:, parameters])

    def with_record_before(self, name: str, part: slice) -> tuple[Float32s, Float32s]:
        """A statistic at some records, and at the record before each; NaN before the first."""
        values = self.statistic(name)
        start, stop, _ = part.indices(len(values))
        several = values[max(0, start - 1) : stop]
        if start:
            return several[1:], several[:-1]
        before = np.full(several.shape, np.nan, np.float32)
        before[1:] = several[:-1]
        return several, before

    def change(self, name: str, part: slice) -> Float32s:
        """Change of a statistic since the previous record, for some records; NaN for the first."""
        after, before = self.with_record_before(name, part)
        changed: Float32s = after - before
        return changed

    def is_known(self, name: str) -> bool:
        """Whether a statistic has any value."""
        if name not in self.run.statistics or not self.run.step.size or not self.run.parameters:
            return False
        values = self.statistic(name)
        if not np.isnan(values[-1]).all():
            return True
        known = self.by_record(
            ("is known", name), lambda part: np.asarray(~np.isnan(values[part]).all(axis=1))
        )
        return bool(known.any())

    def median_by_block(self, name: str, members: Sequence[Indices]) -> Float32s:
        """Median of a statistic over each block of parameters, float32 ``[records, blocks]``."""
        key = ("blocks", name, tuple(rows.tobytes() for rows in members))
        return self.by_record(
            key, lambda part: median_by_block(self.statistic(name)[part], list(members))
        )

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
        return np.array([scheduled_lr(group) for group in self.run.groups])

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
