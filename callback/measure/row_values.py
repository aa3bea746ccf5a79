"""The sums of each row of elements, with torch's operations: pure functions.

On the device, :func:`row_sums` reduces each row of 256 elements to the few sums, counts and maxima
of :data:`.row_value_table.ROW_VALUES`, which also defines the symbols. It does so for all
parameters of a block at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..memory.to_host import on_device
from ..optimizer_state.base import OptimizerState, Rows
from ..optimizer_state.coefficients import COEFFICIENTS, Coefficients
from .row_reductions import both, compare, dot, largest_magnitude, may_hold, put_counts
from .row_value_table import LEAST_BEFORE, NAMES, NEAR_ONE, POSITION, TINY


@dataclass(frozen=True, slots=True)
class BlockValues:
    """A block's elements, each ``[rows, n]`` with zeros as padding. The moments may be missing.

    ``moments_before`` maps "exp_avg" and "exp_avg_sq" to their values before the step, if known.
    """

    before: Tensor
    weight: Tensor
    gradient: Tensor
    update: Tensor
    exp_avg: Tensor | None
    exp_avg_sq: Tensor | None
    others: Mapping[str, Tensor]
    moments_before: Mapping[str, Tensor]


class RowCoefficients:
    """The formula's numbers for every row, from those of every parameter."""

    def __init__(self, c: Coefficients, row_parameter: Tensor, dtype: torch.dtype) -> None:
        """Spread the numbers over the rows.

        Args:
            c: float64 ``[parameters]``.
            row_parameter: Index of each row's parameter, ``[rows]``, on the elements' device.
            dtype: Type of the elements.
        """
        by_parameter = torch.stack([getattr(c, name) for name in COEFFICIENTS] + [*c.own.values()])
        # A device may not support float64.
        table = on_device(by_parameter.to(dtype), row_parameter.device)
        table[COEFFICIENTS.index("denominator_constant")].clamp_(min=TINY)
        self._own = tuple(c.own)
        self._constants = c.constants
        self._table = table[:, row_parameter, None]

    def of(self, rows: slice) -> Coefficients:
        """Return the numbers of some rows, ``[rows, 1]``."""
        columns = self._table[:, rows]
        own = dict(zip(self._own, columns[len(COEFFICIENTS) :], strict=True))
        named = dict(zip(COEFFICIENTS, columns, strict=False))
        return Coefficients(**named, own=own, constants=self._constants)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to compute for a block, decided on the host.

    Attributes:
        plain_gradient: Whether g' is g for every parameter.
        has_weight_decay: Whether any parameter has decoupled weight decay.
        knows_update: Whether the update of each element is known.
        counts_direction: Whether to count the direction's zeros, for a histogram.
        half_precision: The half-precision types that store exp_avg_sq of some parameter, each with
            the rows of those parameters: bool ``[rows, 1]``.
        rounded_after: By "exp_avg" and "exp_avg_sq", the rows in which the step used the moment
            before rounding it for storage: bool ``[rows, 1]``.
    """

    plain_gradient: bool
    has_weight_decay: bool
    knows_update: bool
    counts_direction: bool
    half_precision: Mapping[torch.dtype, Tensor]
    rounded_after: Mapping[str, Tensor]

    def of_rows(self, rows: slice) -> Plan:
        """Return the plan of some rows."""
        return replace(
            self,
            half_precision={key: table[rows] for key, table in self.half_precision.items()},
            rounded_after={key: table[rows] for key, table in self.rounded_after.items()},
        )


SCRATCH = 4
MASKS = 9


class _Masks:
    """Masks whose elements are counted together, because each call has a fixed cost."""

    def __init__(self, masks: Tensor) -> None:
        *self._free, self.spare = masks.unbind(0)
        self._masks = masks
        self._first = 0  # index of the first writable mask
        self._positions: list[int] = []

    def of(self, name: str) -> Tensor:
        """Return a mask to write to, whose count becomes the row value ``name``."""
        self._positions.append(POSITION[name])
        return self._free[self._first + len(self._positions) - 1]

    def put(self, out: Tensor, keep: int = 0) -> None:
        """Count them, and start over with all but the first ``keep``."""
        stop = self._first + len(self._positions)
        put_counts(self._masks[self._first : stop], self._positions, out)
        self._first, self._positions = keep, []


@dataclass(slots=True)  # frozen would take longer to create, and each block creates one
class _Work:
    """The shared data of the functions that reduce a block.

    Attributes:
        block: The block's elements.
        c: The rows' numbers, ``[rows, 1]``.
        plan: What to compute.
        put: Row values by name, each ``[rows]``; written.
        masks: For counting.
        t: Scratch, like ``s`` and ``n``: ``[rows, n]``.
        s: Holds √v̂, then r.
        n: Holds the direction.
    """

    block: BlockValues
    c: Coefficients
    plan: Plan
    put: Mapping[str, Tensor]
    masks: _Masks
    t: Tensor
    s: Tensor
    n: Tensor


@np.errstate(all="ignore")
def row_sums(
    block: BlockValues,
    state: OptimizerState,
    c: Coefficients,
    smallest_normal: Tensor,
    plan: Plan,
    out: Tensor,
    scratch: Tensor,
    masks: Tensor,
) -> tuple[Tensor, Tensor | None]:
    """Reduce each row of a block.

    Args:
        block: The block's elements.
        state: The optimizer's adapter.
        c: The rows' numbers, ``[rows, 1]``.
        smallest_normal: Smallest normal number of the type that stores exp_avg_sq, ``[rows, 1]``.
        plan: What to compute.
        out: ``[len(ROW_VALUES), rows]``. Values that are not computed stay as they are.
        scratch: ``[SCRATCH, rows, n]``; overwritten.
        masks: bool ``[MASKS, rows, n]``; overwritten.

    Returns:
        g' of each element, ``[rows, n]``, a part of ``scratch`` or of ``block``; and the direction,
        ``[rows, n]``, or None if unknown.
    """
    t, s, n, e = scratch.unbind(0)
    put = dict(zip(NAMES, out.unbind(0), strict=True))
    work = _Work(block, c, plan, put, _Masks(masks), t, s, n)
    # The first mask: the request is compared with it after the others have been counted.
    d_is_zero = compare("equal", block.update, 0, work.masks.of("d=0"))
    g_is_zero = _put_measured(work)
    entering = _put_entering(work, e)
    m_is_zero = _put_first_moment(work, entering)
    rows = Rows(block.before, entering, block.exp_avg, block.exp_avg_sq, block.others)
    root = None
    if block.exp_avg_sq is not None:
        root = state.root(rows, c, s)
        _put_second_moment(work, root, entering, m_is_zero)
        _put_storage(work, g_is_zero, smallest_normal)
    work.masks.put(out, keep=1)
    if not plan.knows_update:
        return entering, None
    if plan.rounded_after:
        rows = _as_used(rows, block.moments_before, plan.rounded_after, c)
        root = None if rows.exp_avg_sq is None else state.root(rows, c, s)
    direction = state.direction(rows, c, root, n)
    _put_request(work, direction, d_is_zero)
    work.masks.put(out)
    return entering, direction


def _put_measured(work: _Work) -> Tensor:
    """Reduce weight, gradient and update, which every step has; return where g is 0."""
    put, block, t = work.put, work.block, work.t
    b, w, g, d = block.before, block.weight, block.gradient, block.update
    dot(b, b, put["b²"])
    dot(d, d, put["d²"])
    dot(d, b, put["d·b"])
    dot(g, g, put["g²"])
    # In units of the row's Σg², because the fourth power exceeds the range of float32.
    torch.mul(g, g, out=t).mul_(put["g²"].clamp(min=TINY).reciprocal_()[:, None])
    dot(t, t, put["g⁴"])
    for name, x in (("max|d|", d), ("max|w|", w), ("max|g|", g)):
        largest_magnitude(x, put[name])
    compare("equal", w, 0, work.masks.of("w=0"))
    return compare("equal", g, 0, work.masks.of("g=0"))


def _put_entering(work: _Work, out: Tensor) -> Tensor:
    """Return g', in ``out`` unless it is g itself, which needs no copy."""
    put, block = work.put, work.block
    if work.plan.plain_gradient:
        put["g'²"].copy_(put["g²"])
        return block.gradient
    torch.mul(block.before, work.c.coupled_weight_decay, out=out)
    out.addcmul_(block.gradient, work.c.gradient_sign)
    dot(out, out, put["g'²"])
    return out


def _put_first_moment(work: _Work, entering: Tensor) -> Tensor | None:
    """Reduce exp_avg, if there is one; return where it is 0."""
    m, put = work.block.exp_avg, work.put
    if m is None:
        return None
    dot(m, m, put["m²"])
    dot(m, entering, put["m·g'"])
    largest_magnitude(m, put["max|m|"])
    return compare("equal", m, 0, work.masks.of("m=0"))


def _put_second_moment(
    work: _Work, root: Tensor, entering: Tensor, m_is_zero: Tensor | None
) -> None:
    """Reduce exp_avg_sq, and what is divided by its root."""
    put, c, t, masks = work.put, work.c, work.t, work.masks
    m, v = work.block.exp_avg, work.block.exp_avg_sq
    assert v is not None
    torch.sum(v, 1, out=put["v"])
    torch.amax(v, 1, out=put["max v"])
    v_is_zero = compare("equal", v, 0, masks.of("v=0"))
    if m is not None and m_is_zero is not None:
        torch.div(m, torch.clamp_min(root, TINY, out=t), out=t)
        # Where v is 0 the quotient must be 0. If m is 0 there too, which is usual, it already is.
        if may_hold(compare("greater", v_is_zero, m_is_zero, masks.spare)):
            t.masked_fill_(v_is_zero, 0.0)
        dot(t, t, put["m̂²/v̂"])
        put["m̂²/v̂"].mul_(c.exp_avg_scale[:, 0] ** 2)  # once per row instead of once per element
    compare("less", root, c.eps, masks.of("s<ε"))
    compare("less", root, c.eps * 10, masks.of("s<10ε"))
    torch.div(entering, torch.maximum(root, c.eps.clamp_min(TINY), out=t), out=t)
    dot(t, t, put["(g'/max(s,ε))²"])
    _put_flicker(work, entering)


def _put_flicker(work: _Work, entering: Tensor) -> None:
    """Compare exp_avg_sq with its value one step ago."""
    put, block, c, t, seen = work.put, work.block, work.c, work.t, work.n
    v = block.exp_avg_sq
    assert v is not None
    before = block.moments_before.get("exp_avg_sq")
    if before is None:
        before = torch.mul(entering, entering, out=t).mul_(-c.exp_avg_sq_weight).add_(v)
        before.div_(c.exp_avg_sq_decay)
    share = torch.div(before, v, out=t)
    torch.sum(torch.gt(share, LEAST_BEFORE, out=seen), 1, out=put["v before≠0"])
    # If there was nothing to compare with, including NaN from 0/0, the logarithm must become 0.
    share.nan_to_num_(nan=1.0, posinf=torch.inf, neginf=1.0).clamp_min_(LEAST_BEFORE)
    share.mul_((c.exp_avg_sq_scale_before / c.exp_avg_sq_scale) ** 2)
    share.log_().mul_(seen)
    dot(share, share, put["(ln v̂/v̂ before)²"])


def _put_storage(work: _Work, g_is_zero: Tensor, smallest_normal: Tensor) -> None:
    """Count values of exp_avg_sq that its type cannot represent, or cannot let decay."""
    put, t = work.put, work.t
    v = work.block.exp_avg_sq
    assert v is not None
    is_tiny = compare("less", v, smallest_normal, work.masks.of("v<tiny, g≠0"))
    compare("greater", is_tiny, g_is_zero, is_tiny)
    frozen = put["v frozen"].zero_()
    for dtype, rows_of_dtype in work.plan.half_precision.items():
        decayed = torch.mul(v, work.c.exp_avg_sq_decay, out=t).to(dtype)
        torch.eq(decayed, v, out=t)
        # The direction is not computed yet, so its memory is free.
        frozen += t.mul_(torch.ne(v, 0, out=work.n)).mul_(rows_of_dtype).sum(1)


def _put_request(work: _Work, direction: Tensor, d_is_zero: Tensor) -> None:
    """Reduce the direction, and compare the requested update with the actual one."""
    put, c, t, masks = work.put, work.c, work.t, work.masks
    torch.mul(direction, direction, out=t)
    torch.sum(t, 1, out=put["n²"])
    smallest, largest = NEAR_ONE
    is_near = compare("greater", t, smallest**2, masks.of("n≈±1"))
    both(is_near, compare("less", t, largest**2, masks.spare), is_near)
    if work.plan.counts_direction:
        compare("equal", direction, 0, masks.of("n=0"))
    # The root is no longer needed, so its memory is free.
    if work.plan.has_weight_decay:
        r = torch.addcmul(direction, work.block.before, c.weight_decay, out=work.s)
        r.mul_(-c.step_size)
    else:
        r = torch.mul(direction, -c.step_size, out=work.s)
    dot(r, r, put["r²"])
    torch.sub(work.block.update, r, out=t)
    dot(t, t, put["(d-r)²"])
    is_wanted = compare("not_equal", r, 0, masks.of("r≠0"))
    both(is_wanted, d_is_zero, masks.of("r≠0, d=0"))


def _as_used(
    rows: Rows, before: Mapping[str, Tensor], rounded_after: Mapping[str, Tensor], c: Coefficients
) -> Rows:
    """Return the moments as the step used them, if it rounded them afterwards."""
    moments: dict[str, Any] = {"exp_avg": rows.exp_avg, "exp_avg_sq": rows.exp_avg_sq}
    for name, where in rounded_after.items():
        stored = moments[name]
        if stored is None:
            continue
        is_first = name == "exp_avg"
        added = rows.gradient if is_first else rows.gradient * rows.gradient
        exact = added * (c.exp_avg_weight if is_first else c.exp_avg_sq_weight)
        if name in before:
            exact.addcmul_(before[name], c.exp_avg_decay if is_first else c.exp_avg_sq_decay)
        moments[name] = torch.where(where, exact, stored)
    return replace(rows, **moments)


def row_second_moment_before(exp_avg_sq: Tensor, out: Tensor) -> None:
    """Put the sums of exp_avg_sq before the step where :func:`.formulas.finish` looks for them.

    Args:
        exp_avg_sq: A block's elements, ``[rows, n]``.
        out: ``[len(ROW_VALUES), rows]``.
    """
    torch.sum(exp_avg_sq, 1, out=out[POSITION["v before"]])


def row_rounding(
    before: Tensor,
    after: Tensor,
    added: Tensor,
    decay: Tensor,
    weight: Tensor,
    names: tuple[str, str],
    out: Tensor,
) -> None:
    """Compare a moment with ``decay · before + weight · added``, its value without rounding.

    Args:
        before: A block's elements of the moment before the step, ``[rows, n]``; overwritten.
        after: Its elements after the step.
        added: g', or its square.
        decay: ``[rows, 1]``.
        weight: ``[rows, 1]``.
        names: Row values for the squared difference and the squared exact moment.
        out: ``[len(ROW_VALUES), rows]``.
    """
    exact = before.mul_(decay).addcmul_(added, weight)
    for name, values in zip(names, (after - exact, exact), strict=True):
        torch.sum(values * values, 1, out=out[POSITION[name]])


def compare_with_exact(
    elements: BlockValues, gradient: Tensor, c: Coefficients, out: Tensor
) -> None:
    """Compute the rounding error of moments stored in low precision at this step.

    Args:
        elements: A block's elements.
        gradient: g' of each element.
        c: The rows' numbers.
        out: The block's row values.
    """
    first, second = "exp_avg", "exp_avg_sq"
    before = elements.moments_before
    if first in before and elements.exp_avg is not None:
        numbers = (c.exp_avg_decay, c.exp_avg_weight)
        names = ("(m-exact)²", "exact m²")
        row_rounding(before[first], elements.exp_avg, gradient, *numbers, names, out)
    if second in before and elements.exp_avg_sq is not None:
        numbers = (c.exp_avg_sq_decay, c.exp_avg_sq_weight)
        names = ("(v-exact)²", "exact v²")
        squares = gradient * gradient
        row_rounding(before[second], elements.exp_avg_sq, squares, *numbers, names, out)
