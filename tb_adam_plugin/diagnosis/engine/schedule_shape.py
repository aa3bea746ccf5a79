"""The shape of a learning rate over the steps: stairs, a warm-up, a curve that turns upwards."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tb_adam_plugin.arrays import Float64s, Indices
from tb_adam_plugin.schema import Group

# Learning rates with a smaller relative difference are equal: a rate other than the first group's
# is computed, and rounded.
SAME = 1e-9
# Stairs belong to a schedule that is stepped once per epoch if their lengths differ by at most this
# share, and by at most one step if they are short.
EVEN_LENGTHS = 0.1
# A single first rise is a step of such a schedule if this many changes follow in its rhythm.
LATER_CHANGES = 2
# A stair of a warm-up is at most this many times as high as the previous one, unless all stairs
# multiply the learning rate by the same factor. Those of a cosine start at a ratio of 1 to 3.
HIGHEST_STAIR = 3.5
SAME_FACTOR = 1.1
# A curve turns if it has fallen to this share of its height, and has risen by that share of its
# fall, over this many changes.
FELL_TO = 0.25
ROSE_BY = 0.1
LEAST_CHANGES = 3
# Limit on the number of turns, because rules are applied during training.
MOST_TURNS = 100
# It rises as it fell, like a cosine beyond its period, if both take equally long within this share,
# and it starts to rise slowly. A ramp, like CyclicLR's, rises at a constant rate: 1.
ALIKE = 0.15
SLOW_START = 0.8
# Nobody trains with more with Adam-like optimizers: a larger value is multiplied by the schedule.
LARGEST_ADAPTIVE_LR = 0.1


def changes_of(lr: Float64s) -> Indices:
    """Where a learning rate differs from the previous point: indices of the new values."""
    return np.flatnonzero(np.abs(np.diff(lr)) > SAME * np.abs(lr[:-1])) + 1


def stair_length(lr: Float64s) -> float:
    """Number of steps for which a learning rate is constant between its changes; NaN if it is not.

    Args:
        lr: float64 ``[steps]``, of every step from the first one on.
    """
    changes = changes_of(lr)
    if not changes.size:
        return float("nan")
    lengths = np.diff(changes, prepend=0)
    usual = float(np.median(lengths))
    return usual if usual > 1 and _are_even(lengths, usual) else float("nan")


def _are_even(lengths: Indices, usual: float) -> bool:
    return bool((np.abs(lengths - usual) <= max(1.0, EVEN_LENGTHS * usual)).all())


def warmup_points(lr: Float64s) -> int:
    """The index at which a warm-up ends; 0 without one.

    A learning rate that rises from step to step is warmed up until it stops rising. One that rises
    in stairs is warmed up by a schedule that is stepped once per epoch: the stairs have one length,
    and there are two of them or others that lead down. While the last one is no longer than the
    others, it may rise again.

    Args:
        lr: float64 ``[steps]``, of every step from the first one on, without NaN.
    """
    changes = changes_of(lr)
    if not changes.size or changes[0] == 1:
        ended = np.flatnonzero(lr[1:] <= lr[:-1])
        return int(ended[0]) if ended.size else lr.size - 1
    rises = _leading_rises(np.append(lr[0], lr[changes]))
    looked_at = changes[: rises if rises != 1 else 1 + LATER_CHANGES]
    if rises == 0 or looked_at.size < 2 or (rises == 1 and looked_at.size < 1 + LATER_CHANGES):
        return 0
    length = stair_length(lr[: looked_at[-1] + 1])
    if not length > 1:
        return 0
    top = int(changes[rises - 1])
    goes_on = rises == changes.size and lr.size - top <= (1 + EVEN_LENGTHS) * length
    return lr.size - 1 if goes_on else top


def _leading_rises(stairs: Float64s) -> int:
    """Number of leading stairs that go up, none of them much higher than the previous one.

    Args:
        stairs: The learning rate of each stair, float64 ``[changes + 1]``.
    """
    rise, factor = np.diff(stairs), stairs[1:] / np.where(stairs[:-1] > 0, stairs[:-1], np.nan)
    goes_on = rise > 0
    goes_on[1:] &= (rise[1:] <= HIGHEST_STAIR * rise[:-1]) | (
        factor[1:] <= SAME_FACTOR * factor[:-1]
    )
    ended = np.flatnonzero(~goes_on)
    return int(ended[0]) if ended.size else int(rise.size)


@dataclass(frozen=True, slots=True)
class Turn:
    """A stretch where a learning rate fell and rose again along the same curve.

    Attributes:
        high: Index of the last point before it fell.
        low: Index of the lowest point.
        end: Index of the last point of the rise.
    """

    high: int
    low: int
    end: int


def turns_of(lr: Float64s) -> list[Turn]:
    """Find where a learning rate rises again as it fell, in time order, the first ones.

    A restart rises in one step, CyclicLR in a straight line, and a warm-up faster than the schedule
    before it falls.

    Args:
        lr: float64 ``[steps]``, without NaN.
    """
    if not lr.size:
        return []
    places = np.append(0, changes_of(lr))
    values = lr[places]
    upwards = np.diff(values) > 0
    ends = np.flatnonzero(np.diff(upwards.astype(np.int8))) + 1  # of falls and of rises
    corners = np.concatenate([[0], ends, [values.size - 1]])
    high, low, end = corners[:-2], corners[1:-1], corners[2:]
    may_be = (values[low] <= FELL_TO * values[high]) & (end - low >= LEAST_CHANGES)
    found = []
    for i in np.flatnonzero(may_be):
        if _is_turn(values[high[i] : end[i] + 1], int(low[i] - high[i])):
            last = places[high[i] + 1] - 1  # the last step of a stair
            found.append(Turn(int(last), int(places[low[i]]), int(places[end[i]])))
            if len(found) == MOST_TURNS:
                break
    return found


def _is_turn(values: Float64s, low: int) -> bool:
    """Whether the values before and after a minimum follow the same curve."""
    bottom, top = values[low], values[0]
    reached = min(values[-1], top)
    if reached - bottom < ROSE_BY * (top - bottom):
        return False
    up = int(np.flatnonzero(values[low:] >= reached)[0])
    down = low - int(np.flatnonzero(values[: low + 1] >= reached)[-1])
    if up < LEAST_CHANGES or abs(up - down) > max(1.0, ALIKE * down):
        return False
    start = max(1, up // 4)
    slope = (values[low + start] - bottom) / start
    return bool(slope < SLOW_START * (reached - bottom) / up)


def scheduled_lr(group: Group) -> float:
    """Return the learning rate that the schedule of a group leads to; NaN if unknown."""
    peak, initial = group.options.get("max_lr"), group.options.get("initial_lr")
    if isinstance(peak, int | float):
        return float(peak)
    if not isinstance(initial, int | float):
        return float("nan")
    # Vaswani et al. 2017 give Adam a learning rate of 1, which the schedule multiplies.
    is_adaptive = "exp_avg_sq_root" not in group.undefined
    return float("nan") if is_adaptive and initial > LARGEST_ADAPTIVE_LR else float(initial)
